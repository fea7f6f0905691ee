"""Data sets: IDX files, OpenML, the packaged images; and files that are written whole."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from intmlp.io import datasets, files
from mnist import FILES, as_arff, idx, openml, write_idx


@pytest.fixture
def eight():
    """Eight samples; the last three are the test set."""
    images = np.random.RandomState(0).randint(0, 256, (8, 784)).astype(np.uint8)
    return datasets.Dataset(images, np.array([3, 1, 4, 1, 5, 9, 0, 6], np.uint8))


def assert_equal(got, want):
    for array, wanted in zip(got, want, strict=True):
        assert array.dtype == np.uint8
        assert array.shape == wanted.shape
        assert array.tobytes() == wanted.tobytes()


# --- IDX files --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_load_mnist(tmp_path, eight, suffix):
    write_idx(tmp_path, eight, 5, suffix)
    assert_equal(datasets.load_mnist(tmp_path), eight)
    assert_equal(datasets.load_mnist(str(tmp_path)), eight)


def test_plain_files_come_first(tmp_path, eight):
    write_idx(tmp_path, eight, 5)
    for name in FILES:
        (tmp_path / f"{name}.gz").write_bytes(b"damaged")
    assert_equal(datasets.load_mnist(tmp_path), eight)


def test_missing_files(tmp_path, eight):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/none must hold {FILES[0]} or "):
        datasets.load_mnist(tmp_path / "none")
    write_idx(tmp_path, eight, 5)
    (tmp_path / FILES[3]).unlink()
    with pytest.raises(FileNotFoundError, match=f"must hold {FILES[3]} or {FILES[3]}.gz"):
        datasets.load_mnist(tmp_path)


LABELS = idx(np.array([3, 1, 4], np.uint8))
BAD_IDX = {
    "empty": (b"", "must start with the IDX magic number .* got an empty file"),
    "no magic number": (b"\x89PNG\r\n", "must start with .* got 89 50 4e 47"),
    "of another type": (LABELS[:2] + b"\x0d" + LABELS[3:], "must start with .* got 00 00 0d 01"),
    "no dimensions": (b"\x00\x00\x08\x00\x05", "must start with .* got 00 00 08 00"),
    "header cut": (LABELS[:6], "must have a header of 8 bytes, got 6"),
    "data cut": (LABELS[:-1], r"must have 11 bytes for its shape \(3,\), got 10"),
    "data left": (LABELS + b"\x00", r"must have 11 bytes for its shape \(3,\), got 12"),
    "huge": (b"\x00\x00\x08\x03" + b"\xff" * 12, r"must have \d{29} bytes for its shape"),
    "65 dimensions": (b"\0\0\x08\x41" + b"\0\0\0\1" * 65 + b"\5", "holds what no array can: .*"),
    "huge beside 0": (b"\0\0\x08\4" + b"\xff" * 12 + b"\0" * 4, "holds what no array can: .*"),
}


@pytest.mark.parametrize("content, message", BAD_IDX.values(), ids=BAD_IDX)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_bad_idx(tmp_path, content, message, suffix):
    path = tmp_path / f"labels{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(ValueError, match=f"^{path} {message}"):
        datasets.read_idx(path)


BAD_GZIP = {
    "empty": lambda content: b"",
    "no gzip": lambda content: b"not gzip",
    "cut": lambda content: content[:15],
    "one byte short": lambda content: content[:-1],
    "stream": lambda content: content[:10] + b"\xff" + content[11:],
    "checksum": lambda content: content[:-8] + bytes([content[-8] ^ 1]) + content[-7:],
}


@pytest.mark.parametrize("damage", BAD_GZIP.values(), ids=BAD_GZIP)
def test_bad_gzip(tmp_path, damage):
    path = tmp_path / "labels.gz"
    path.write_bytes(damage(gzip.compress(LABELS)))
    with pytest.raises(ValueError, match=f"^{path} "):
        datasets.read_idx(path)


IMAGES = np.zeros((5, 28, 28), np.uint8)
BAD_MNIST = {
    "flat images": (0, IMAGES.reshape(5, 784), "train images .* must have 3 dimensions, got 2"),
    "other images": (0, IMAGES[:, 1:], r"train set .* must have 784 pixels, got \(5, 756\)"),
    "fewer labels": (3, np.zeros(2, np.uint8), r"t10k set .* shape \(3,\), got \(2,\)"),
    "label 10": (3, np.array([0, 10, 9], np.uint8), r"t10k set .* must be in 0\.\.9, got 10"),
}


@pytest.mark.parametrize("which, array, message", BAD_MNIST.values(), ids=BAD_MNIST)
def test_bad_mnist(tmp_path, eight, which, array, message):
    write_idx(tmp_path, eight, 5)
    (tmp_path / FILES[which]).write_bytes(idx(array))
    with pytest.raises(ValueError, match=message):
        datasets.load_mnist(tmp_path)


# --- OpenML -----------------------------------------------------------------------------------


def test_fetch_mnist(tmp_path, monkeypatch, eight):
    with openml(monkeypatch, tmp_path, eight) as asked:
        assert_equal(datasets.fetch_mnist(), eight)
        assert asked.count("/data/v1/download/52667/mnist_784.arff") == 1
        assert_equal(datasets.fetch_mnist(), eight)
        assert asked.count("/data/v1/download/52667/mnist_784.arff") == 1  # the second is cached


def test_openml_damaged(tmp_path, monkeypatch, eight):
    wrong = {"md5_checksum": "0" * 32}
    with (
        openml(monkeypatch, tmp_path, eight, description=wrong),
        pytest.raises(ValueError, match="md5 checksum"),
    ):
        datasets.fetch_mnist()


@pytest.mark.parametrize("value, shown", [("0.5", "0.5"), ("-1", "-1.0"), ("256", "256.0")])
def test_openml_grey_values(tmp_path, monkeypatch, eight, value, shown):
    head, data = as_arff(eight).decode().split("@DATA\n")
    arff = f"{head}@DATA\n{re.sub('^[0-9]+', value, data)}".encode()
    message = rf"grey values of the set from OpenML must be integers in 0\.\.255, got {shown}$"
    with (
        openml(monkeypatch, tmp_path, eight, arff),
        pytest.raises(ValueError, match=message),
    ):
        datasets.fetch_mnist()


def test_openml_unreachable(tmp_path, monkeypatch, eight):
    elsewhere = {"url": "https://www.openml.org/data/v1/download/52667/none.arff"}
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with (
        openml(monkeypatch, tmp_path, eight, description=elsewhere),
        pytest.raises(OSError, match="404"),
    ):
        datasets.fetch_mnist()


# --- The packaged images ----------------------------------------------------------------------


def test_damaged_stream(tmp_path, monkeypatch):
    packaged = Path(datasets.__file__).parents[1] / "data" / "mnist_2017.npz"
    content = bytearray(packaged.read_bytes())
    content[1_000_000] ^= 1
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / packaged.name).write_bytes(content)
    monkeypatch.setattr(datasets.resources, "files", lambda package: tmp_path)
    message = f"data/mnist_2017.npz is damaged: its SHA-256 must be {datasets.STREAM_SHA256}, got "
    with pytest.raises(ValueError, match=message):
        datasets.load_stream()


# --- Writing ----------------------------------------------------------------------------------


def test_atomic_leaves_the_old_file(tmp_path):
    path = tmp_path / "grid.csv"
    with files.atomic(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(OSError, match="disk full"), files.atomic(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_check_writable(tmp_path, monkeypatch):
    files.check_writable(tmp_path)
    files.check_writable(tmp_path / "new" / "folder")
    monkeypatch.chdir(tmp_path)
    files.check_writable(Path("new"))
    files.check_writable(Path("."))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(NotADirectoryError):
            files.check_writable(path)
