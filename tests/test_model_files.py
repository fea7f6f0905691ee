"""Networks in files: nothing is forgotten, nothing damaged or hostile is read."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import mmap
import os
import pickle
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

import intmlp
from intmlp import MLP, Accumulator, LayerFormats, Parts, QFormat
from intmlp.io import model
from intmlp.nn.network import Tensor
from support import each_backend, examples, formats, seeds

EVERY_PARTS = [Parts(*kinds) for kinds in itertools.product(("fixed", "float"), repeat=3)]
every_parts = pytest.mark.parametrize(
    "parts", EVERY_PARTS, ids=lambda p: f"{p.forward}-{p.backward}-{p.update}"
)


def task(seed=0):
    state = np.random.RandomState(seed)
    return state.uniform(-1, 1, (12, 3)), state.uniform(-1, 1, (12, 2))


FIXED = Parts()


def example(parts=FIXED, **more):
    """Return a trained network in which hardly a field has its default."""
    narrow, wide = QFormat(12, 7, "half_up"), QFormat(40, 20, "stochastic", "wrap", 7)
    net = MLP(
        [3, 4, 2],
        [
            LayerFormats(narrow, wide, narrow, wide),
            LayerFormats(narrow, narrow, wide, narrow, wide),
        ],
        **{
            "input_format": QFormat(9, 6, "half_away"),
            "activation": [intmlp.relu(0.5), intmlp.leaky_relu(3)],
            "loss": "sse",
            "update": "two_step",
            "average": True,
            "momentum_shift": 3,
            "decay_shift": 9,
            "accumulator": Accumulator(40, "saturate"),
            "parts": parts,
            "seed": 1,
            "rounding_seed": 2**63 + 1,
            **more,
        },
    )
    net.train(*task(), 4, batch_size=4, overflow="ignore")
    return net


def contents(net):
    """Return all that a network is: what its pickle holds, with the bits of its arrays."""
    return [
        (key, [(a.dtype, a.shape, a.tobytes()) for a in value])
        if isinstance(value, list)
        else (key, value)
        for key, value in sorted(net.__getstate__().items())
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


# Round trips


@every_parts
@pytest.mark.parametrize("bias", [True, False])
def test_all_comes_back(parts, bias, path, backend):
    net = example(parts, bias=bias)
    net.save(path)
    again = MLP.load(path)
    assert contents(again) == contents(net) == contents(pickle.loads(pickle.dumps(again)))
    x, _ = task(1)
    assert again.forward(x).tobytes() == net.forward(x).tobytes()
    before = path.read_bytes()
    again.save(str(path))
    assert path.read_bytes() == before  # equal networks are equal files
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


TABLES = {"activation": [intmlp.tanh(), intmlp.linear()], "loss": "cross_entropy"}


@every_parts
@pytest.mark.parametrize("more", [{}, TABLES], ids=["sse", "cross_entropy"])
def test_training_goes_on(parts, more, path, backend):
    x, y = task()
    whole, half = (example(parts, average=False, **more) for _ in range(2))
    whole.train(x, y, 3, epochs=2, batch_size=5, seed=7)
    order = np.random.RandomState(7)
    half.train(x, y, 3, batch_size=5, seed=order)
    half.save(path)
    half = MLP.load(path)
    half.train(x, y, 3, batch_size=5, seed=order)
    assert contents(half) == contents(whole)


@st.composite
def networks(draw):
    """Draw an untrained network of any formats, activations and rules."""
    depth = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(1, 5), min_size=depth + 1, max_size=depth + 1))
    layers = st.builds(LayerFormats, *[formats()] * 4, st.none() | formats())
    functions = [
        *(intmlp.linear(), intmlp.relu(), intmlp.relu(0.5), intmlp.leaky_relu(63)),
        *(intmlp.hard_tanh(), intmlp.hard_sigmoid()),
    ]
    return MLP(
        sizes,
        draw(st.lists(layers, min_size=depth, max_size=depth)),
        input_format=draw(formats()),
        activation=[draw(st.sampled_from(functions)) for _ in range(depth)],
        bias=draw(st.booleans()),
        loss=draw(st.sampled_from(["sse", "half_sse"])),
        update=draw(st.sampled_from(["fused", "two_step"])),
        average=draw(st.booleans()),
        parts=draw(st.sampled_from(EVERY_PARTS)),
        momentum_shift=draw(st.none() | st.integers(1, 31)),
        decay_shift=draw(st.none() | st.integers(0, 63)),
        accumulator=draw(st.none() | st.builds(Accumulator, st.integers(2, 64))),
        seed=draw(seeds),
    )


@examples(40)
@given(net=networks())
def test_any_network_comes_back(net, saved):
    path = saved[0].with_name("any.safetensors")
    net.save(path)
    assert contents(MLP.load(path)) == contents(net)


def test_a_file_is_of_no_backend(path, restored):
    for _ in each_backend():
        net = example()
        if path.exists():
            assert contents(MLP.load(path)) == contents(net)
        net.save(path)


def test_subclasses_load_as_what_they_are(path):
    class Mine(MLP):
        pass

    example().save(path)
    assert type(Mine.load(path)) is Mine


def leaves(plain, at=()):
    """Yield the place of every value in nested objects and lists."""
    if isinstance(plain, dict | list):
        for key, value in plain.items() if isinstance(plain, dict) else enumerate(plain):
            yield from leaves(value, (*at, key))
    else:
        yield at


def test_no_field_is_forgotten(path):
    """Every field of the descriptor stands in the file, under its own name."""
    net = example()
    net.save(path)
    plain = unpack(path)[1]["state"]

    def check(value, found):
        if dataclasses.is_dataclass(value):
            names = {field.name for field in dataclasses.fields(value)}
            assert set(found) == names
            for name in names:
                check(getattr(value, name), found[name])
        elif isinstance(value, tuple):
            assert len(value) == len(found)
            for entry, of in zip(value, found, strict=True):
                check(entry, of)
        else:
            assert type(value) is type(found) and value == found

    check(net.network, plain["network"])
    assert set(plain) == {field.name for field in dataclasses.fields(model.State)}
    # and is read from there: another value in the file is another network, or is refused
    unchanged = MLP.load(path)
    for place in leaves(plain):
        with pytest.raises((AssertionError, ValueError)):
            pack(path, net, lambda d, place=place: change(d["state"], place))
            assert contents(MLP.load(path)) == contents(unchanged)


def change(plain, place):
    """Put another value of the same type where a leaf is."""
    *upper, last = place
    for key in upper:
        plain = plain[key]
    value = plain[last]
    others = {
        "half_even": "floor",
        "half_up": "floor",
        "half_away": "floor",
        "stochastic": "floor",
        "floor": "half_up",
        "saturate": "wrap",
        "wrap": "saturate",
        "sse": "half_sse",
        "two_step": "fused",
        "fixed": "float",
        "relu": "linear",
        "leaky_relu": "linear",
        None: 1,
    }
    plain[last] = not value if value in (True, False) else others.get(value) or value + 1


def test_every_attribute_of_a_network_comes_back(path):
    net = example(EVERY_PARTS[1])
    net.save(path)
    assert MLP.load(path).__dict__.keys() == net.__dict__.keys()
    of = {
        array.ctypes.data
        for value in vars(net).values()
        if isinstance(value, list)
        for array in value
    }
    assert {array.ctypes.data for array in net._arrays().values()} == of


# The file itself


def unpack(path):
    """Return the header, the description and the data of a file."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    return header, json.loads(header["__metadata__"]["intmlp"]), content[8 + size :]


