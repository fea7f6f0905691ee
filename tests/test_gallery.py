"""`intmlp reproduce` of published networks: recipes, trainings on a few samples, the command."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from intmlp import LayerFormats, QFormat
from intmlp.io import datasets
from intmlp.study import gallery
from mnist import FILES, openml, write_idx
from support import each_backend, run_command

ENTRIES = {
    f"{study} {entry.network} {entry.arithmetic}": entry
    for study, entries in gallery.STUDIES.items()
    for entry in entries
}
FIXED = {name: entry for name, entry in ENTRIES.items() if not entry.is_float}


def blobs(n, seed=0):
    """Return n images of ten classes that a small network tells apart."""
    state = np.random.RandomState(seed)
    labels = np.arange(n) % 10
    centres = np.random.RandomState(7).randint(0, 200, (10, 784))
    images = centres[labels] + state.randint(0, 56, (n, 784))
    return datasets.Dataset(images.astype(np.uint8), labels.astype(np.uint8))


@pytest.fixture
def small(monkeypatch):
    """Put small networks in place of the studies; return the entries of one of them."""

    def shrunk(entry):
        sizes = (784, *[5] * (len(entry.recipe.sizes) - 2), 10)
        recipe = replace(entry.recipe, sizes=sizes, schedule=((1, 4), (1, 6)), batch_size=16)
        return replace(entry, recipe=recipe)

    studies = {
        name: [shrunk(entry) for entry in entries] for name, entries in gallery.STUDIES.items()
    }
    monkeypatch.setattr(gallery, "STUDIES", studies)
    return studies["pocketnn"]


@pytest.fixture
def folder(tmp_path):
    """Return a folder with MNIST's four files, of 64 training and 30 test images."""
    path = tmp_path / "mnist"
    path.mkdir()
    write_idx(path, datasets.joined(blobs(64), blobs(30, seed=1)), 64)
    return path


# --- Recipes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENTRIES)
def test_recipes_are_networks(name):
    recipe = ENTRIES[name].recipe
    net = recipe.network(0, np.random.RandomState(0))
    assert [layer.n_out for layer in net.network.layers] == list(recipe.sizes[1:])
    assert len(recipe.lr_shifts(recipe.epochs)) == recipe.epochs
    assert recipe.lr_shifts(1) == [recipe.schedule[0][1]]
    assert recipe.lr_shifts(2 * recipe.epochs)[::2] == recipe.lr_shifts(recipe.epochs)
    parts = recipe.parts
    assert (parts.forward, parts.backward, parts.update) in [("fixed",) * 3, ("float",) * 3]


def widths(entry):
    """Return the bits of activations, weights, deltas and velocities, and of the input."""
    layers = entry.recipe.layers
    kinds = ("activation", "weight", "delta", "gradient")
    return [{getattr(layer, kind).bits for layer in layers} for kind in kinds] + [
        {entry.recipe.input.bits}
    ]


@pytest.mark.parametrize("network", ["784-100-50-10", "784-200-100-50-10", "784-1024-1024-1024-10"])
def test_widths(network):
    """Names say what is in the tensors: 16 bits, 8, or 8 over weights and velocities of 16."""
    wanted = {
        "16 bits": [{16}] * 5,
        "8 bits": [{8}] * 5,
        "8 bits, weights 16": [{8}, {16}, {8}, {16}, {8}],
    }
    for entry in gallery.STUDIES["nitro-d"]:
        if entry.network == network and not entry.is_float:
            assert widths(entry) == wanted[entry.arithmetic]


