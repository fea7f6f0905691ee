"""Fuzz one of the readers of files and texts, its coverage of the package guiding the inputs.

    python readers.py READER [options of libFuzzer] CORPUS

Every reader must take an input, and then what it read holds, or refuse it with the errors that
its docstring names. Anything else ends the process, and libFuzzer keeps the input.
"""

import gzip
import hashlib
import io
import json
import resource
import sys
import tempfile
import zipfile
from copy import deepcopy as copy
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["intmlp"]):
    import intmlp
    import intmlp.io.model
    from intmlp.io import datasets, samples
    from intmlp.notation import NOTATIONS

import numpy as np

from intmlp import MLP, Accumulator, LayerFormats, Parts, QFormat

MOST_MEMORY = 2 * 2**30  # in virtual addresses, most of which are of libraries
FOLDER = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


class Found(Exception):
    """A reader broke its promise."""


def expect(holds, promise):
    """Raise where a promise does not hold."""
    if not holds:
        raise Found(promise)


def written(name, content):
    """Write a file that a reader is to read."""
    path = FOLDER / name
    path.write_bytes(content)
    return path


def chosen(content, **choices):
    """Return a value for each option, as the first bytes say, and the other bytes."""
    bytes_ = content[: len(choices)].ljust(len(choices), b"\0")
    options = {
        name: values[byte % len(values)]
        for byte, (name, values) in zip(bytes_, choices.items(), strict=True)
    }
    return options, content[len(choices) :]


def refused(error, path):
    """Check an error: it names the file, in one short text."""
    expect(str(path) in str(error), f"an error that does not name its file: {error}")
    expect(len(str(error)) < 5000, f"an error of {len(str(error))} characters")


# Networks -----------------------------------------------------------------------------------


def networks():
    """Yield the content of valid files of networks, of every field."""
    narrow, wide = QFormat(8, 4), QFormat(40, 20, "floor", "wrap")
    rounded = QFormat(12, 6, "stochastic", random_bits=8)
    each = LayerFormats(narrow, wide, rounded, wide, velocity=wide)
    for net in (
        MLP([2, 1], narrow),
        MLP([3, 2, 2], [each, each], activation=intmlp.leaky_relu(3), momentum_shift=2),
        MLP(
            [2, 3, 2],
            QFormat(10, 5),
            input_format=narrow,
            activation=[intmlp.sigmoid(), intmlp.linear()],
            loss="cross_entropy",
            update="two_step",
            bias=False,
            accumulator=Accumulator(20, "saturate"),
            decay_shift=5,
            momentum_shift=1,
            average=True,
        ),
        MLP([2, 2], wide, parts=Parts(update="float"), momentum_shift=3),
        MLP([1, 1], narrow, activation=intmlp.relu(0.5), parts=Parts("float", "float", "float")),
    ):
        path = FOLDER / "seed"
        net.save(path)
        yield path.read_bytes()


def parsed(content):
    """Return the header of a file of a network, its description apart, and what follows."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header.pop("__metadata__")["intmlp"]), content[8 + length :]


def assembled(header, description, data):
    """Return the file of such parts, with the digest that is right for them."""
    description = {key: value for key, value in description.items() if key != "sha256"}
    digest = hashlib.sha256(canonical(description).encode())
    for name in sorted(header):
        try:
            begin, end = header[name]["data_offsets"]
            digest.update(data[begin:end])
        except (TypeError, ValueError, KeyError):
            continue
    description["sha256"] = digest.hexdigest()
    header = {"__metadata__": {"intmlp": canonical(description)}, **header}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def canonical(plain):
    """Return one text of plain values, in which true is not 1."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def places(plain, found):
    """Collect all (container, key) below a plain value."""
    pairs = plain.items() if isinstance(plain, dict) else enumerate(plain)
    for key, value in list(pairs):
        found.append((plain, key))
        if isinstance(value, (dict, list)):
            places(value, found)
    return found


ODD_VALUES = (
    0, 1, -1, 2, 3, 16, 17, 31, 32, 33, 63, 64, 65, 255, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1,
    10**12, 10**19, True, False, None, "", "fixed", "float", "floor", "half_even", "stochastic",
    "saturate", "wrap", "sigmoid", "tanh", "leaky_relu", "relu", "linear", "hard_tanh",
    "cross_entropy", "sse", "fused", "two_step", "I32", "I64", "F64", "F32", [], {}, [[]], [1, 2],
)  # fmt: skip


