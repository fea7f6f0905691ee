"""Samples to train on: packaged, scikit-learn's, MNIST, from an .npz or CSV file, or arrays."""

from __future__ import annotations

import csv
import hashlib
import itertools
import re
import struct
import sys
import zipfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._check import choice, integer
from .datasets import fetch_mnist, joined, load_mnist_parts, load_stream

OPENML_TEST = 10_000  # images of OpenML's MNIST, the last ones
SCALES = ("minmax", "none")

# What arrays, and the label column of a CSV file, may be called where nobody says it.
X_NAMES = ("x", "X", "data", "images", "features")
Y_NAMES = ("y", "Y", "label", "labels", "target", "targets")
LABEL_NAMES = ("label", "labels", "class", "target", "y")

# Labels that say there is none, in lower case.
MISSING = ("", "?", "na", "n/a", "nan", "null")

# What each source of `load_samples` takes beyond its name.
_OPTIONS = {
    "mnist-2017": (),
    "digits": (),
    "mnist": ("folder",),
    ".npz": ("features", "label", "scale"),
    ".csv": ("label", "header", "scale"),
}

# What a field of numbers is made of; `float` alone reads 1_000 too, and other scripts' digits.
_NUMERALS = re.compile("[-+.0-9A-Za-z \\t]*")

# How errors name the labels of a source, or one sample's (row), or a feature (row, feature).
_Place = Callable[..., str]


@dataclass(frozen=True, eq=False)
class Samples:
    """Features and labels, made by `load_samples` or `samples_of`, which check them.

    Attributes
    ----------
    x : ndarray of float64, shape (n, features)
        C-contiguous, finite, read-only; no zero is negative.
    labels : ndarray of int64, shape (n,)
        ``0..len(classes) - 1``, read-only.
    classes : tuple of int or of str
        What the labels were called, sorted: integers as such, text as text.
    name : str
        What the samples are called in a report.
    held_back : int
        How many samples, the last ones, are the customary test set; 0 where there is none.
    digest : str
        SHA-256 of what training sees: `x`, `labels`, the number of classes, `held_back`.
    """

    x: NDArray[np.float64]
    labels: NDArray[np.int64]
    classes: tuple[Any, ...]
    name: str
    held_back: int = 0
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        sizes = struct.pack("<4q", *self.x.shape, len(self.classes), self.held_back)
        digest = hashlib.sha256(sizes)
        digest.update(self.x.astype("<f8", copy=False).data)
        digest.update(self.labels.astype("<i8", copy=False).data)
        object.__setattr__(self, "digest", digest.hexdigest())
        self.x.setflags(write=False)
        self.labels.setflags(write=False)