def test_widths_of_typecnn_and_gupta():
    for entry in gallery.STUDIES["typecnn"][:-1]:
        left, right = map(int, entry.arithmetic.split("."))
        assert widths(entry) == [{left + right}] * 5
        for layer in entry.recipe.layers:  # what TypeCNN has in fixed point has its formats
            assert layer.activation.frac == layer.weight.frac == right
    rows = gallery.STUDIES["gupta"][:-1]
    assert [entry.arithmetic for entry in rows] == [
        f"{point} {rounding}" for point in ("8.8", "6.10") for rounding in ("stochastic", "nearest")
    ]
    for entry in rows:
        point, name = entry.arithmetic.split()
        rounding = {"stochastic": "stochastic", "nearest": "half_even"}[name]
        fmt = QFormat(16, int(point.split(".")[1]), rounding)
        assert entry.recipe.input == QFormat(16, fmt.frac)
        assert set(entry.recipe.layers) == {LayerFormats(fmt, fmt, fmt, fmt)}


def test_published_figures():
    """As they are in README and logs of NITRO-D and TypeCNN, and in the papers."""
    figures = {
        (entry.network, entry.data, who): figure
        for entry in gallery.STUDIES["nitro-d"]
        for who, figure in entry.published.items()
    }
    assert figures == {
        ("784-100-50-10", "MNIST", "PocketNN"): 96.98,
        ("784-100-50-10", "MNIST", "NITRO-D"): 97.36,
        ("784-100-50-10", "MNIST", "float"): 98.00,
        ("784-200-100-50-10", "Fashion-MNIST", "PocketNN"): 87.70,
        ("784-200-100-50-10", "Fashion-MNIST", "NITRO-D"): 88.66,
        ("784-200-100-50-10", "Fashion-MNIST", "float"): 89.79,
        ("784-1024-1024-1024-10", "MNIST", "NITRO-D"): 98.28,
    }
    typecnn = [entry.published["TypeCNN"] for entry in gallery.STUDIES["typecnn"]]
    assert typecnn == [97.50, 97.32, 97.24, 95.94, 97.30]


def test_float_runs_have_the_same_recipe():
    for entries in gallery.STUDIES.values():
        for entry in entries:
            if entry.is_float:
                [first, *_] = [e for e in entries if e.network == entry.network]
                assert replace(entry.recipe, parts=first.recipe.parts) == first.recipe


# --- Trainings --------------------------------------------------------------------------------


def test_same_result_everywhere_and_again(small, restored):
    """All rows of one network, on each backend; the number of jobs does not matter."""
    data = {"MNIST": (blobs(48), blobs(20, seed=1))}
    entries = [entry for entry in small if entry.data == "MNIST"]
    wanted = None
    for name in each_backend():
        for jobs in (1, 2) if name == "c:scalar" else (1,):
            ended = gallery.run(entries, data, [0, 1], jobs=jobs)
            got = sorted(training[:4] for training in ended)
            assert [row[:2] for row in got] == [(i, j) for i in range(len(entries)) for j in (0, 1)]
            assert got == (wanted := wanted or got)


def test_it_learns():
    """The all-8-bit recipe as it is, on few samples, is far better than chance."""
    entry = FIXED["pocketnn 784-100-50-10 8 bits"]
    data = {"MNIST": (blobs(512), blobs(100, seed=1))}
    [training] = gallery.run([entry], data, [3], epochs=6, jobs=1)
    assert training.tested == 100
    assert training.right > 90


def test_inputs():
    """Grey values are scaled to 0..1, and enter the format of the input."""
    recipe = FIXED["pocketnn 784-100-50-10 8 bits"].recipe
    images = np.array([[0, 1, 128, 255]], np.uint8)
    assert recipe.inputs(images).tolist() == [[0, 1, 64, 127]]  # 127: 1 saturates
    floats = ENTRIES["pocketnn 784-100-50-10 float64"].recipe.inputs(images)
    assert (floats == np.float32([0, 1 / 255, 128 / 255, 1])).all()


# --- The command ------------------------------------------------------------------------------