def canonical(plain):
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def pack(path, net, describe=None, head=None, data=None):
    """Write the file of a network that others have changed, with the checksum that it then has."""
    net.save(path)
    header, description, content = unpack(path)
    del description["sha256"]
    for edit, of in ((describe, description), (head, header)):
        if edit is not None:
            edit(of)
    content = bytearray(content)
    if data is not None:
        data(content)
    digest = hashlib.sha256(canonical(description).encode())
    for name in sorted(set(header) - {"__metadata__"}):
        with contextlib.suppress(TypeError, KeyError):  # where it has no offsets
            digest.update(content[slice(*header[name]["data_offsets"])])
    description["sha256"] = digest.hexdigest()
    if "__metadata__" in header and "intmlp" in header["__metadata__"]:
        header["__metadata__"]["intmlp"] = canonical(description)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def test_others_may_write_one(path):
    net = example()
    pack(path, net)
    assert contents(MLP.load(path)) == contents(net)

    def halve(content):
        content[:] = bytes(len(content))

    pack(path, net, data=halve)
    assert not np.concatenate([w.ravel() for w in MLP.load(path).weights]).any()


def test_safetensors_reads_one(path):
    net = example(EVERY_PARTS[1], momentum_shift=None)
    net.save(path)
    found = load_file(path)
    assert sorted(found) == [
        f"layers.{i}.{kind}"
        for i in (1, 2)
        for kind in ("bias", "master_bias", "master_weight", "weight")
    ]
    for name, array in found.items():
        attribute = {"weight": "weights", "bias": "biases"}[
            name.rpartition("_")[2].rpartition(".")[2]
        ]
        want = getattr(net, ("master_" if "master" in name else "") + attribute)[
            int(name.split(".")[1]) - 1
        ]
        assert array.dtype == want.dtype and array.tolist() == want.tolist()