def load_samples(
    name: str | PathLike[str],
    *,
    folder: str | PathLike[str] | None = None,
    features: str | None = None,
    label: str | int | None = None,
    header: bool | None = None,
    scale: str | None = None,
) -> Samples:
    """Load the samples of a study.

    Parameters
    ----------
    name : str or path-like
        ``mnist-2017`` (packaged, the order of the 2017 experiment), ``digits`` (that come with
        scikit-learn), ``mnist`` (training, then test images, which are held back), or a file
        whose name ends in ``.npz`` or ``.csv``.
    folder : path-like, optional
        Of ``mnist``: holds its four IDX files, see `load_mnist`; without it OpenML is asked.
    features : str, optional
        Of an .npz file: the array of features. Default: the one of `X_NAMES` that is there.
    label : str or int, optional
        Of an .npz file: the array of labels. Default: the one of `Y_NAMES` that is there.
        Of a CSV file: the label column by its name in the header, or by its place, counted from
        0, or from the end where negative. Default: the one of `LABEL_NAMES` that is in the
        header, capital letters or not; without a header, the last column.
    header : bool, optional
        Whether the first line of a CSV file names the columns. Default: it does where `label`
        is a name, or where none of its fields is a number.
    scale : {"minmax", "none"}, optional
        Of a file: ``minmax`` (the default) maps each feature to [0, 1], one that is constant
        to 0; ``none`` leaves all as they are. Grey values of MNIST are divided by 255, those of
        digits by 16.

    Returns
    -------
    Samples

    Raises
    ------
    OSError
        Where a file cannot be read, or OpenML cannot be reached.
    ValueError
        Where the source is unknown, an option is not one of it, or what it holds does not serve.

    Notes
    -----
    A CSV file is UTF-8 with commas; blank lines are passed over. Labels that are all integers
    (``7``, ``7.0``) are classes by their value, others by their text. Every other column is a
    feature, and must be numbers.

    Examples
    --------
    >>> samples = load_samples("mnist-2017")
    >>> samples.x.shape, samples.labels[:8], samples.classes[-1]
    ((10000, 784), array([0, 2, 2, 9, 0, 8, 9, 8]), 9)
    """
    source = name if isinstance(name, str) and name in _OPTIONS else Path(name).suffix.lower()
    if source not in _OPTIONS:
        raise ValueError(
            "the data set must be mnist-2017, digits, mnist, or a file whose name ends in .npz "
            f"or .csv; got {str(name)!r}"
        )
    options = {
        "folder": folder,
        "features": features,
        "label": label,
        "header": header,
        "scale": scale,
    }
    for option, value in options.items():
        if value is not None and option not in _OPTIONS[source]:
            takers = ", ".join(taker for taker, taken in _OPTIONS.items() if option in taken)
            raise ValueError(f"{option} is an option of {takers}, got it with {str(name)!r}")
    if source == "mnist-2017":
        return _images(*load_stream(), 255.0, source, 0)
    if source == "digits":
        from sklearn.datasets import load_digits

        greys, labels = load_digits(return_X_y=True)
        return _images(greys, labels, 16.0, source, 0)
    if source == "mnist":
        if folder is None:
            return _images(*fetch_mnist(), 255.0, source, OPENML_TEST)
        training, test = load_mnist_parts(folder)
        return _images(*joined(training, test), 255.0, source, len(test.labels))
    if source == ".npz":
        return _load_npz(Path(name), features, label, scale or "minmax")
    return _load_csv(Path(name), label, header, scale or "minmax")


def label_option(text: str) -> str | int:
    """Return the option `label` of `load_samples` that a command line says: a name, or a place.

    Examples
    --------
    >>> label_option("species"), label_option("-1")
    ('species', -1)
    """
    return int(text) if re.fullmatch("-?[0-9]+", text) else text


def samples_of(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    name: str = "arrays",
    scale: str = "minmax",
    held_back: int = 0,
) -> Samples:
    """Return samples from arrays.

    Parameters
    ----------
    x : array-like of numbers, shape (n, ...)
        The features of a sample are its row, flattened.
    labels : array-like of int, of float without a fraction, or of str, shape (n,)
        At least two classes.
    name : str
        What the samples are called in a report.
    scale : {"minmax", "none"}
        See `load_samples`; held-back samples are scaled with the others.
    held_back : int
        How many samples, the last ones, are a test set: fewer than n.

    Returns
    -------
    Samples

    Raises
    ------
    TypeError, ValueError
        Where an argument does not serve.

    Examples
    --------
    >>> samples = samples_of([[1, 5], [3, 5], [2, 5]], ["b", "a", "b"])
    >>> samples.x.tolist(), samples.labels, samples.classes
    ([[0.0, 0.0], [1.0, 0.0], [0.5, 0.0]], array([1, 0, 1]), ('a', 'b'))
    """
    place = _in_arrays("x", "labels")
    return _samples(_matrix("x", x), np.asarray(labels), name, scale, held_back, place)


# Checks and scaling, for every source -------------------------------------------------------


def _images(
    greys: NDArray[Any], labels: NDArray[Any], white: float, name: str, held_back: int
) -> Samples:
    """Return samples of images whose grey values are ``0..white``."""
    x = np.divide(greys, white, order="C")
    return _samples(x, labels, name, "none", held_back, _in_arrays("x", "labels"))


def _matrix(name: str, x: ArrayLike) -> NDArray[np.float64]:
    """Return a copy of `x` as float64, one sample a row."""
    values = np.asarray(x)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got the dtype {values.dtype}")
    if values.ndim < 2 or values.size == 0:
        raise ValueError(
            f"{name} must have the shape (samples, features), at least one of each, "
            f"got {values.shape}"
        )
    return np.array(values.reshape(len(values), -1), np.float64, order="C")


def _in_arrays(x_name: str, y_name: str) -> _Place:
    """Return how errors name the places of arrays."""

    def place(row: int | None = None, feature: int | None = None) -> str:
        if row is None:
            return y_name
        return f"{y_name}[{row}]" if feature is None else f"{x_name}[{row}], feature {feature}"

    return place


