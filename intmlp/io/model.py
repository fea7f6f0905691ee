"""Networks in safetensors files; docs/model_files.md describes them.

The package `safetensors` writes. It is not asked to read: it would copy every array, and takes a
key that stands twice. Instead, a file must hold just the tensors that its description asks for,
one after the other, which leaves nothing else to check of its header.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from reprlib import repr as short
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from .._check import finite, integer, within
from .._version import __version__, arithmetic_version
from ..nn.network import Network, describe, tensors
from ..stream import MOST_STEPS
from .files import atomic

FORMAT_VERSION = 1

# Of some 16,000 layers; what claims more is refused before it is read.
MOST_HEADER = 2**24

_CODES = {"int32": "I32", "int64": "I64", "float64": "F64"}

Array = NDArray[Any]


@dataclass(frozen=True)
class State:
    """What a network is, besides its arrays."""

    network: Network
    average: bool
    steps: int

    def __post_init__(self) -> None:
        integer("steps", self.steps, 0, MOST_STEPS)


def write(path: str | os.PathLike[str], state: State, arrays: Mapping[str, Array]) -> None:
    """Write a file, whole or not at all; `MLP.save` calls this.

    Parameters
    ----------
    path : path-like
    state : State
    arrays : mapping of str to ndarray
        The arrays of `tensors`, by name.
    """
    little = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        for name, array in arrays.items()
    }
    description = {
        "format_version": FORMAT_VERSION,
        "arithmetic_version": arithmetic_version,
        "intmlp_version": __version__,
        "state": _to_plain(state),
    }
    description["sha256"] = _digest(description, little)
    # One key alone: safetensors writes several in no order, and equal networks give equal files.
    content = save(little, {"intmlp": _canonical(description)})
    if int.from_bytes(content[:8], "little") > MOST_HEADER:
        raise ValueError(f"a network of {len(state.network.layers)} layers is too deep for a file")
    with atomic(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read(path: str | os.PathLike[str]) -> tuple[State, dict[str, Array]]:
    """Return what a file describes, and its arrays, which are the file itself, mapped.

    Nothing is allocated for the arrays, and no code of the file is run. While they are used, the
    file may be replaced, as `MLP.save` does, but must not be cut short in its place.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    state : State
    arrays : dict of str to ndarray
        Read-only, by name: ``layers.1.weight`` and so on.

    Raises
    ------
    OSError
        Where the file cannot be read.
    ValueError
        Where it is damaged, or is no file of a network of this `arithmetic_version`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import intmlp
    >>> from intmlp.io import model
    >>> net = intmlp.MLP([2, 1], intmlp.QFormat(8, 4))
    >>> net.set_weights([[[0.5, 1.0]]], [[0.25]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "net.safetensors")
    ...     net.save(path)
    ...     state, arrays = model.read(path)
    ...     print(arrays["layers.1.weight"], arrays["layers.1.weight"].flags.writeable)
    ...     del arrays
    [[ 8 16]] False
    """
    with open(path, "rb") as file, _naming(path):
        if os.fstat(file.fileno()).st_size < 8:
            raise ValueError("it ends before the length of its header")
        content = np.memmap(file, np.uint8, "r").view(np.ndarray)
        length = int.from_bytes(content[:8].tobytes(), "little")
        if length > min(MOST_HEADER, content.size - 8):
            raise ValueError(
                f"the length of its header, {length}, is beyond the end of the file "
                f"or beyond {MOST_HEADER}"
            )
        header = _json("header", content[8 : 8 + length].tobytes().decode())
        description = _description(header)
        state = _state(description)
        arrays = _arrays(header, content[8 + length :], state.network)
        if description["sha256"] != _digest(description, arrays):
            raise ValueError("its sha256 is not that of its content: it was changed")
        return state, arrays


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let every error of the body be a ValueError that names the file."""
    try:
        yield
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)!r} is not a file of a network: {error}") from None


def _json(name: str, text: str) -> dict[str, Any]:
    """Return the object of a JSON text, in which there are no floats and no key twice."""

    def integer(digits: str) -> int:
        if len(digits) > 20:
            raise ValueError(f"{name} holds an integer of {len(digits)} digits")
        return int(digits)

    def refused(number: str) -> None:
        raise ValueError(f"{name} holds {short(number)}, where there are integers alone")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"{name} has a key twice, in {short(list(found))}")
        return found

    plain = json.loads(
        text,
        parse_int=integer,
        parse_float=refused,
        parse_constant=refused,
        object_pairs_hook=once,
    )
    if not isinstance(plain, dict):
        raise ValueError(f"{name} must be an object, got {short(plain)}")
    return plain


def _canonical(plain: Any) -> str:
    """Return the one JSON text of plain values."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def _same(plain: Any, ours: Any) -> bool:
    """Return whether plain values are the same; True is not 1."""
    return _canonical(plain) == _canonical(ours)


def _digest(description: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of a description without that of its own, and of all arrays by name."""
    rest = {key: value for key, value in description.items() if key != "sha256"}
    digest = hashlib.sha256(_canonical(rest).encode())
    for name in sorted(arrays):
        digest.update(arrays[name].reshape(-1).data)
    return digest.hexdigest()


