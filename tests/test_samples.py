"""Samples: each source, what may be odd about a file, and what is refused in which words."""

import hashlib
import io
import pickle
import re
import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_digits

from intmlp import cli
from intmlp.io import datasets, samples
from intmlp.io.samples import label_option, load_samples, samples_of
from intmlp.study import mnist2017
from mnist import openml, write_idx


@pytest.fixture
def csv(tmp_path):
    """Return a function that loads a CSV file of the given content."""

    def load(content, **options):
        path = tmp_path / "some.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_samples(path, **options)

    return load


@pytest.fixture
def npz(tmp_path):
    """Return a function that loads an .npz file of the given arrays."""

    def load(options=None, **arrays):
        path = tmp_path / "some.npz"
        np.savez(path, **arrays)
        return load_samples(path, **(options or {}))

    return load


def contents(given):
    return given.x.tolist(), [given.classes[label] for label in given.labels]


# --- The sources --------------------------------------------------------------------------------


def test_mnist_2017():
    given, stream = load_samples("mnist-2017"), datasets.load_stream()
    assert (given.name, given.classes, given.held_back) == ("mnist-2017", tuple(range(10)), 0)
    assert np.array_equal(given.labels, stream.labels)
    for fraction in (0, 8, 23, 30):
        raw = np.rint(given.x[:100] * 2.0**fraction)
        first = datasets.Dataset(stream.images[:100], stream.labels[:100])
        assert np.array_equal(raw, mnist2017.raw(first, fraction)[0])


def test_digits():
    given = load_samples("digits")
    assert given.x.shape == (1797, 64)
    assert np.array_equal(given.x * 16, load_digits().data)
    assert np.array_equal(given.labels, load_digits().target)


@pytest.fixture
def eight():
    images = np.random.RandomState(0).randint(0, 256, (8, 784)).astype(np.uint8)
    return datasets.Dataset(images, np.array([3, 1, 4, 1, 5, 9, 0, 6], np.uint8))


def assert_eight(given, eight):
    assert given.x.tobytes() == (eight.images / 255.0).tobytes()
    assert [given.classes[label] for label in given.labels] == eight.labels.tolist()
    assert given.name == "mnist"
    assert given.held_back == 3


def test_mnist_of_a_folder(tmp_path, eight):
    write_idx(tmp_path, eight, 5)
    assert_eight(load_samples("mnist", folder=tmp_path), eight)


def test_mnist_of_openml(tmp_path, monkeypatch, eight):
    monkeypatch.setattr(samples, "OPENML_TEST", 3)
    with openml(monkeypatch, tmp_path, eight):
        assert_eight(load_samples("mnist"), eight)


def test_what_samples_are(npz):
    for given in (load_samples("digits"), npz(x=np.ones((3, 2), ">f2"), y=[1, 2, 3])):
        assert given.x.dtype == np.float64
        assert given.labels.dtype == np.int64
        assert given.x.flags.c_contiguous
        assert not given.x.flags.writeable
        assert not given.labels.flags.writeable
        again = pickle.loads(pickle.dumps(given, protocol=5))
        assert contents(again) == contents(given)
        assert again.digest == given.digest


def test_digest():
    x, labels = [[0.0, 1.0], [0.25, 0.5]], [0, 1]
    given = samples_of(x, labels, scale="none")
    by_hand = b"".join(
        [*(n.to_bytes(8, "little") for n in (2, 2, 2, 0)), np.array(x).tobytes()]
        + [n.to_bytes(8, "little") for n in labels]
    )
    assert given.digest == hashlib.sha256(by_hand).hexdigest()
    # Names change nothing that training sees, nor does the sign of a zero.
    same = samples_of([[-0.0, 1.0], [0.25, 0.5]], ["a", "b"], scale="none", name="other")
    assert same.digest == given.digest
    others = [
        samples_of([x[0], [0.25, 0.5000000000000001]], labels, scale="none"),
        samples_of(x, labels[::-1], scale="none"),
        samples_of(x, labels, scale="none", held_back=1),
        samples_of([*x, x[0]], [*labels, 0], scale="none"),
    ]
    assert len({given.digest, *(other.digest for other in others)}) == 5


def test_arrays_are_copied():
    x = np.array([[0.0, 2.0], [4.0, 1.0]])
    given = samples_of(x, np.array([0, 1]))
    x[:] = 7
    assert given.x.tolist() == [[0, 1], [1, 0]]


# --- Scaling ------------------------------------------------------------------------------------

TINY, HUGE = 5e-324, 1.7976931348623157e308


