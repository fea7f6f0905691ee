"""The 2017 experiment: its samples, its 240 cells, its figures."""

import csv
from importlib import resources

import numpy as np
import pytest
from scipy.signal import savgol_filter

from intmlp import _backend, cli
from intmlp.io import datasets
from intmlp.study import mnist2017, side_by_side
from mnist import oracle_cell, real_folder, stand_in
from support import each_backend

PNG = b"\x89PNG\r\n\x1a\n"

# The corners of the grid, its diagonal, where training begins, and both sides of it.
TWELVE = [
    (5, 8),
    (5, 23),
    (19, 8),
    (19, 23),
    (6, 20),
    (7, 13),
    (8, 16),
    (10, 19),
    (11, 15),
    (12, 11),
    (14, 17),
    (17, 20),
]


@pytest.fixture(scope="module")
def stream():
    """Return the packaged samples."""
    return datasets.load_stream()


@pytest.fixture(scope="module")
def real_mnist():
    """Return the real MNIST, or skip."""
    return datasets.load_mnist(real_folder())


def test_packaged_stream(stream):
    assert stream.images.shape == (10_000, 784)
    assert stream.labels.shape == (10_000,)
    assert stream.images.dtype == stream.labels.dtype == np.uint8
    assert sorted(set(stream.labels.tolist())) == list(range(10))


def test_stream_of_real_mnist_equals_the_packaged_one(stream, real_mnist):
    derived = mnist2017.stream(real_mnist)
    assert derived.images.tobytes() == stream.images.tobytes()
    assert derived.labels.tobytes() == stream.labels.tobytes()


def test_order(stream):
    """Sorting is stable, training and test set each by itself, and the permutation follows."""
    mnist = stand_in(stream)
    assert mnist2017.stream(mnist).images.tobytes() == stream.images.tobytes()
    # The number of each sample, written into its image, shows where it went.
    labels = np.random.RandomState(1).randint(0, 10, 70_000).astype(np.uint8)
    images = np.arange(70_000, dtype=np.uint32).view(np.uint8).reshape(70_000, 4)
    ordered = mnist2017.sorted_by_label(datasets.Dataset(images, labels))
    numbers = np.ascontiguousarray(ordered.images).view(np.uint32).ravel().tolist()
    assert numbers == sorted(range(70_000), key=lambda i: (i >= 60_000, labels[i], i))
    assert ordered.labels.tolist() == [labels[i] for i in numbers]


@pytest.mark.parametrize("count", [0, 69_999, 70_001])
def test_other_sizes_are_refused(count):
    mnist = datasets.Dataset(np.zeros((count, 784), np.uint8), np.zeros(count, np.uint8))
    with pytest.raises(ValueError, match=f"60000 training and 10000 test samples, got {count} "):
        mnist2017.stream(mnist)


@pytest.mark.parametrize("fraction", [0, *mnist2017.FRACTIONS, 30])
def test_raw(stream, fraction):
    samples = datasets.Dataset(stream.images[:50], stream.labels[:50])
    x, y = mnist2017.raw(samples, fraction)
    assert x.dtype == y.dtype == np.int32
    assert x.tolist() == np.rint(samples.images / 255.0 * 2.0**fraction).tolist()
    one_hot = samples.labels[:, None] == np.arange(10)
    assert y.tolist() == np.rint(one_hot * 2.0**fraction).tolist()


def test_raw_is_bounded(stream):
    with pytest.raises(ValueError, match=r"fraction must be in 0\.\.30, got 31"):
        mnist2017.raw(stream, 31)


def test_published_grid():
    grid = mnist2017.published()
    assert list(grid) == [(lr, fraction) for lr in range(5, 20) for fraction in range(8, 24)]
    assert len(grid) == mnist2017.CELLS == 240
    assert all(0 < accuracy < 1 for accuracy in grid.values())
    assert grid[5, 8] == 0.11914408724132156
    assert grid[19, 23] == 0.7390282166049515