def changed(data):
    """Return a file of a network with some changes, and the digest that is right for it."""
    header, description, body = parsed(SEEDS[data.ConsumeIntInRange(0, len(SEEDS) - 1)])
    body = bytearray(body)
    for _ in range(data.ConsumeIntInRange(1, 4)):
        kind = data.ConsumeIntInRange(0, 9)
        if kind == 0:  # the bytes of the tensors
            at = data.ConsumeIntInRange(0, len(body))
            new = data.ConsumeBytes(8)
            body[at : at + data.ConsumeIntInRange(0, 1) * len(new)] = new
            continue
        if kind == 1:
            del body[data.ConsumeIntInRange(0, len(body)) :]
            continue
        spots = places(description if kind < 8 else header, [])
        if not spots:
            continue
        holder, key = spots[data.ConsumeIntInRange(0, len(spots) - 1)]
        what = data.ConsumeIntInRange(0, 9)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[data.ConsumeUnicodeNoSurrogates(6)] = holder.pop(key)
        elif what == 2:
            holder[key] = data.ConsumeInt(9)
        elif what == 3:
            other, at = spots[data.ConsumeIntInRange(0, len(spots) - 1)]
            holder[key] = copy(other[at])
        elif what == 4 and isinstance(holder, list):
            holder.append(copy(holder[key]))
        elif what == 5 and isinstance(holder[key], int):
            holder[key] += data.ConsumeIntInRange(-2, 2)
        elif what == 6 and isinstance(holder[key], int):
            holder[key] = bool(holder[key])
        else:
            holder[key] = copy(ODD_VALUES[data.ConsumeIntInRange(0, len(ODD_VALUES) - 1)])
    return assembled(header, description, bytes(body))


def read_network(content):
    """`MLP.load`: a network that holds all that its file says, and works, or a ValueError."""
    if content[:1] == b"\x01":
        content = changed(atheris.FuzzedDataProvider(content[1:]))
    path = written("net", content)
    try:
        net = MLP.load(path)
    except ValueError as error:
        return refused(error, path)
    saved = FOLDER / "again"
    net.save(saved)
    before, after = parsed(content), parsed(saved.read_bytes())
    for header, description, _ in (before, after):
        del description["intmlp_version"], description["sha256"]
        for entry in header.values():
            expect(all(type(at) is int for at in entry["data_offsets"]), "an offset that is none")
    for name, entry in before[0].items():
        begin, end = entry.pop("data_offsets")
        there, until = after[0][name].pop("data_offsets")
        expect(before[2][begin:end] == after[2][there:until], f"{name} is not what was read")
    expect(canonical(before[:2]) == canonical(after[:2]), "another description than was read")
    if max(layer.n_in for layer in net.network.layers) < 100 and net.steps < 2**32 - 2:
        x = np.zeros((1, net.network.layers[0].n_in))
        net.forward(x, stream=intmlp.Stream(seed=0))
        net.train(x, np.zeros((1, net.network.layers[-1].n_out)), lr_shift=3, overflow="ignore")


# Data sets ----------------------------------------------------------------------------------


def read_idx(content):
    """`read_idx`: the array that the file says, or a ValueError."""
    kind, content = content[:1], content[1:]
    plain = content
    if kind == b"\x01":  # compressed as it should be
        path = written("idx.gz", gzip.compress(plain, mtime=0, compresslevel=1))
    elif kind == b"\x02":  # or as it comes
        path = written("idx.gz", content)
    else:
        path = written("idx", content)
    try:
        found = datasets.read_idx(path)
    except ValueError as error:
        return refused(error, path)
    if kind == b"\x02":
        plain = gzip.decompress(content)
    expect(found.dtype == np.uint8 and not found.flags.writeable, "bytes, read-only")
    sizes = b"".join(size.to_bytes(4, "big") for size in found.shape)
    expect(bytes([0, 0, 8, found.ndim]) + sizes + found.tobytes() == plain, "another array")


def check_samples(found):
    """Check what `Samples` promises."""
    expect(found.x.dtype == np.float64 and found.labels.dtype == np.int64, "the dtypes")
    expect(found.x.flags.c_contiguous and not found.x.flags.writeable, "the flags")
    expect(found.x.ndim == 2 and found.labels.shape == found.x.shape[:1], "the shapes")
    expect(np.isfinite(found.x).all(), "finite features")
    expect(not np.signbit(found.x[found.x == 0]).any(), "no negative zero")
    kinds = {type(name) for name in found.classes}
    expect(len(kinds) == 1 and kinds <= {int, str}, f"classes of {kinds}")
    expect(list(found.classes) == sorted(set(found.classes)), "classes that are sorted")
    expect(
        sorted(set(found.labels.tolist())) == list(range(len(found.classes)))
        and len(found.classes) > 1,
        "labels of every class",
    )


def loaded(path, **options):
    """Return samples that have been checked, or None where they are refused."""
    try:
        found = samples.load_samples(path, **options)
    except ValueError as error:
        return refused(error, path if options.get("label") is None else "")
    check_samples(found)
    return found