def test_arrays_are_the_file(path):
    net = example(EVERY_PARTS[1])
    net.save(path)
    state, arrays = model.read(path)
    assert state.network == net.network
    header, _, content = unpack(path)
    begin_of_data = path.stat().st_size - len(content)
    bases = set()
    for name, array in arrays.items():
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base.base, mmap.mmap)
        bases.add(id(base.base))
        start = np.frombuffer(base.base, np.uint8).ctypes.data
        assert array.ctypes.data == start + begin_of_data + header[name]["data_offsets"][0]
        assert array.flags.aligned and not array.flags.writeable and not array.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert len(bases) == 1
    assert {name: array.tolist() for name, array in arrays.items()} == {
        name: array.tolist() for name, array in net._arrays().items()
    }
    net.step(*(v[:4] for v in task(3)), 2)
    before = {name: array.tolist() for name, array in arrays.items()}
    net.save(path)  # replaces the file: what is mapped stays as it was
    assert {name: array.tolist() for name, array in arrays.items()} == before


def test_weights_of_a_network_are_views():
    net = example()
    assert net.weights[0].ctypes.data == net.weights[0].ctypes.data == net._weights[0].ctypes.data


# Whole or not at all


def test_what_a_file_cannot_hold(path, monkeypatch):
    with pytest.raises(TypeError, match=r"a file has no place for 1\.5"):
        model._to_plain(({"a": 1}, 1.5)[1:])
    monkeypatch.setattr(model, "MOST_HEADER", 100)
    with pytest.raises(ValueError, match="a network of 2 layers is too deep for a file"):
        example().save(path)
    assert not path.exists()


def test_a_save_that_fails_leaves_the_old_file(path, monkeypatch):
    net = example()
    net.save(path)
    before = path.read_bytes()
    net.step(*(v[:4] for v in task()), 1)

    def fail(*arguments):
        raise OSError("disk full")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="disk full"):
                net.save(path)
        assert path.read_bytes() == before
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    with pytest.raises(FileNotFoundError):
        net.save(path.parent / "no" / "net")
    with pytest.raises(OSError):
        net.save(path.parent)
    net.save(path)
    assert path.read_bytes() != before