@pytest.mark.parametrize(
    "column, scaled",
    [
        ([3, 1, 2], [1, 0, 0.5]),
        ([5, 5, 5], [0, 0, 0]),
        ([-0.0, 0.0, -0.0], [0, 0, 0]),
        ([-1e-3, 0, 3e-3], [0, 0.25, 1]),
        ([0, TINY, 2 * TINY], [0, 0.5, 1]),
        ([-HUGE, 0, HUGE], [0, 0.5, 1]),
        ([HUGE, HUGE, 0], [1, 1, 0]),
        ([1, 1 + 2**-52, 1], [0, 1, 0]),
    ],
)
def test_minmax(column, scaled):
    for other in ([7, 8, 9], [0, 0, -HUGE]):  # each feature by its own
        x = samples_of(np.column_stack([column, other]), [0, 1, 1]).x
        assert x[:, 0].tolist() == scaled
        assert not np.signbit(x).any()
    raw = samples_of(np.column_stack([column, column]), [0, 1, 1], scale="none").x
    assert raw[:, 1].tolist() == column


# --- Labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels, classes, codes",
    [
        ([3, -1, 3], (-1, 3), [1, 0, 1]),
        ([2.0, 10.0, 2.0], (2, 10), [0, 1, 0]),
        (np.array([255, 0, 7], np.uint8), (0, 7, 255), [2, 0, 1]),
        (np.array([2**64 - 1, 0, 1], np.uint64), (0, 1, 2**64 - 1), [2, 0, 1]),
        ([True, False, True], (0, 1), [1, 0, 1]),
        (["10", "9", "10"], (9, 10), [1, 0, 1]),
        (["7", "7.0", " 8"], (7, 8), [0, 0, 1]),
        (
            ["36893488147419103232", "36893488147419103233", "1e3"],
            (1000, 2**65, 2**65 + 1),
            [1, 2, 0],
        ),
        (["10", "9", "nine"], ("10", "9", "nine"), [0, 1, 2]),
        (["0.5", "high", "high"], ("0.5", "high"), [0, 1, 1]),
        (["Äpfel", "Birne", "Äpfel"], ("Birne", "Äpfel"), [1, 0, 1]),
        (np.array(["b", "a", "b"], object), ("a", "b"), [1, 0, 1]),
    ],
)
def test_labels(labels, classes, codes):
    given = samples_of([[1], [2], [3]], labels)
    assert given.classes == classes
    assert [type(name) for name in given.classes] == [type(name) for name in classes]
    assert given.labels.tolist() == codes


# --- CSV files ----------------------------------------------------------------------------------

PLAIN = [[1, 20], [3, 40], [2, 60]]


@pytest.mark.parametrize(
    "content, options",
    [
        ("1,20,a\n3,40,b\n2,60,a\n", {}),
        ("1,20,a\n3,40,b\n2,60,a", {"header": False}),
        ("p,q,label\n1,20,a\n3,40,b\n2,60,a\n", {}),
        ("p,q,label\n1,20,a\n3,40,b\n2,60,a\n", {"header": True, "label": -1}),
        ("p,CLASS,q\n1,a,20\n3,b,40\n2,a,60\n", {}),
        ("kind,p,q\na,1,20\nb,3,40\na,2,60\n", {"label": "kind"}),
        ("a,1,20\nb,3,40\na,2,60\n", {"label": 0}),
        ("a,1,20\nb,3,40\na,2,60\n", {"label": -3}),
        ("0,1,label\n1,20,a\n3,40,b\n2,60,a\n", {"label": "label"}),
        ("0,1,2\n1,20,a\n3,40,b\n2,60,a\n", {"header": True, "label": 2}),
        ("\ufeffy,p,q\r\na,1,20\r\n\r\nb,3,40\r\na,2,60\r\n\r\n", {}),
        ('"p","q, or\nr"," y "\n"1"," 20",a\n+3.0, 4e1 ,"a b"\n"2",60.,a\n', {}),
        ("p,q,label\r1,20,a\r3,40,b\r2,60,a\r", {}),
    ],
)
def test_csv(csv, content, options):
    given = csv(content, scale="none", **options)
    assert given.name == "some.csv"
    assert given.x.tolist() == PLAIN
    assert given.labels.tolist() == [0, 1, 0]
    assert csv(content, **options).x.tolist() == [[0, 0], [1, 0.5], [0.5, 1]]