@pytest.mark.long
def test_all_240_cells(backend, tmp_path, capsys):
    """The main job, as a user starts it."""
    if backend == "python":
        pytest.skip("the fallback would take hours; test_twelve_cells compares its weights")
    assert cli.main(["reproduce", "mnist-2017", "--out", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "240/240 cells equal the published grid"
    assert "100%" in captured.err
    written = tmp_path / "run"
    with (written / "grid.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    published = mnist2017.published()
    assert rows[0] == ["lr_shift", "fraction", "accuracy"]
    assert [(int(lr), int(fraction)) for lr, fraction, _ in rows[1:]] == list(published)
    for (_, _, accuracy), wanted in zip(rows[1:], published.values(), strict=True):
        assert abs(float(accuracy) - wanted) <= 1e-12
        assert repr(float(accuracy)) == accuracy
    assert (written / "surface.png").read_bytes().startswith(PNG)
    assert (written / "heat_map.png").read_bytes().startswith(PNG)
    assert len(list(written.iterdir())) == 3


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("cell", TWELVE)
def test_twelve_cells(cell, stream):
    """200 steps of the twelve cells against the reference model, computed once for all."""
    samples = datasets.Dataset(stream.images[:200], stream.labels[:200])
    weights, reports = oracle_cell(samples, *cell)
    lr_shift, fraction = cell
    for backend in each_backend():
        net = mnist2017.initial_network(fraction)
        history = net.train(
            *mnist2017.raw(samples, fraction), lr_shift, shuffle=False, overflow="ignore"
        )
        assert net.weights[0].tolist() == weights, backend
        assert list(zip(history.right.tolist(), history.loss.tolist(), strict=True)) == reports


# Samples sorted by digit, no permutation drawn: the trap of docs/numerics.md, section 8.
TRAP = {
    (19, 10): 1.000,
    (16, 8): 1.000,
    (20, 6): 1.000,
    (12, 5): 0.998,
    (23, 19): 0.959,
    (15, 19): 0.081,
    (12, 3): 0.000,
}


def test_without_the_permutation(backend, real_mnist):
    if backend == "python":
        pytest.skip("the fallback would take minutes; test_twelve_cells compares its weights")
    images, labels = mnist2017.sorted_by_label(real_mnist)
    samples = datasets.Dataset(images[: mnist2017.STEPS], labels[: mnist2017.STEPS])
    for (fraction, lr_shift), expected in TRAP.items():
        net = mnist2017.network(fraction, np.random.RandomState(mnist2017.SEED))
        x, y = mnist2017.raw(samples, fraction)
        assert round(mnist2017.train(net, x, y, lr_shift), 3) == expected


# --- The grid's files -------------------------------------------------------------------------


def test_the_fallback_trains_in_processes(stream, monkeypatch):
    """A process, which starts with the default backend, trains on that of its parent."""
    monkeypatch.setattr(mnist2017, "LR_SHIFTS", [10, 11])
    monkeypatch.setattr(mnist2017, "FRACTIONS", [19])
    samples = datasets.Dataset(stream.images[:1001], stream.labels[:1001])
    before = _backend.active_name()
    try:
        here = dict(mnist2017.run(samples, 2))
        arguments = (*mnist2017.raw(samples, 19), 19, 10)
        cell = side_by_side._call("python", mnist2017._cell, arguments)
        assert _backend.active_name() == "python"
        assert cell == ((10, 19), here[10, 19])
        assert dict(mnist2017.run(samples, 2)) == here
    finally:
        _backend.use(before)
    assert set(here) == {(10, 19), (11, 19)}


def test_filter():
    """The last value of scipy's filter, and weights that are the exact ones but for its error."""
    state = np.random.RandomState(3)
    for n in (1001, 1500):
        series = (state.random_sample(n) < 0.8).astype(np.int32)
        smoothed = savgol_filter(series, 1001, 2, mode="mirror")
        assert abs(mnist2017._last_filtered(series) - smoothed[-1]) < 1e-10
    h = mnist2017.FILTER_REACH
    scale = (2 * h - 1) * (2 * h + 1) * (2 * h + 3)
    exact = np.array([3 * (3 * h * h + 3 * h - 1), -15]) / scale
    ours = np.array([mnist2017.FILTER_CENTRE, mnist2017.FILTER_CURVE])
    assert (abs(ours / exact - 1) < 2e-11).all()


def test_differing():
    grid = mnist2017.published()
    assert mnist2017.differing({cell: value + 0.9e-12 for cell, value in grid.items()}) == []
    for off in (1.2e-12, -1.2e-12, np.nan):
        changed = {**grid, (7, 9): grid[7, 9] + off, (5, 8): off}
        assert mnist2017.differing(changed) == [(5, 8), (7, 9)]


def test_write_csv(tmp_path):
    path = tmp_path / "grid.csv"
    mnist2017.write_csv({(6, 9): 1 / 3, (5, 10): 0.1, (5, 9): 1e-17}, path)
    assert path.read_bytes() == (
        b"lr_shift,fraction,accuracy\n5,9,1e-17\n5,10,0.1\n6,9,0.3333333333333333\n"
    )
    mnist2017.write_csv(mnist2017.published(), path)
    packaged = resources.files("intmlp").joinpath("data/mnist_grid_2017.csv")
    assert path.read_bytes() == packaged.read_bytes()


def test_table():
    grid = mnist2017.published()
    table = mnist2017.table(grid)
    assert set(table["variant"]) == {"fixed"}
    shown = zip(table["lr_shift"], table["fraction"], table["accuracy"], strict=True)
    assert {(lr, fraction): accuracy for lr, fraction, accuracy in shown} == grid