def test_nobody_reads_half_a_file(path):
    nets = [example(seed=seed) for seed in range(3)]
    wanted = [contents(net) for net in nets]
    nets[0].save(path)
    stop = threading.Event()

    def keep_saving(net):
        while not stop.is_set():
            net.save(path)

    threads = [threading.Thread(target=keep_saving, args=(net,)) for net in nets]
    for thread in threads:
        thread.start()
    try:
        assert all(contents(MLP.load(path)) in wanted for _ in range(20))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# Damaged and hostile files


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        MLP.load(path)
    assert str(caught.value).startswith(f"{str(path)!r} is not a file of a network: ")
    assert len(str(caught.value)) < 1000


def test_no_file(path):
    for missing in (path, path.parent / "no" / "net"):
        with pytest.raises(FileNotFoundError):
            MLP.load(missing)
    with pytest.raises(IsADirectoryError):
        MLP.load(path.parent)
    with pytest.raises(TypeError):
        MLP.load(None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends before the length of its header"),
        (b"1234567", "ends before the length of its header"),
        (b"\0" * 8, "Expecting value"),
        (b"\xff" * 8, "length of its header, 18446744073709551615, is beyond"),
        ((10**12).to_bytes(8, "little") + b"{}", "length of its header, 1000000000000, is beyond"),
        ((3).to_bytes(8, "little") + b"{}", "length of its header, 3, is beyond"),
        (
            (2).to_bytes(8, "little") + b"{}",
            "__metadata__ must have the key intmlp alone, got None",
        ),
        ((2).to_bytes(8, "little") + b"[]", "header must be an object"),
        ((2).to_bytes(8, "little") + b"\xff\xfe", "codec can't decode"),
        ((4).to_bytes(8, "little") + b"{\0}\0", "Expecting property name"),
        ((9).to_bytes(8, "little") + b'{"a":NaN}', "header holds 'NaN', where there are integers"),
        ((9).to_bytes(8, "little") + b'{"a":1.5}', "header holds '1.5', where there are integers"),
        ((13).to_bytes(8, "little") + b'{"a":1,"a":2}', "header has a key twice"),
        (pickle.dumps(example()), "length of its header"),
        (b"PK\3\4" + bytes(100), "length of its header"),
    ],
    ids=repr,
)
def test_no_safetensors_file(content, message, path):
    path.write_bytes(content)
    refused(path, message)


@pytest.mark.parametrize("open_", ["[", '{"a":', '[{"a":'])
def test_deep_json(open_, path):
    net = example()
    text = (open_ * 10**6).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    refused(path, "recursion")
    pack(path, net, head=lambda h: None)
    header, _, content = unpack(path)
    header["__metadata__"]["intmlp"] = open_ * 10**6
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    refused(path, "recursion")


def test_nothing_is_allocated_for_what_is_claimed(path):
    net = example(momentum_shift=None)

    def trillion(header):
        header["layers.1.weight"]["shape"] = [10**6, 10**6]
        header["layers.1.weight"]["data_offsets"] = [0, 8 * 10**12]

    def wide(description):
        description["state"]["network"]["layers"][0]["n_in"] = 2**31 - 1

    def wide_header(header):
        header["layers.1.weight"]["shape"] = [4, 2**31 - 1]

    def wide_both(header):
        wide_header(header)
        header["layers.1.weight"]["data_offsets"] = [0, 4 * 8 * (2**31 - 1)]

    for describe, head, message in (
        (None, trillion, r"layers.1.weight must have shape \[4, 3\], got \[1000000, 1000000\]"),
        (wide, None, r"layers.1.weight must have shape \[4, 2147483647\], got \[4, 3\]"),
        (wide, wide_header, r"layers.1.weight must lie at \d+..68719476\d+ of 168 bytes"),
        (wide, wide_both, r"must lie at \d+..68719476\d+ of 168 bytes, got"),
    ):
        pack(path, net, describe, head)
        tracemalloc.start()
        refused(path, message)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10**6