def test_csv_keeps_every_bit(csv):
    state = np.random.RandomState(0)
    x = state.randint(-(2**63), 2**63, (200, 5)).view(np.float64)
    x[~np.isfinite(x)] = TINY
    text = ["only one", 'with "quotes", commas', "and\nlines", "0x", " ", "-"]
    labels = [text[i % 4] for i in range(200)]
    rows = (
        ",".join([*map(repr, row), '"' + label.replace('"', '""') + '"'])
        for row, label in zip(x.tolist(), labels, strict=True)
    )
    given = csv("\n".join(rows), scale="none")
    assert contents(given) == contents(samples_of(x, labels, scale="none"))
    assert given.digest == samples_of(x, labels, scale="none").digest


PATH = r"^\S+some\.csv"
BAD_CSV = {
    "empty": ("", {}, f"{PATH} must hold samples, got an empty file$"),
    "blank": ("\n\n", {}, f"{PATH} must hold samples, got an empty file$"),
    "header alone": ("p,label\n", {}, f"{PATH} must hold samples, got only a header in line 1$"),
    "one field": ("1;2;a\n2;3;b\n", {}, f"{PATH} must have a label and features .* commas "),
    "short line": ("1,2,a\n1,a\n", {}, f"{PATH}, line 2: must have 3 fields like line 1, got 2$"),
    "long line": (
        '"p","q\n",label\n1,2,a\n\n1,2,a,\n',
        {},
        f"{PATH}, line 5: must have 3 fields like line 1, got 4$",
    ),
    "text": (
        "p,q,label\n1,2,a\n1,x2,b\n",
        {},
        f"{PATH}, line 3, column 'q' must be a number, got 'x2'$",
    ),
    "no feature": ("1,2,a\n1,,b\n", {}, f"{PATH}, line 2, column 1 must be a number, got ''$"),
    "underscore": ("1,a\n1_0,b\n", {}, f"{PATH}, line 2, column 0 must be a number, got '1_0'$"),
    "other digits": ("1,a\n\u0661,b\n", {}, f"{PATH}, line 2, column 0 must be a number, got "),
    "nan": ("1,a\nNaN,a\n", {}, f"{PATH}, line 2, column 0 must be finite, got nan$"),
    "infinite": (
        "label,p\na,1\nb,-1e999\n",
        {},
        f"{PATH}, line 3, column 'p' must be finite, got -inf$",
    ),
    "no label": (
        "1,a\n1,\n1,a\n",
        {},
        f"{PATH}, line 2, column 1 must be a label, got '', which is",
    ),
    "label NA": (
        "p,label\n1,a\n1, N/A\n",
        {},
        f"{PATH}, line 3, column 'label' must be a label, got 'N/A', which is a missing one$",
    ),
    # which NumPy would drop; Python 3.10 refuses the line
    "label with a zero": ("1,a\n1,a\0\n", {}, f"{PATH}, line 2.*(contains NUL|must be text)"),
    "label 0.5": (
        "1,1\n1,0.5\n",
        {},
        f"{PATH}, line 2, column 1 must be an integer or text, got '0.5'$",
    ),
    "one class": (
        "1,7\n2,7.0\n",
        {},
        f"{PATH}, column 1 must have at least 2 classes, got 7 alone",
    ),
    "no label column": (
        "p,q\n1,2\n",
        {},
        f"{PATH} must have one column named label or labels or .* it has p, q$",
    ),
    "two label columns": ("y,p,Label\n1,2,3\n", {}, f"{PATH} must have one .* it has y, p, Label$"),
    "name not there": (
        "p,q\n1,2\n",
        {"label": "r"},
        f"{PATH} must have one column named 'r' .* it has p, q$",
    ),
    "name twice": ("p,p,q\n1,2,3\n", {"label": "p"}, "must have one column named 'p'"),
    "name without header": ("1,2\n", {"label": "p", "header": False}, "without a header, got 'p'"),
    "place 2 of 2": ("1,2\n", {"label": 2}, r"^label must be in -2\.\.1, got 2$"),
    "header or not": (
        "0,1,species\n1,2,a\n3,4,b\n5,6,a\n",
        {},
        f"{PATH}, line 1, column 2 has 'species', which no other line has: the option header ",
    ),
    "quotes": ('1,"a"b\n', {}, f"{PATH}, line 1: ',' expected after '\"'$"),
    "open quotes": ('1,a\n2,"b\n3,a\n', {}, f"{PATH}, line 3: unexpected end of data$"),
    "other encoding": ("1,Äpfel\n".encode("latin-1"), {}, f"{PATH} must be text in UTF-8: .*0xc4"),
    "scale": ("1,1\n2,2\n", {"scale": "max"}, "^scale must be one of minmax, none; got 'max'$"),
    "option": ("1,a\n2,b\n", {"features": "x"}, r"^features is an option of \.npz, got it with "),
}