def _description(header: dict[str, Any]) -> dict[str, Any]:
    """Take the description out of a header; what is left are tensors."""
    metadata = header.pop("__metadata__", None)
    if not (isinstance(metadata, dict) and list(metadata) == ["intmlp"]):
        raise ValueError(f"its __metadata__ must have the key intmlp alone, got {short(metadata)}")
    _is("__metadata__.intmlp", metadata["intmlp"], str)
    description = _json("the description", metadata["intmlp"])
    for version, ours in (
        ("format_version", FORMAT_VERSION),
        ("arithmetic_version", arithmetic_version),
    ):
        if not _same(description.get(version), ours):
            raise ValueError(
                f"its {version} is {short(description.get(version))}, "
                f"that of intmlp {__version__} is {ours}"
            )
    _has(
        "the description",
        description,
        ("format_version", "arithmetic_version", "intmlp_version", "state", "sha256"),
    )
    return description


def _state(description: Mapping[str, Any]) -> State:
    """Return the state of a description, checked as the arguments of `MLP` are."""
    state = _from_plain("state", State, description["state"])
    network = state.network
    others = {
        field.name: getattr(network, field.name)
        for field in fields(Network)
        if field.name not in ("input", "layers")
    }
    again = describe(
        [layer.n_in for layer in network.layers[:1]] + [layer.n_out for layer in network.layers],
        [layer.formats for layer in network.layers],
        network.input,
        [layer.activation for layer in network.layers],
        **others,
    )
    if again != network:
        raise ValueError("its layers must each have as many inputs as the one before has outputs")
    return state


def _arrays(header: dict[str, Any], data: Array, network: Network) -> dict[str, Array]:
    """Return views of the tensors that a network has; the file must hold them, and no more."""
    wanted = {tensor.name: tensor for tensor in tensors(network)}
    _has("header", header, tuple(wanted))
    begins = {}
    for name, tensor in wanted.items():
        _has(f"header.{name}", header[name], ("dtype", "shape", "data_offsets"))
        entry = header[name]
        for key, want in (("dtype", _CODES[tensor.dtype.name]), ("shape", list(tensor.shape))):
            if not _same(entry[key], want):
                raise ValueError(f"{name} must have {key} {want}, got {short(entry[key])}")
        offsets = entry["data_offsets"]
        if not (isinstance(offsets, list) and len(offsets) == 2 and type(offsets[0]) is int):
            raise ValueError(f"{name} must have two data_offsets, got {short(offsets)}")
        begins[name] = offsets[0]
    arrays, end = {}, 0
    for name in sorted(wanted, key=begins.__getitem__):
        tensor = wanted[name]
        begin, end = end, end + tensor.dtype.itemsize * math.prod(tensor.shape)
        if header[name]["data_offsets"] != [begin, end] or end > data.size:
            raise ValueError(
                f"{name} must lie at {begin}..{end} of {data.size} bytes, "
                f"got {short(header[name]['data_offsets'])}"
            )
        raw = data[begin:end].view(tensor.dtype.newbyteorder("<").str).reshape(tensor.shape)
        if tensor.fmt is None:
            finite(name, raw)
        else:
            within(name, raw, tensor.fmt)
        arrays[name] = raw
    if end != data.size:
        raise ValueError(f"its tensors must end with the file, got {data.size - end} bytes more")
    return arrays


def _to_plain(value: Any) -> Any:
    """Return what stands for a value in JSON: an object for a dataclass, with all its fields."""
    if is_dataclass(value):
        return {field.name: _to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_to_plain(entry) for entry in value]
    if type(value) in (int, bool, str, NoneType):
        return value
    raise TypeError(f"a file has no place for {value!r}")


def _from_plain(name: str, kind: Any, plain: Any) -> Any:
    """Return the value of a type that `plain` stands for; the types of fields rule."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        _has(name, plain, tuple(field.name for field in fields(kind)))
        values = {
            key: _from_plain(f"{name}.{key}", hints[key], entry) for key, entry in plain.items()
        }
        try:
            return kind(**values)  # type: ignore[operator]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from None
    if get_origin(kind) in (Union, UnionType):  # X | None
        kind, _ = get_args(kind)
        return None if plain is None else _from_plain(name, kind, plain)
    if get_origin(kind) is tuple:  # tuple[X, ...]
        _is(name, plain, list)
        of, _ = get_args(kind)
        return tuple(_from_plain(f"{name}[{i}]", of, entry) for i, entry in enumerate(plain))
    if get_origin(kind) is Literal:
        if plain not in get_args(kind):
            allowed = ", ".join(get_args(kind))
            raise ValueError(f"{name} must be one of {allowed}; got {short(plain)}")
        return plain
    _is(name, plain, kind)
    return plain


def _is(name: str, plain: Any, kind: type) -> None:
    """Raise where a plain value is not of a type; True is no integer."""
    if type(plain) is not kind:
        raise ValueError(f"{name} must be of type {kind.__name__}, got {short(plain)}")


def _has(name: str, plain: Any, keys: tuple[str, ...]) -> None:
    """Raise where a plain value is not an object with these keys and no others."""
    _is(name, plain, dict)
    wrong = sorted(plain.keys() ^ set(keys))
    if wrong:
        found = "has an unknown" if wrong[0] in plain else "lacks its"
        raise ValueError(f"{name} {found} {short(wrong[0])}")