def put(*place_and_value):
    """Return an edit that puts a value at a place."""
    *place, last, value = place_and_value

    def edit(plain):
        for key in place:
            plain = plain[key]
        plain[last] = value

    return edit


def drop(*place):
    *place, last = place

    def edit(plain):
        for key in place:
            plain = plain[key]
        del plain[last]

    return edit


NETWORK = ("state", "network")
LAYER = (*NETWORK, "layers", 0)
DESCRIPTIONS = [
    (put("format_version", 2), "its format_version is 2, that of intmlp .* is 1"),
    (put("format_version", "1"), "its format_version is '1'"),
    (put("format_version", True), "its format_version is True"),
    (drop("format_version"), "its format_version is None"),
    (put("arithmetic_version", 2), "its arithmetic_version is 2, that of intmlp .* is 1"),
    (put("arithmetic_version", True), "its arithmetic_version is True"),
    (put("code", "import os"), "the description has an unknown 'code'"),
    (drop("intmlp_version"), "the description lacks its 'intmlp_version'"),
    (drop(*NETWORK), "state lacks its 'network'"),
    (put("state", []), r"state must be of type dict, got \[\]"),
    (drop(*NETWORK, "loss"), "state.network lacks its 'loss'"),
    (put(*NETWORK, "more", 1), "state.network has an unknown 'more'"),
    (put(*NETWORK, "loss", "mse"), "state.network.loss must be one of half_sse|must be one of sse"),
    (put(*NETWORK, "loss", "s" * 10**6), "state.network.loss must be one of .*; got 'ss.*[.]{3}"),
    (put(*NETWORK, "loss", ["sse"]), "state.network.loss must be one of sse"),
    (put(*NETWORK, "bias", 1), "state.network.bias must be of type bool, got 1"),
    (put(*NETWORK, "bias", False), "header has an unknown 'layers.1.bias'"),
    (put(*NETWORK, "layers", []), "sizes must have at least 2 entries"),
    (put(*NETWORK, "layers", {}), r"state.network.layers must be of type list, got \{\}"),
    (put(*NETWORK, "parts", "update", "float"), "header lacks its 'layers.1.master_bias'"),
    (
        put(*NETWORK, "parts", "update", None),
        "state.network.parts.update must be one of fixed, flo",
    ),
    (put(*LAYER, "n_out", 5), "its layers must each have as many inputs"),
    (put(*LAYER, "n_in", 0), r"sizes\[0\] must be in 1..2147483647, got 0"),
    (put(*LAYER, "n_in", True), r"layers\[0\].n_in must be of type int, got True"),
    (put(*LAYER, "n_in", "3"), r"layers\[0\].n_in must be of type int, got '3'"),
    (put(*LAYER, "n_in", 10**21), "the description holds an integer of 22 digits"),
    (put(*LAYER, "n_in", 3.0), "the description holds '3.0', where there are integers alone"),
    (put(*LAYER, "formats", "weight", "bits", 65), "formats.weight: bits must be in 2..64, got 65"),
    (
        put(*LAYER, "formats", "weight", "bits", 32),
        "layers.1.weight must have dtype I32, got 'I64'",
    ),
    (put(*LAYER, "formats", "weight", "frac", -1), "formats.weight: frac must be in 0..63, got -1"),
    (put(*LAYER, "formats", "delta", None), "formats.delta must be of type dict, got None"),
    (put(*LAYER, "activation", "kind", "eval"), "activation.kind must be one of linear, relu"),
    (put(*LAYER, "activation", "slope_shift", 3), "activation: slope_shift must be in 0..0, got 3"),
    (put(*LAYER, "activation", "kind", "linear"), "activation: half_at_zero is for relu alone"),
    (put(*NETWORK, "layers", 1, "activation", "slope_shift", 64), "must be in 1..63, got 64"),
    (put("state", "average", "yes"), "state.average must be of type bool, got 'yes'"),
    (put("state", "steps", 2**32), "state: steps must be in 0..4294967295, got 4294967296"),
]


