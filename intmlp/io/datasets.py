"""MNIST from IDX files or OpenML, and the packaged images of the 2017 experiment."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import struct
import warnings
import zlib
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PIXELS = 28 * 28
DIGITS = 10

# Of the file that tools/make_stream.py makes.
STREAM_SHA256 = "b2d461298539f2a1e4a84d75e6ab254097f0d531e20eb14afba4483287fcf545"


class Dataset(NamedTuple):
    """Images of handwritten digits and their labels.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, 784)
        Grey values, one image a row, itself row by row.
    labels : ndarray of uint8, shape (n,)
        Digits 0..9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def read_idx(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or compressed with gzip (by its name).

    Parameters
    ----------
    path : path-like
        The file; compressed where its name ends in ``.gz``.

    Returns
    -------
    ndarray of uint8
        The array, of the shape that the file states; read-only.

    Raises
    ------
    OSError
        Where the file cannot be read.
    ValueError
        Where it is damaged, is no IDX file, or holds another type.

    Notes
    -----
    Source: http://yann.lecun.com/exdb/mnist/. The magic number is two zero bytes, the type
    (8: unsigned byte) and the number of dimensions; each dimension follows as a big-endian
    32-bit integer, then the data in C order.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    ...     read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    path = Path(path)
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or content[3] == 0:
        raise ValueError(
            f"{path} must start with the IDX magic number 00 00 08 and a number of dimensions "
            f"in 1..255, got {content[:4].hex(' ') or 'an empty file'}"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"{path} must have a header of {start} bytes, got {len(content)}")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    if len(content) != start + math.prod(shape):
        raise ValueError(
            f"{path} must have {start + math.prod(shape)} bytes for its shape {shape}, "
            f"got {len(content)}"
        )
    try:
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # more dimensions, or beside a zero larger ones, than arrays have
        raise ValueError(f"{path} holds what no array can: {error}") from error


def load_mnist(folder: str | PathLike[str]) -> Dataset:
    """Read MNIST from its four IDX files.

    Parameters
    ----------
    folder : path-like
        See `load_mnist_parts`, also for what is raised.

    Returns
    -------
    Dataset
        The training images, then the test images, each in the order of the files.
    """
    return joined(*load_mnist_parts(folder))


def load_mnist_parts(folder: str | PathLike[str]) -> tuple[Dataset, Dataset]:
    """Read MNIST's training and test images from its four IDX files.

    Parameters
    ----------
    folder : path-like
        Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
        ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each plain or with ``.gz``.
        Where both are there, the plain one is read.

    Returns
    -------
    training, test : Dataset
        Each in the order of its files.

    Raises
    ------
    OSError
        Where a file is missing or cannot be read.
    ValueError
        Where a file is damaged or is not one of MNIST's.
    """
    folder = Path(folder)
    training, test = (_load_part(folder, name) for name in ("train", "t10k"))
    return training, test


def joined(training: Dataset, test: Dataset) -> Dataset:
    """Return two data sets as one.

    Parameters
    ----------
    training, test : Dataset

    Returns
    -------
    Dataset
        The samples of `training`, then those of `test`.
    """
    return Dataset(*(np.concatenate(arrays) for arrays in zip(training, test, strict=True)))


def parted(both: Dataset, test: int) -> tuple[Dataset, Dataset]:
    """Return a data set as two: what `joined` joins.

    Parameters
    ----------
    both : Dataset
    test : int
        How many samples, the last ones, are the second: 1..n.

    Returns
    -------
    training, test : Dataset

    Examples
    --------
    >>> training, test = parted(load_stream(), 100)
    >>> len(training.labels), len(test.labels)
    (9900, 100)
    """
    return Dataset(*(a[:-test] for a in both)), Dataset(*(a[-test:] for a in both))


def fetch_mnist(name: str = "mnist_784") -> Dataset:
    """Fetch MNIST from OpenML with scikit-learn, which caches it.

    Parameters
    ----------
    name : str
        What version 1 of it is called there; ``Fashion-MNIST`` is of the same kind.

    Returns
    -------
    Dataset
        The training images, then the test images.

    Raises
    ------
    OSError
        Where OpenML cannot be reached.
    ValueError
        Where what arrives is damaged or is not MNIST.
    """
    from sklearn.datasets import fetch_openml

    # scikit-learn warns before it tries again; what counts is how it ends.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bunch = fetch_openml(name, version=1, as_frame=False, parser="liac-arff")
    source = "set from OpenML"
    return _checked(
        _bytes(bunch.data, 255, f"grey values of the {source}"),
        _bytes(bunch.target.astype(np.float64), 9, f"labels of the {source}"),
        source,
    )


def load_stream() -> Dataset:
    """Load the packaged images that the 2017 experiment consumes, in its order.

    Returns
    -------
    Dataset
        10,000 samples; ``intmlp/data/README.md`` says where they come from.

    Raises
    ------
    ValueError
        Where the packaged file is damaged.

    Examples
    --------
    >>> stream = load_stream()
    >>> stream.images.shape, stream.labels[:8]
    ((10000, 784), array([0, 2, 2, 9, 0, 8, 9, 8], dtype=uint8))
    """
    content = resources.files("intmlp").joinpath("data/mnist_2017.npz").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != STREAM_SHA256:
        raise ValueError(
            f"the packaged file data/mnist_2017.npz is damaged: its SHA-256 must be "
            f"{STREAM_SHA256}, got {digest}; install intmlp anew"
        )
    with np.load(io.BytesIO(content)) as arrays:
        return Dataset(arrays["images"], arrays["labels"])


def _load_part(folder: Path, name: str) -> Dataset:
    images = read_idx(_plain_or_gz(folder, f"{name}-images-idx3-ubyte"))
    labels = read_idx(_plain_or_gz(folder, f"{name}-labels-idx1-ubyte"))
    if images.ndim != 3:
        raise ValueError(f"the {name} images in {folder} must have 3 dimensions, got {images.ndim}")
    return _checked(images.reshape(len(images), -1), labels, f"{name} set in {folder}")


def _plain_or_gz(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"the folder {folder} must hold {name} or {name}.gz, and has neither")


def _checked(images: NDArray[np.uint8], labels: NDArray[np.uint8], source: str) -> Dataset:
    """Return `images` and `labels` as a data set, or raise where they cannot be MNIST's."""
    if images.shape[1:] != (PIXELS,):
        raise ValueError(f"images of the {source} must have {PIXELS} pixels, got {images.shape}")
    if labels.shape != (len(images),):
        raise ValueError(
            f"labels of the {source} must have the shape {(len(images),)}, got {labels.shape}"
        )
    if labels.max(initial=0) >= DIGITS:
        raise ValueError(f"labels of the {source} must be in 0..9, got {labels.max()}")
    return Dataset(images, labels)


def _bytes(values: NDArray[np.float64], high: int, name: str) -> NDArray[np.uint8]:
    """Return floats as unsigned bytes, or raise where one is no integer in ``0..high``."""
    valid = (values >= 0) & (values <= high) & (values == np.trunc(values))
    if not valid.all():
        raise ValueError(f"{name} must be integers in 0..{high}, got {values[~valid][0]}")
    return values.astype(np.uint8)