def _samples(
    x: NDArray[np.float64],
    labels: NDArray[Any],
    name: str,
    scale: str,
    held_back: int,
    place: _Place,
) -> Samples:
    """Return samples of `x`, which is scaled in place."""
    choice("scale", scale, SCALES)
    if labels.shape != (len(x),):
        raise ValueError(
            f"{place()} must have one label for each of the {len(x)} samples, in the shape "
            f"{(len(x),)}, got {labels.shape}"
        )
    held_back = integer("held_back", held_back, 0, len(x) - 1)
    good = np.isfinite(x)
    if not good.all():
        row, feature = np.argwhere(~good)[0].tolist()
        raise ValueError(f"{place(row, feature)} must be finite, got {x[row, feature]}")
    codes, classes = _encoded(labels, place)
    if len(classes) < 2:
        raise ValueError(f"{place()} must have at least 2 classes, got {classes[0]!r} alone")
    if scale == "minmax":
        _scale(x)
    x += 0.0  # which makes of -0.0 a 0.0: which of the two a minimum is, NumPy leaves open
    return Samples(x, codes, classes, name, held_back)


def _scale(x: NDArray[np.float64]) -> None:
    """Map each column to [0, 1], from its least to its greatest value; a constant one to 0."""
    low, high = x.min(axis=0), x.max(axis=0)
    with np.errstate(over="ignore"):
        halves = np.where(np.isinf(high - low), 0.5, 1.0)  # a range beyond the doubles
    x *= halves
    low, high = low * halves, high * halves
    x -= low
    x /= np.where(low < high, high - low, 1.0)


def _encoded(
    labels: NDArray[Any], place: _Place
) -> tuple[NDArray[np.int64], tuple[int, ...] | tuple[str, ...]]:
    """Return labels as places in the sorted classes, and these."""
    if labels.dtype.kind in "OT" and all(isinstance(label, str) for label in labels):
        labels = labels.astype(str)
    if labels.dtype.kind not in "biufU":
        raise ValueError(f"{place()} must be integers or text, got the dtype {labels.dtype}")
    if labels.dtype.kind == "U":  # which NumPy reads from files as it stands there
        points = np.frombuffer(labels.tobytes(), f"{labels.dtype.str[0]}u4")
        if points.max(initial=0) > sys.maxunicode:
            raise ValueError(f"{place()} must be text, got the code point {points.max():#x}")
    values, rows, codes = np.unique(labels, return_index=True, return_inverse=True)
    distinct = values.tolist()
    for value, row in zip(distinct, rows.tolist(), strict=True):
        if str(value).strip().lower() in MISSING:
            raise ValueError(f"{place(row)} must be a label, got {value!r}, which is a missing one")
    meant: list[Any] = distinct
    if labels.dtype.kind != "U" or all(_number(text) is not None for text in distinct):
        meant = [_integer(value) for value in distinct]
        if None in meant:
            bad = meant.index(None)
            raise ValueError(
                f"{place(int(rows[bad]))} must be an integer or text, got {distinct[bad]!r}"
            )
    classes = sorted(set(meant))
    code = {value: i for i, value in enumerate(classes)}
    return np.array([code[value] for value in meant], np.int64)[codes], tuple(classes)


def _integer(value: Any) -> int | None:
    """Return the integer that a number, or its text, stands for; None where it is none."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]+\s*", value):
        return int(value)
    number = float(value) if isinstance(value, str) else value
    return int(number) if float(number).is_integer() else None


def _number(text: str) -> float | None:
    """Return the number that a field of a file says, or None where it says none."""
    try:
        return float(text) if _NUMERALS.fullmatch(text) else None
    except ValueError:
        return None


# .npz files ---------------------------------------------------------------------------------


def _load_npz(path: Path, features: str | None, label: str | int | None, scale: str) -> Samples:
    """Read an .npz file; no object is unpickled."""
    if isinstance(label, int):
        raise ValueError(f"label must name an array of {path}, got {label}")
    with path.open("rb") as file:  # what cannot be opened says so itself
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path} must be an .npz file: a zip file of arrays, whole")
        file.seek(0)
        with _readable(path, "the file"):
            arrays = np.lib.npyio.NpzFile(file, allow_pickle=False)
        x_name = _named(path, arrays.files, "features", features, X_NAMES)
        y_name = _named(path, arrays.files, "label", label, Y_NAMES)
        with _readable(path, f"the array {x_name!r}"):
            x = np.asarray(arrays[x_name])
        with _readable(path, f"the array {y_name!r}"):
            labels = np.asarray(arrays[y_name])
    x_name, y_name = f"{path}: {x_name}", f"{path}: {y_name}"
    return _samples(_matrix(x_name, x), labels, path.name, scale, 0, _in_arrays(x_name, y_name))


@contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    """Say in one line what is damaged, whichever error NumPy and zipfile find for it."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path}: {what} cannot be read: {error}") from error