@pytest.mark.parametrize(("edit", "message"), DESCRIPTIONS)
def test_descriptions(edit, message, path):
    pack(path, example(), edit)
    refused(path, message)


WEIGHT = "layers.1.weight"
HEADERS = [
    (drop("__metadata__"), "__metadata__ must have the key intmlp alone, got None"),
    (put("__metadata__", {}), "__metadata__ must have the key intmlp alone"),
    (put("__metadata__", "format", "pt"), "__metadata__ must have the key intmlp alone"),
    (put("__metadata__", []), r"__metadata__ must have the key intmlp alone, got \[\]"),
    (drop(WEIGHT), "header lacks its 'layers.1.weight'"),
    (put("layers.3.weight", {}), "header has an unknown 'layers.3.weight'"),
    (put(WEIGHT, None), "header.layers.1.weight must be of type dict, got None"),
    (put(WEIGHT, "more", 1), "header.layers.1.weight has an unknown 'more'"),
    (drop(WEIGHT, "dtype"), "header.layers.1.weight lacks its 'dtype'"),
    (put(WEIGHT, "dtype", "I32"), "layers.1.weight must have dtype I64, got 'I32'"),
    (put(WEIGHT, "dtype", "F64"), "layers.1.weight must have dtype I64, got 'F64'"),
    (put(WEIGHT, "dtype", ["I64"]), r"layers.1.weight must have dtype I64, got \['I64'\]"),
    (put(WEIGHT, "shape", [3, 4]), r"must have shape \[4, 3\], got \[3, 4\]"),
    (put(WEIGHT, "shape", [12]), r"must have shape \[4, 3\], got \[12\]"),
    (put(WEIGHT, "shape", None), r"must have shape \[4, 3\], got None"),
    (put(WEIGHT, "shape", [-4, -3]), r"must have shape \[4, 3\], got \[-4, -3\]"),
    (put(WEIGHT, "data_offsets", None), "must have two data_offsets, got None"),
    (put(WEIGHT, "data_offsets", [0]), r"must have two data_offsets, got \[0\]"),
    (put(WEIGHT, "data_offsets", ["0", "96"]), "must have two data_offsets"),
    (put(WEIGHT, "data_offsets", [[], {}]), "must have two data_offsets"),
    (put(WEIGHT, "data_offsets", [-96, 0]), "must lie at"),
    (put(WEIGHT, "data_offsets", [0, 96]), "must lie at"),
    (put(WEIGHT, "data_offsets", [8, 104]), "must lie at"),
    (put(WEIGHT, "data_offsets", [10**18, 10**18 + 96]), "must lie at"),
]


@pytest.mark.parametrize(("edit", "message"), HEADERS)
def test_headers(edit, message, path):
    pack(path, example(), head=edit)
    refused(path, message)


def test_true_is_no_length(path):
    pack(path, MLP([2, 1], QFormat(8, 4)), head=put(WEIGHT, "shape", [True, 2]))
    refused(path, r"layers.1.weight must have shape \[1, 2\], got \[True, 2\]")