@pytest.mark.parametrize("content, options, message", BAD_CSV.values(), ids=BAD_CSV)
def test_bad_csv(csv, content, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        csv(content, **options)
    assert "\n" not in str(caught.value)


# --- .npz files ---------------------------------------------------------------------------------

X = np.array([[0, 3], [1, 0], [2, 6]])


@pytest.mark.parametrize("x_name", samples.X_NAMES)
@pytest.mark.parametrize("y_name", samples.Y_NAMES)
def test_npz_names(npz, x_name, y_name):
    given = npz(**{x_name: X, y_name: ["b", "a", "b"], "more": [1]})
    assert contents(given) == ([[0, 0.5], [0.5, 0], [1, 1]], ["b", "a", "b"])
    assert given.name == "some.npz"


def test_npz(npz):
    arrays = {"x": X, "y": [0, 1, 0], "test": X.reshape(3, 2, 1)[::-1], "of": [5.0, 6.0, 5.0]}
    given = npz({"features": "test", "label": "of", "scale": "none"}, **arrays)
    assert contents(given) == ([[2, 6], [1, 0], [0, 3]], [5, 6, 5])
    for dtype in ("?", "u1", "<i8", ">i4", "<f2", ">f4", "<f8", "g"):
        x = np.asfortranarray(X.astype(dtype))
        assert npz({"scale": "none"}, x=x, y=[0, 1, 0]).x.tolist() == x.tolist()


BAD_NPZ = {
    "no features": ({"y": [0, 1]}, {}, r"must hold one array named x or X or .* it holds y$"),
    "two": ({"x": X, "data": X, "y": [0, 1, 0]}, {}, "must hold one array named .* x, data, y$"),
    "nothing": ({}, {}, "must hold one array named .* it holds none$"),
    "name": ({"x": X, "y": [0, 1, 0]}, {"label": "t"}, "one array named t .* label names another"),
    "place": ({"x": X, "y": [0, 1, 0]}, {"label": 1}, r"^label must name an array of .*, got 1$"),
    "header": ({"x": X, "y": [0, 1, 0]}, {"header": True}, r"^header is an option of \.csv, got"),
    "flat": ({"x": X[0], "y": [0, 1]}, {}, r"npz: x must have the shape \(samples, features\), "),
    "no samples": ({"x": X[:0], "y": []}, {}, r"at least one of each, got \(0, 2\)$"),
    "complex": ({"x": X * 1j, "y": [0, 1, 0]}, {}, "x must hold real numbers, got .* complex128$"),
    "text": (
        {"x": X.astype(str), "y": [0, 1, 0]},
        {},
        "x must hold real numbers, got the dtype <U",
    ),
    "fewer labels": (
        {"x": X, "y": [0, 1]},
        {},
        r"npz: y must have one label for each of the 3 samples, in the shape \(3,\), got \(2,\)$",
    ),
    "one-hot": ({"x": X, "y": np.eye(3)}, {}, r"in the shape \(3,\), got \(3, 3\)$"),
    "nan": (
        {"x": [[1, 2], [3, np.nan]], "y": [0, 1]},
        {},
        r"npz: x\[1\], feature 1 must be finite",
    ),
    "label nan": ({"x": X, "y": [0, np.nan, 1]}, {}, r"npz: y\[1\] must be a label, got nan"),
    "no label": ({"x": X, "y": ["a", "b", ""]}, {}, r"npz: y\[2\] must be a label, got ''"),
    "label 0.5": (
        {"x": X, "y": [0, 1, 0.5]},
        {},
        r"npz: y\[2\] must be an integer or text, got 0.5",
    ),
    "infinite": ({"x": X, "y": [0, 1, np.inf]}, {}, r"y\[2\] must be an integer or text, got inf"),
    "beyond Unicode": (
        {"x": X, "y": np.array([97, 98, 0x110000], np.uint32).view("U1")},
        {},
        "npz: y must be text, got the code point 0x110000$",
    ),
    "bytes": ({"x": X, "y": [b"a", b"b", b"a"]}, {}, "y must be integers or text, got the dtype"),
    "one class": (
        {"x": X, "y": [4, 4, 4]},
        {},
        "npz: y must have at least 2 classes, got 4 alone$",
    ),
    "pickled": (
        {"x": X, "y": np.array([{}, 1, 2], object)},
        {},
        "the array 'y' cannot be read: .*pick",
    ),
}


@pytest.mark.parametrize("arrays, options, message", BAD_NPZ.values(), ids=BAD_NPZ)
def test_bad_npz(npz, arrays, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        npz(options, **arrays)
    assert "\n" not in str(caught.value)


def test_an_object_that_nobody_needs(npz):
    assert npz(x=X, y=[0, 1, 0], more=np.array([{}], object)).labels.tolist() == [0, 1, 0]


def test_damaged_npz(tmp_path):
    """Whatever byte is damaged: the same samples, or one line that names the file."""
    file = io.BytesIO()
    x = np.random.RandomState(0).rand(10, 3)
    np.savez_compressed(file, x=x, y=np.arange(10) % 2)
    content, path = file.getvalue(), tmp_path / "some.npz"
    path.write_bytes(content)
    digest = load_samples(path).digest
    refused = 0
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            assert load_samples(path).digest == digest  # a date, say
        except ValueError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert refused > len(content) / 2
    for size in (0, 1, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=f"^{path} must be an .npz file"):
            load_samples(path)


def test_what_is_in_no_zip(tmp_path):
    path = tmp_path / "some.npz"
    for content in (pickle.dumps({"x": 1}), b"x,y\n1,2\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{path} must be an .npz file"):
            load_samples(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "no array")
        archive.writestr("y.npy", pickle.dumps(0))
    with pytest.raises(ValueError, match=f"^{path}: x must hold real numbers"):
        load_samples(path)


def test_a_zip_file_behind_an_array(npz, tmp_path):
    expected = npz(x=X, y=[0, 1, 0])
    file, path = io.BytesIO(), tmp_path / "more.npz"
    np.save(file, X)
    np.savez(tmp_path / "all.npz", x=X, y=[0, 1, 0])
    path.write_bytes(file.getvalue() + (tmp_path / "all.npz").read_bytes())
    assert load_samples(path).digest == expected.digest


# --- Arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist2017", "some.txt", "", "csv", "npz"])
def test_unknown_sources(name):
    message = f"^the data set must be mnist-2017, digits, mnist, or .*; got {name!r}$"
    with pytest.raises(ValueError, match=message):
        load_samples(name)


@pytest.mark.parametrize("name", ["mnist-2017", "digits", "mnist"])
def test_options_of_others(name):
    for option, value in {"label": 0, "header": False, "scale": "none", "features": "x"}.items():
        with pytest.raises(ValueError, match=f"^{option} is an option of .*, got it with '{name}'"):
            load_samples(name, **{option: value})
    if name != "mnist":
        with pytest.raises(ValueError, match=r"^folder is an option of mnist, got it with"):
            load_samples(name, folder=".")


@pytest.mark.parametrize("name", ["none.csv", "none.NPZ", "folder.csv", "folder.npz"])
def test_no_such_file(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(OSError, match=re.escape(str(tmp_path / name))):
        load_samples(tmp_path / name)


def test_arguments_of_arrays():
    with pytest.raises(ValueError, match=r"^held_back must be in 0\.\.2, got 3$"):
        samples_of(X, [0, 1, 0], held_back=3)
    with pytest.raises(ValueError, match=r"^scale must be one of minmax, none; got 'max'$"):
        samples_of(X, [0, 1, 0], scale="max")
    with pytest.raises(ValueError, match=r"^labels\[1\] must be a label, got nan"):
        samples_of(X, [0, np.nan, 0])
    with pytest.raises(ValueError, match=r"must be integers or text, got the dtype object$"):
        samples_of(X, np.array([0, None, "a"], object))


def test_label_option():
    assert [label_option(text) for text in ("0", "-2", "kind", "1.5", "+1", "")] == [
        0, -2, "kind", "1.5", "+1", "",
    ]  # fmt: skip


def test_on_the_command_line(tmp_path, monkeypatch, capsys):
    """The file is read as the options say, and then has too few samples for the window."""
    seen = []
    load = samples.load_samples
    monkeypatch.setattr(
        samples, "load_samples", lambda *a, **k: seen.append(load(*a, **k)) or seen[-1]
    )
    (tmp_path / "some.csv").write_text("0,1,2\na,1,20\nb,3,40\n")
    command = ["bottleneck", "--dataset", f"{tmp_path / 'some.csv'}", "--scale", "none"]
    command += ["--out", f"{tmp_path / 'out'}", "--label", "0"]
    for header, classes in (("--header", ("a", "b")), ("--no-header", ("0", "a", "b"))):
        assert cli.main([*command, header]) == 2
        assert seen[-1].classes == classes
        assert "window must be at most the number of training steps" in capsys.readouterr().err