def test_command(capsys, tmp_path, small, folder):
    arguments = ("reproduce", "pocketnn", "--mnist", str(folder), "--networks", small[0].network)
    arguments += ("--seeds", "2", "--epochs", "1", "--out", str(tmp_path / "out"))
    status, out, err = run_command(capsys, *arguments)
    assert status == 0
    assert "100%" in err
    written = (tmp_path / "out" / "trainings.csv").read_bytes()
    rows = list(csv.DictReader(written.decode().splitlines()))
    assert len(rows) == 4 * 2
    assert {row["tested"] for row in rows} == {"30"}
    assert [row["seed"] for row in rows[:2]] == ["0", "1"]
    table = [" ".join(line.split()) for line in out.splitlines()]
    for entry in small[:4]:
        own = [int(row["right"]) / 0.3 for row in rows if row["arithmetic"] == entry.arithmetic]
        who, figure = next(iter(entry.published.items()))
        figures = " ".join(f"{own:.2f}" for own in (sum(own) / 2, min(own), max(own)))
        assert any(f"{entry.arithmetic} {who} {figure:.2f} {figures} 2 " in line for line in table)
    assert "NITRO-D 97.36" in out
    assert "all 30 test images" in out
    run_command(capsys, *arguments, "--jobs", "1")
    assert (tmp_path / "out" / "trainings.csv").read_bytes() == written


def test_some_data_missing(capsys, tmp_path, small, folder):
    """What can be trained is; then the command fails, and says what to give it."""
    arguments = ("--mnist", str(folder), "--seeds", "1", "--out", str(tmp_path / "out"))
    status, out, err = run_command(capsys, "reproduce", "pocketnn", *arguments)
    assert status == 2
    assert err.endswith(
        "intmlp: Fashion-MNIST not at hand: the networks for it were not trained; give "
        "--fashion-mnist DIR, a folder with the four IDX files, or --openml\n"
    )
    assert "PocketNN 96.98" in out and "87.70" not in out
    assert len((tmp_path / "out" / "trainings.csv").read_text().splitlines()) == 1 + 4
    status, out, _ = run_command(
        capsys, "reproduce", "pocketnn", *arguments, "--fashion-mnist", str(folder)
    )
    assert status == 0
    assert "PocketNN 96.98" in out and "PocketNN 87.70" in out


def test_missing_data(capsys, tmp_path, small):
    status, out, err = run_command(capsys, "reproduce", "gupta", "--out", str(tmp_path / "out"))
    assert (status, out) == (2, "")
    assert err.endswith(
        "intmlp: MNIST not at hand: the networks for it were not trained; give --mnist DIR, "
        "a folder with the four IDX files, or --openml\n"
    )
    assert not (tmp_path / "out").exists()


def test_bad_folder(capsys, tmp_path, small):
    arguments = ("reproduce", "pocketnn", "--fashion-mnist", str(tmp_path))
    status, out, err = run_command(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err == (
        f"intmlp: argument --fashion-mnist: the folder {tmp_path} must hold {FILES[0]} or "
        f"{FILES[0]}.gz, and has neither\n"
    )


def test_options(capsys, small, folder, tmp_path):
    arguments = ("reproduce", "gupta", "--mnist", str(folder), "--out", str(tmp_path / "out"))
    status, out, _ = run_command(capsys, *arguments, "--no-float", "--seeds", "1")
    assert status == 0
    assert "8.8 nearest" in out and "float64" not in out
    status, _, err = run_command(capsys, *arguments, "--networks", "784-10")
    assert status == 2
    assert err == "intmlp: argument --networks: must be of 784-5-5-10, got '784-10'\n"


def test_openml(capsys, small, tmp_path, monkeypatch):
    from intmlp.io import samples

    monkeypatch.setattr(samples, "OPENML_TEST", 10)
    with openml(monkeypatch, tmp_path, blobs(40)):
        arguments = ("reproduce", "typecnn", "--openml", "--no-float", "--seeds", "1")
        status, out, _ = run_command(capsys, *arguments, "--out", str(tmp_path / "out"))
    assert status == 0
    assert "all 10 test images" in out