def test_tensors_lie_one_after_the_other(path):
    """Those of a file are renamed, overlap, leave a hole, or leave bytes behind."""
    net = example()

    def rename(header):
        header["layers.1.Weight"] = header.pop(WEIGHT)

    pack(path, net, head=rename)
    refused(path, "header has an unknown 'layers.1.Weight'")

    def swap(header):
        names = ("layers.2.bias", "layers.1.bias")
        header.update({a: header[b] for a, b in zip(names, names[::-1], strict=True)})

    pack(path, net, head=swap)
    refused(path, "must have dtype")

    def overlap(header):
        names = sorted(set(header) - {"__metadata__"}, key=lambda n: header[n]["data_offsets"])
        for name in names[1:]:
            header[name]["data_offsets"] = [end - 4 for end in header[name]["data_offsets"]]

    pack(path, net, head=overlap, data=lambda content: content.__delitem__(slice(-4, None)))
    refused(path, "must lie at")

    def hole(header):
        last = max(set(header) - {"__metadata__"}, key=lambda n: header[n]["data_offsets"])
        header[last]["data_offsets"] = [end + 8 for end in header[last]["data_offsets"]]

    pack(path, net, head=hole, data=lambda content: content.extend(bytes(8)))
    refused(path, "must lie at")
    pack(path, net, data=lambda content: content.extend(bytes(8)))
    refused(path, "must end with the file, got 8 bytes more")
    pack(path, net, data=lambda content: content.__delitem__(slice(-1, None)))
    refused(path, "must lie at .* bytes")


@pytest.mark.parametrize("parts", [Parts(), Parts(update="float")], ids=["fixed", "float"])
def test_values(parts, path):
    net = example(parts)
    net.save(path)
    header = unpack(path)[0]

    def at(name, dtype, value):
        begin = header[name]["data_offsets"][0]
        raw = np.array(value, dtype).tobytes()
        return lambda content: content.__setitem__(slice(begin, begin + len(raw)), raw)

    for name, dtype, values, message in (
        (WEIGHT, "<i8", (2**39, -(2**39) - 1), "must hold raw values in -549755813888..5497558138"),
        ("layers.2.bias", "<i4", (2**11, -(2**11) - 1), "must hold raw values in -2048..2047"),
    ):
        for value in values:
            pack(path, net, data=at(name, dtype, value))
            refused(path, f"{name} {message}.*, got {value}")
    if parts.update == "float":
        for value in (np.nan, np.inf, -np.inf):
            pack(path, net, data=at("layers.2.master_weight", "<f8", value))
            refused(path, f"layers.2.master_weight must hold finite values, got {value}")


def test_a_changed_file(path):
    """What is in range and yet not what was saved is known by its checksum."""
    net = example()
    net.save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-4] + bytes([content[-4] ^ 1]) + content[-3:])
    refused(path, "its sha256 is not that of its content: it was changed")
    path.write_bytes(content.replace(b'\\"frac\\":7', b'\\"frac\\":6', 1))
    refused(path, "its sha256 is not that of its content")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "net.safetensors"
    net = example(Parts(update="float"), seed=3)
    net.save(path)
    return path, contents(net), path.read_bytes()


@examples(400)
@given(data=st.data())
def test_any_change_of_a_file_is_seen(data, saved):
    path, unchanged, content = saved
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["bit", "byte", "cut", "insert", "remove", "copy"]))
        if kind == "bit":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "byte":
            content[at] = data.draw(st.sampled_from(b'0129-"{}[],:\\ eE.\0\xff'))
        elif kind == "cut":
            del content[max(at, 1) :]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        elif kind == "remove":
            del content[at : at + data.draw(st.integers(1, 8))]
            content = content or bytearray(1)
        else:
            end = data.draw(st.integers(at, len(content)))
            content[at:at] = content[at:end]
    path.write_bytes(content)
    try:
        again = MLP.load(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert contents(again) == unchanged


def test_big_endian_machine(path, monkeypatch):
    """There arrays are big-endian, and files are what they are everywhere."""
    net = example(Parts(update="float"))
    net.save(path)
    content, (state, arrays) = path.read_bytes(), model.read(path)
    native = Tensor.dtype.fget
    monkeypatch.setattr(Tensor, "dtype", property(lambda self: native(self).newbyteorder(">")))
    again, read = model.read(path)
    assert again == state
    assert {name: a.tolist() for name, a in read.items()} == {
        name: a.tolist() for name, a in arrays.items()
    }
    big = {name: a.astype(a.dtype.newbyteorder(">")) for name, a in read.items()}
    model.write(path, state, big)
    assert path.read_bytes() == content