def _named(
    path: Path, held: Sequence[str], option: str, wanted: str | None, usual: Sequence[str]
) -> str:
    """Return the name of the array that is wanted, or else of the one with a usual name."""
    allowed = usual if wanted is None else [wanted]
    found = [name for name in allowed if name in held]
    if len(found) != 1:
        raise ValueError(
            f"{path} must hold one array named {' or '.join(allowed)} (the option {option} names "
            f"another), it holds {', '.join(held) or 'none'}"
        )
    return found[0]


# CSV files ----------------------------------------------------------------------------------


def _load_csv(path: Path, label: str | int | None, header: bool | None, scale: str) -> Samples:
    """Read a CSV file line by line, so that errors know their line."""
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        raise ValueError(f"{path} must hold samples, got an empty file")
    start, names = first[0], [text.strip() for text in first[1]]
    named = header
    if named is None:
        named = isinstance(label, str) or all(_number(text) is None for text in names)
    if not named:
        lines = itertools.chain([first], lines)
    at = _label_column(path, names, label, named)

    def place(row: int | None = None, feature: int | None = None) -> str:
        column = at if feature is None else feature + (feature >= at)
        line = "" if row is None else f", line {numbers[row]}"
        return (
            f"{path}{line}, column {names[column]!r}" if named else f"{path}{line}, column {column}"
        )

    numbers: list[int] = []  # of the line of each sample
    labels: list[str] = []
    values = array("d")
    for number, fields in lines:
        if len(fields) != len(names):
            raise ValueError(
                f"{path}, line {number}: must have {len(names)} fields like line {start}, "
                f"got {len(fields)}"
            )
        numbers.append(number)
        labels.append(fields.pop(at).strip())
        if "\0" in labels[-1]:  # which NumPy takes for the end of a text
            raise ValueError(f"{place(len(labels) - 1)} must be text, got {labels[-1]!r}")
        try:
            if not _NUMERALS.fullmatch("".join(fields)):
                raise ValueError
            values.extend(map(float, fields))
        except ValueError:
            bad = [_number(text) for text in fields].index(None)
            raise ValueError(
                f"{place(len(labels) - 1, bad)} must be a number, got {fields[bad]!r}"
            ) from None
    if not labels:
        raise ValueError(f"{path} must hold samples, got only a header in line {start}")
    if header is None and not named and _number(labels[0]) is None and labels.count(labels[0]) == 1:
        raise ValueError(
            f"{place(0)} has {labels[0]!r}, which no other line has: the option header must say "
            "whether this line is one"
        )
    x = np.frombuffer(values).reshape(len(labels), -1)
    return _samples(x, np.array(labels), path.name, scale, 0, place)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line that is not blank."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True, skipinitialspace=True)
        try:
            number = 1
            for fields in reader:
                if fields:
                    yield number, fields
                number = reader.line_num + 1  # fields in quotes may have held line breaks
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} must be text in UTF-8: {error}") from error


def _label_column(path: Path, names: Sequence[str], label: str | int | None, named: bool) -> int:
    """Return the place of the label column; `names` are the fields of the first line."""
    if len(names) < 2:
        raise ValueError(
            f"{path} must have a label and features in each line, with commas between them, "
            f"got one field in its first line"
        )
    if isinstance(label, int):
        return integer("label", label, -len(names), len(names) - 1) % len(names)
    if not named:
        if label is not None:
            raise ValueError(f"label must be a column's place without a header, got {label!r}")
        return len(names) - 1
    if label is None:
        found = [i for i, name in enumerate(names) if name.lower() in LABEL_NAMES]
        allowed = " or ".join(LABEL_NAMES)
    else:
        found = [i for i, name in enumerate(names) if name == label]
        allowed = repr(label)
    if len(found) != 1:
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise ValueError(
            f"{path} must have one column named {allowed} (the option label names another), "
            f"it has {shown}"
        )
    return found[0]