def read_csv(content):
    """`load_samples` of a CSV file: samples that a plain file of them gives again, or refused."""
    options, content = chosen(
        content,
        label=(None, 0, -1, 1, "label", "y"),
        header=(None, True, False),
        scale=("none", "minmax"),
    )
    path = written("file.csv", content)
    found = loaded(path, **options)
    if found is None:
        return
    if options["scale"] == "minmax":
        return expect(found.x.min() >= 0 and found.x.max() <= 1, "features in [0, 1]")
    lines = [
        ",".join(
            ['"' + str(found.classes[label]).replace('"', '""') + '"', *map(repr, row.tolist())]
        )
        for label, row in zip(found.labels, found.x, strict=True)
    ]
    again = written("again.csv", "\n".join(lines).encode())
    again = samples.load_samples(again, label=0, header=False, scale="none")
    expect(again.digest == found.digest and again.classes == found.classes, "other samples")


def read_npz(content):
    """`load_samples` of an .npz file: the samples that NumPy reads there, or refused."""
    options, content = chosen(content, scale=("none", "minmax"))
    size = int.from_bytes(content[:1], "little")
    content = content[1:]
    if size:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x.npy", content[:size])
            archive.writestr("y.npy", content[size:])
        content = file.getvalue()
    path = written("file.npz", content)
    found = loaded(path, **options)
    if found is None or options["scale"] == "minmax":
        return
    again = FOLDER / "again.npz"
    names = found.classes
    np.savez(again, x=found.x, y=np.array([str(names[label]) for label in found.labels]))
    again = samples.load_samples(again, scale="none")
    expect(again.digest == found.digest and again.classes == found.classes, "other samples")


# Notations ----------------------------------------------------------------------------------


def read_notation(content):
    """`QFormat.parse`: a format that every notation that can say it says again, or refused."""
    words = (None, "Floor", "Wrap", "floor", "wrap", "fixed_truncate", "stochastic", "")
    options, content = chosen(
        content, convention=(None, "arm", "ti", "q"), rounding=words, overflow=words
    )
    text = content.decode("utf-8", "surrogateescape")
    try:
        fmt = QFormat.parse(text, **options)
    except ValueError:
        return
    for name in NOTATIONS:
        try:
            said = fmt.to_text(name)
        except ValueError:
            continue
        rules = {}
        if name in ("arm", "ti"):
            rules = {"convention": name, "rounding": fmt.rounding, "overflow": fmt.overflow}
        elif name in ("numerictype", "sfixed"):
            notation = NOTATIONS[name]
            rules = {
                rule: next(word for word, meaning in words.items() if meaning == getattr(fmt, rule))
                for rule, words in (
                    ("rounding", notation.roundings),
                    ("overflow", notation.overflows),
                )
            }
        expect(QFormat.parse(said, **rules) == fmt, f"{said} is not {fmt}")


READERS = {
    "network": read_network,
    "idx": read_idx,
    "csv": read_csv,
    "npz": read_npz,
    "notation": read_notation,
}


def seeds(reader):
    """Yield the inputs that a corpus starts from."""
    if reader == "network":
        yield from SEEDS
        yield from (b"\x01" + bytes([i] * 40) for i in range(8))
    if reader == "idx":
        for shape in ((3,), (2, 2), (1, 2, 3), (0, 5), (1,) * 65, (0, *[2**32 - 1] * 3)):
            array = np.arange(np.prod(shape), dtype=np.uint8)
            sizes = b"".join(size.to_bytes(4, "big") for size in shape)
            plain = bytes([0, 0, 8, len(shape)]) + sizes + array.tobytes()
            yield from (b"\0" + plain, b"\1" + plain, b"\2" + gzip.compress(plain, mtime=0))
    if reader == "csv":
        for text in (
            "a,b,label\n1,2,x\n3,4,y\n",
            "1,2,0\n3,4,1\n5,1e3,0\n",
            '"a","b c",y\n-.5,+1,"p,q"\n1,2,"r""s"\n\n3,4,7.0\n',
            "\ufeffy,f\r\n7,1\r\n8,2\r\n",
        ):
            yield b"\0\0\0" + text.encode()
    if reader == "npz":
        for y in (np.array([0, 1]), np.array(["a", "b"]), np.array([0.0, 1.0])):
            x, labels = io.BytesIO(), io.BytesIO()
            np.save(x, np.arange(4.0, dtype=np.float32).reshape(2, 2))
            np.save(labels, y)
            yield bytes([0, len(x.getvalue())]) + x.getvalue() + labels.getvalue()
        file = io.BytesIO()
        np.savez_compressed(file, x=np.eye(2), y=np.arange(2))
        yield b"\0\0" + file.getvalue()
    if reader == "notation":
        fmt = QFormat(16, 12, "half_even")
        for name in NOTATIONS:
            yield b"\0\0\0" + fmt.to_text(name).encode()


def main():
    """Make the corpus, and fuzz, with less memory than files may claim to need."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    reader, folder = sys.argv[1], Path(sys.argv[-1])
    if folder.is_dir():
        for number, seed in enumerate(seeds(reader)):
            (folder / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], READERS[reader])
    atheris.Fuzz()


SEEDS = tuple(networks())
if __name__ == "__main__":
    main()
