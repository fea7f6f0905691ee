"""The bottleneck study: its grid, what a cell trains, its run, store and result."""

import csv
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel
from scipy.signal import savgol_filter

import intmlp
from intmlp import MLP, QFormat, _backend
from intmlp.io.datasets import load_stream
from intmlp.io.samples import load_samples, samples_of
from intmlp.nn import leaky_relu, linear, normal
from intmlp.study import VARIANTS, Cell, Grid, Outcome, Result, Task, mnist2017, run, train_cell
from intmlp.study import store as store_module
from intmlp.study.store import Store
from intmlp.study.training import smoothed
from small_study import GRID, LONG, SAMPLES, TASK, few_samples
from support import BACKENDS, PURE, each_backend

SEED = 0xDEADBEEC


@pytest.fixture(scope="module")
def result():
    """Return an undisturbed run."""
    return run(TASK, SAMPLES, GRID, jobs=1)


def csv_bytes(result, folder):
    result.write_csv(folder / "cells.csv")
    return (folder / "cells.csv").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(result, tmp_path_factory):
    """Return the bytes of its table."""
    return csv_bytes(result, tmp_path_factory.mktemp("undisturbed"))


# --- The grid ---------------------------------------------------------------------------------


def test_variants_are_all_combinations():
    assert set(VARIANTS.values()) == {
        intmlp.Parts(*parts) for parts in product(("fixed", "float"), repeat=3)
    }
    for name, parts in VARIANTS.items():
        floats = {
            part for part in ("forward", "backward", "update") if vars(parts)[part] == "float"
        }
        swapped = name.partition("-")[2]
        if swapped:
            assert len(floats) == (1 if name.startswith("float") else 2), name
            assert (swapped in floats) == name.startswith("float"), name
        else:
            assert len(floats) == {"fixed": 0, "float": 3}[name]


def test_default_grid():
    cells = list(Grid())
    assert len(cells) == len(set(cells)) == len(Grid()) == 7 * 23 * 22 * 3 + 22 * 3 == 10_692
    order = list(VARIANTS)
    assert cells == sorted(
        cells, key=lambda cell: (order.index(cell.variant), cell.fraction or 0, *cell[2:])
    )
    assert {cell.fraction for cell in cells if cell.variant == "float"} == {None}
    for variant in order[:-1]:
        assert {c[1:] for c in cells if c.variant == variant} == set(
            product(range(1, 24), range(-2, 20), range(3))
        )


def test_published_grid():
    cells = list(Grid.published())
    assert {cell.seed for cell in cells} == {SEED}
    assert [cell[1:3] for cell in cells if cell.variant == "fixed"] == list(
        product(range(8, 24), range(5, 20))
    )
    assert len(cells) == 240 + 6 * 23 * 22 + 22


@pytest.mark.parametrize(
    "named, message",
    [
        ({"variants": ["fixed", "flaot"]}, "variants must be among fixed, .*; got 'flaot'"),
        ({"own_ranges": {"some": ([1], [1])}}, "variants must be among fixed, .*; got 'some'"),
        ({"variants": []}, r"variants must be one or more, each once, got \[\]"),
        ({"variants": ["fixed", "fixed"]}, "variants must be one or more, each once"),
        ({"fractions": range(5, 5)}, "fractions must have at least one value, got none"),
        ({"fractions": [64]}, r"fractions\[0\] must be in 0..63, got 64"),
        ({"fractions": [3, 3]}, r"fractions must have each value once, got \[3, 3\]"),
        ({"lr_shifts": []}, "lr_shifts must have at least one value, got none"),
        ({"lr_shifts": [1, 5000]}, r"lr_shifts\[1\] must be in -4096..4096, got 5000"),
        ({"seeds": []}, "seeds must have at least one value, got none"),
        ({"seeds": [-1]}, r"seeds\[0\] must be in 0..4294967295, got -1"),
    ],
)
def test_bad_grids(named, message):
    with pytest.raises(ValueError, match=message):
        Grid(**named)


# --- The task ---------------------------------------------------------------------------------


def test_formats():
    assert Task().format(9) == QFormat(32, 9, "floor", "saturate")
    task = Task(integer_bits=3, rounding="half_up", overflow="wrap")
    assert task.format(9) == QFormat(12, 9, "half_up", "wrap")


@pytest.mark.parametrize(
    "named, message",
    [
        ({"hidden": [0]}, r"hidden\[0\] must be in 1..2147483647, got 0"),
        ({"rounding": "up"}, "rounding must be one of floor, .*; got 'up'"),
        ({"overflow": "none"}, "overflow must be one of saturate, wrap; got 'none'"),
        ({"loss": "hinge"}, "loss must be one of sse, half_sse, cross_entropy; got 'hinge'"),
        ({"order": "random"}, "order must be one of shuffled, .*; got 'random'"),
        ({"accuracy": "best"}, "accuracy must be one of online, test; got 'best'"),
        ({"epochs": 0}, "epochs must be in 1..2147483647, got 0"),
        ({"batch_size": 2**17}, "batch_size must be in 1..65536, got 131072"),
        ({"window": 1}, "window must be in 3..99999, got 1"),
        ({"window": 100}, "window must be odd, got 100"),
        ({"held_back": 1.0}, "held_back must lie between 0 and 1, got 1.0"),
        ({"integer_bits": 65}, "integer_bits must be in -61..64, got 65"),
    ],
)
def test_bad_tasks(named, message):
    with pytest.raises(ValueError, match=message):
        Task(**named)


@pytest.mark.parametrize(
    "named, message",
    [
        ({"window": 61}, r"window must be at most the number of training steps, 60 \(60 samples,"),
        (
            {"window": 21, "batch_size": 4, "epochs": 1},
            r"training steps, 15 \(60 samples, batch size 4, epochs 1\), got 21",
        ),
        ({"accuracy": "test", "held_back": 0.001}, "samples on both sides, got 0.001 of 60"),
        ({"integer_bits": 60}, r"integer_bits \+ fraction must be in 2..64, got 60 \+ 9"),
    ],
)
def test_samples_that_do_not_serve(named, message):
    with pytest.raises(ValueError, match=message):
        run(Task(**{"window": 21, **named}), SAMPLES, GRID)


def test_one_class():
    labels = np.repeat([0, 1], [59, 1])
    one = replace(samples_of(np.zeros((60, 2)), labels, scale="none"), labels=np.zeros(60, int))
    with pytest.raises(ValueError, match="the samples must have at least 2 classes, got 1"):
        run(TASK, one, GRID)


def exactly_smoothed(shares, window):
    """Return the last value of the filter by its formula, in rational numbers."""
    h = window // 2
    scale = (2 * h - 1) * (2 * h + 1) * (2 * h + 3)
    return sum(
        Fraction(3 * (3 * h * h + 3 * h - 1) - 15 * i * i, scale) * shares[len(shares) - 1 - abs(i)]
        for i in range(-h, h + 1)
    )


@pytest.mark.parametrize("window", [3, 5, 21, 1001])
@pytest.mark.parametrize("samples, batch, epochs", [(1500, 1, 1), (1500, 4, 4), (1003, 16, 20)])
def test_smoothed(window, samples, batch, epochs):
    state = np.random.RandomState(window)
    sizes = ([batch] * (samples // batch) + [samples % batch] * (samples % batch > 0)) * epochs
    right = np.array([state.randint(0, size + 1) for size in sizes], np.int32)
    shares = [Fraction(int(count), size) for count, size in zip(right, sizes, strict=True)]
    ours = smoothed(right, samples, batch, window)
    assert ours == float(exactly_smoothed(shares, window))
    scipy = savgol_filter([float(share) for share in shares], window, 2, mode="mirror")
    assert abs(ours - scipy[-1]) < 1e-9


def test_smoothed_of_the_largest():
    """The sums stay exact at the limits of window and batch size."""
    window, batch = 99_999, 2**16
    right = np.full(window // 2 + 1, batch, np.int32)
    assert smoothed(right, batch * len(right), batch, window) == 1.0


# --- A cell -----------------------------------------------------------------------------------


def expected(task, samples, cell, x, labels, **how):
    """Train a cell by the public face of a network alone, on float inputs in their own order."""
    frac = cell.fraction or 0
    bits = 32 if task.integer_bits is None else task.integer_bits + frac
    state = np.random.RandomState(cell.seed)
    net = MLP(
        [x.shape[1], *task.hidden, len(samples.classes)],
        QFormat(bits if cell.fraction else 32, frac, task.rounding, task.overflow),
        input_format=QFormat(bits if cell.fraction else 32, frac, "half_even", task.overflow),
        activation=task.activation,
        bias=task.bias,
        loss=task.loss,
        parts=VARIANTS[cell.variant],
        init=task.init,
        seed=state,
    )
    y = np.eye(len(samples.classes))[labels]
    history = net.train(
        x,
        y,
        cell.lr_shift,
        epochs=task.epochs,
        batch_size=task.batch_size,
        shuffle=task.order == "shuffled",
        seed=state,
        **how,
    )
    return net, history


def shares_of(history, task, n):
    sizes = [min(task.batch_size, n - i) for i in range(0, n, task.batch_size)] * task.epochs
    return [Fraction(int(count), size) for count, size in zip(history.right, sizes, strict=True)]


TASKS = {
    "default": TASK,
    "epochs": Task(window=21, epochs=3, batch_size=7),
    "given": Task(window=5, order="given", rounding="half_even", activation=linear()),
    "narrow": Task(hidden=(3,), window=21, integer_bits=2, overflow="wrap", loss="sse"),
    "raw": Task(window=21, init=normal(20, unit="raw"), activation=leaky_relu(2)),
}


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_cell(task, variant):
    """A cell is what its network makes of float inputs: what cells share changes nothing."""
    cell = Cell(variant, None if variant == "float" else 6, 2, 5)
    of_raw = task
    if variant == "float" and task.init.unit == "raw":
        of_raw = replace(task, init=normal(0.1))
    _, history = expected(of_raw, SAMPLES, cell, SAMPLES.x, SAMPLES.labels)
    wanted = exactly_smoothed(shares_of(history, task, 60), task.window)
    for backend in each_backend():
        outcome = train_cell(task, SAMPLES, cell)
        assert outcome == Outcome(float(wanted), history.steps, None), backend


def test_sorted_order():
    order = np.argsort(SAMPLES.labels, kind="stable")
    assert Task(order="sorted").split(SAMPLES)[0].tolist() == order.tolist()
    for variant in ("fixed", "float-update"):
        cell, task = Cell(variant, 6, 2, 5), Task(window=21, order="sorted")
        _, history = expected(task, SAMPLES, cell, SAMPLES.x[order], SAMPLES.labels[order])
        wanted = exactly_smoothed(shares_of(history, task, 60), 21)
        assert train_cell(task, SAMPLES, cell).accuracy == float(wanted)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("customary", [0, 24])
def test_accuracy_of_held_back_samples(variant, customary):
    samples = few_samples(held_back=customary)
    task = Task(accuracy="test", epochs=2)
    cell = Cell(variant, None if variant == "float" else 6, 3, 1)
    rows = np.arange(60) if customary else np.random.RandomState(0).permutation(60)
    train, test = np.sort(rows[: -(customary or 12)]), np.sort(rows[-(customary or 12) :])
    net, history = expected(task, samples, cell, samples.x[train], samples.labels[train])
    right = np.argmax(net.forward(samples.x[test]), axis=1) == samples.labels[test]
    assert train_cell(task, samples, cell) == Outcome(float(right.mean()), history.steps, None)
    assert history.steps == 2 * len(train)


def test_share_held_back():
    samples = few_samples(held_back=24)
    train, test = Task(accuracy="test", held_back=0.1).split(samples)
    assert (len(train), len(test)) == (54, 6)
    assert sorted([*train, *test]) == list(range(60))
    assert len(Task().split(samples)[1]) == 0


@pytest.mark.parametrize("accuracy", ["online", "test"])
def test_diverged_cell(accuracy, tmp_path):
    task = Task(window=21, accuracy=accuracy, activation=linear(), epochs=100)
    result = run(task, SAMPLES, Grid(["float"], lr_shifts=[-500], seeds=[0]))
    [outcome] = result.cells.values()
    assert 0 < outcome.diverged_at == outcome.steps < 4000
    assert outcome.accuracy == 0
    assert result.to_dataframe()["diverged_at"].tolist() == [outcome.steps]
    assert csv_bytes(result, tmp_path).splitlines()[1] == (
        f"float,float,float,float,,-500,0,0.0,{outcome.steps},{outcome.steps}".encode()
    )


PUBLISHED = [(5, 8), (5, 23), (19, 8), (7, 13), (10, 19), (14, 17)]


def test_published_cells(backend):
    """The weights are those of the 2017 grid; its accuracies carry the error of their filter."""
    if backend == "python":
        pytest.skip("the fallback would take minutes; test_cell compares the backends")
    samples, stream = load_samples("mnist-2017"), load_stream()
    published = mnist2017.published()
    for lr_shift, fraction in PUBLISHED:
        outcome = train_cell(Task.published(), samples, Cell("fixed", fraction, lr_shift, SEED))
        net = mnist2017.initial_network(fraction)
        history = net.train(
            *mnist2017.raw(stream, fraction), lr_shift, shuffle=False, overflow="ignore"
        )
        wanted = exactly_smoothed(shares_of(history, Task(), 10_000), 1001)
        assert outcome == Outcome(float(wanted), 10_000, None)
        assert abs(outcome.accuracy / published[lr_shift, fraction] - 1) < 2e-11


# --- Why a width fails ------------------------------------------------------------------------


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("task", [TASK, TASKS["narrow"]], ids=["default", "narrow"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_observed_cell(task, variant):
    """It counts what its network counts of float inputs, and changes nothing else."""
    cell = Cell(variant, None if variant == "float" else 6, 2, 5)
    how = {"observe": True, "window": 21}
    _, history = expected(task, SAMPLES, cell, SAMPLES.x, SAMPLES.labels, **how)
    for backend in each_backend():
        outcome = train_cell(task, SAMPLES, cell, why=True)
        assert outcome.observed == history.observed, backend
        assert outcome[:3] == train_cell(task, SAMPLES, cell)[:3]
    assert train_cell(task, SAMPLES, cell).observed is None


def test_what_was_observed_is_stored(tmp_path, result, undisturbed, monkeypatch):
    path = tmp_path / "cells.sqlite"
    run(TASK, SAMPLES, GRID, store=path)
    why = run(TASK, SAMPLES, GRID, store=path, why=True)
    assert csv_bytes(why, tmp_path) == undisturbed
    assert why.cells == run(TASK, SAMPLES, GRID, why=True).cells
    monkeypatch.delattr(sys.modules["intmlp.study.run"], "train_cell")  # nothing is left to train
    assert run(TASK, SAMPLES, GRID, store=path, why=True).cells == why.cells
    assert run(TASK, SAMPLES, GRID, store=path).cells == result.cells
    with Store(path, TASK, SAMPLES) as store:  # as another run that does not ask why
        for cell, outcome in result.cells.items():
            store.save(cell, outcome)
    assert run(TASK, SAMPLES, GRID, store=path, why=True).cells == why.cells


def test_causes(result, tmp_path):
    with pytest.raises(ValueError, match="run the study with why=True"):
        result.write_causes(tmp_path / "causes.csv")
    assert list(tmp_path.iterdir()) == []
    grid = Grid(["fixed", "float"], [4], [3], [7])
    why = run(TASK, SAMPLES, grid, why=True)
    why.write_causes(tmp_path / "causes.csv")
    with (tmp_path / "causes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tensors = [(1, "Z"), (1, "E"), (1, "D"), (1, "W"), (1, "b"), (2, "Z"), (2, "D"), (2, "W")]
    tensors.append((2, "b"))
    assert [(row["variant"], int(row["layer"]), row["tensor"]) for row in rows] == [
        (variant, *tensor) for variant in grid.variants for tensor in tensors
    ]
    observed = [row for outcome in why.cells.values() for row in outcome.observed]
    for row, wanted in zip(rows, observed, strict=True):
        for name in ("entries", "lost_steps", "overflows", "step_sum", "error_sum", "dead_units"):
            assert int(row[name]) == getattr(wanted, name)
        for name in ("mean_step", "mean_error"):
            mean = getattr(wanted, name)
            assert row[name] == ("" if np.isnan(mean) else repr(mean))
    assert int(rows[3]["lost_steps"]) > 0 and rows[3]["mean_step"] != "" == rows[0]["mean_step"]
    table = why.causes_to_dataframe()
    assert table["error_sum"].tolist() == [row.error_sum for row in observed]
    assert table["fraction"].isna().tolist() == [False] * 9 + [True] * 9
    assert list(table.columns) == list(rows[0])


# --- The run ----------------------------------------------------------------------------------


def test_run(result):
    assert list(result.cells) == list(GRID)
    for cell in list(GRID)[::9]:
        assert result.cells[cell] == train_cell(TASK, SAMPLES, cell)


@pytest.mark.parametrize("jobs", [2, 3])
def test_jobs_change_no_byte(jobs, undisturbed, tmp_path):
    assert csv_bytes(run(TASK, SAMPLES, GRID, jobs=jobs), tmp_path) == undisturbed


@pytest.mark.usefixtures("restored")
def test_backends_change_no_byte(undisturbed, tmp_path):
    for backend in each_backend():
        assert csv_bytes(run(TASK, SAMPLES, GRID, jobs=2), tmp_path) == undisturbed, backend


@pytest.mark.usefixtures("restored")
def test_the_fallback_trains_in_processes(monkeypatch):
    """A process, which starts with the default backend, trains on that of its parent."""
    module, kinds = sys.modules["intmlp.study.side_by_side"], {}

    def parallel(n_jobs, backend, **named):
        kinds[_backend.active_name()] = backend
        return Parallel(n_jobs=1, **named)

    monkeypatch.setattr(module, "Parallel", parallel)
    for _ in each_backend():
        run(TASK, SAMPLES, Grid(["fixed"], [4], [1], [0]))
    assert kinds == {name: "loky" if name == "python" else "threading" for name in BACKENDS}
    assert module._call("python", _backend.active_name, ()) == "python"


def test_equal_seeds_start_equal():
    """Where nothing is learned, what differs is rounding alone; another seed differs."""
    accuracies = {
        (variant, seed): train_cell(
            replace(TASK, rounding="half_even"),
            SAMPLES,
            Cell(variant, None if variant == "float" else 20, 40, seed),
        ).accuracy
        for variant in VARIANTS
        for seed in (0, 1, 2, 3)
    }
    for seed in (0, 1, 2, 3):
        assert len({accuracies[variant, seed] for variant in VARIANTS}) == 1
    assert len(set(accuracies.values())) > 1


def test_progress(tmp_path):
    calls = []
    grid = replace(GRID, variants=["fixed"])
    run(TASK, SAMPLES, grid, store=tmp_path / "s", jobs=1, progress=lambda *c: calls.append(c))
    assert calls == [(done, 8) for done in range(9)]
    calls.clear()
    run(TASK, SAMPLES, grid, store=tmp_path / "s", progress=lambda *c: calls.append(c))
    assert calls == [(8, 8)]


class Stop(Exception):
    pass


def stop_after(cells):
    def progress(done, total):
        if done == cells:
            raise Stop

    return progress


def test_what_is_stored_is_not_trained_again(tmp_path, monkeypatch, undisturbed):
    path = tmp_path / "cells.sqlite"
    with pytest.raises(Stop):
        run(TASK, SAMPLES, GRID, store=path, jobs=2, progress=stop_after(20))
    trained = []

    def counting(*arguments):
        trained.append(arguments)
        return train_cell(*arguments)

    monkeypatch.setattr(sys.modules["intmlp.study.run"], "train_cell", counting)
    assert csv_bytes(run(TASK, SAMPLES, GRID, store=path), tmp_path) == undisturbed
    assert len(trained) == len(GRID) - 20
    trained.clear()
    assert csv_bytes(run(TASK, SAMPLES, GRID, store=path), tmp_path) == undisturbed
    assert trained == []
    # Another task, other samples and other cells have rows of their own.
    run(replace(TASK, bias=False), SAMPLES, replace(GRID, seeds=[0]), store=path)
    run(TASK, few_samples(seed=1), replace(GRID, seeds=[0]), store=path)
    run(TASK, SAMPLES, replace(GRID, seeds=[0, 1]), store=path)
    assert len(trained) == 4 * len(GRID) // 2 - len(GRID) // 2
    assert csv_bytes(run(TASK, SAMPLES, GRID, store=path), tmp_path) == undisturbed


class Locked:
    """A database whose log another process holds for some calls."""

    def __init__(self, times, message="database is locked"):
        self.times, self.message = times, message

    def execute(self, statement):
        assert statement == "PRAGMA journal_mode = WAL"
        self.times -= 1
        if self.times >= 0:
            raise sqlite3.OperationalError(self.message)


def test_a_log_that_others_hold_is_waited_for(tmp_path, monkeypatch):
    with Store(tmp_path / "cells.sqlite", TASK, SAMPLES) as store, monkeypatch.context() as patch:
        patch.setattr(store, "_database", Locked(3))
        store._keep_a_log()
        assert store._database.times == -1
        for error in Locked(1, "disk I/O error"), Locked(10**6):
            patch.setattr(store, "_database", error)
            patch.setattr("intmlp.study.store.PATIENCE", 0.05)
            with pytest.raises(sqlite3.OperationalError, match=error.message):
                store._keep_a_log()


def test_fresh(tmp_path, undisturbed):
    path = tmp_path / "cells.sqlite"
    with Store(path, TASK, SAMPLES) as store:
        wrong = Outcome(0.5, 1, None)
        outside = Cell("fixed", 30, 1, 0)
        for cell in (*GRID, outside):
            store.save(cell, wrong)
    assert set(run(TASK, SAMPLES, GRID, store=path).cells.values()) == {wrong}
    assert csv_bytes(run(TASK, SAMPLES, GRID, store=path, fresh=True), tmp_path) == undisturbed
    with Store(path, TASK, SAMPLES) as store:
        assert store.load()[outside] == wrong


def start(*arguments):
    """Start a run in a process of its own, which says how far it is."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("small_study.py"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.fixture(scope="module")
def undisturbed_long(tmp_path_factory):
    """Return the bytes of the table of such a run."""
    return csv_bytes(run(LONG, SAMPLES, GRID), tmp_path_factory.mktemp("long"))


@pytest.mark.skipif(os.name != "posix" or PURE, reason="kills by signal, a run of seconds")
def test_killed_runs_resume_to_the_same_bytes(tmp_path, undisturbed_long):
    state = np.random.RandomState()
    path, table = tmp_path / "cells.sqlite", tmp_path / "cells.csv"
    kept = [0]
    for _ in range(4):
        with start(path, table) as process:
            until = kept[-1] + state.randint(0, 12)
            for line in process.stdout:
                if int(line) >= until:
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
        with Store(path, LONG, SAMPLES) as store:
            kept.append(len(store.load()))
        assert kept[-1] >= int(line) >= kept[-2]  # a cell is stored before it is reported
    assert kept[-1] < len(GRID)
    assert not table.exists()
    out, err = start(path, table).communicate()
    assert (out.split()[0], err) == (str(kept[-1]), "")
    assert table.read_bytes() == undisturbed_long


@pytest.mark.skipif(PURE, reason="the fallback takes minutes")
def test_two_runs_on_one_store(tmp_path, undisturbed_long):
    path = tmp_path / "cells.sqlite"
    both = [start(path, tmp_path / name) for name in ("a", "b")]
    for process, name in zip(both, ("a", "b"), strict=True):
        _, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        assert (tmp_path / name).read_bytes() == undisturbed_long
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT count(*) FROM cells").fetchone() == (len(GRID),)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_store_of_another_version(tmp_path, monkeypatch):
    path = tmp_path / "cells.sqlite"
    with Store(path, TASK, SAMPLES):
        pass
    before = path.read_bytes()
    monkeypatch.setattr(store_module, "arithmetic_version", 99)
    message = (
        f"the store {path} is from intmlp {intmlp.__version__} "
        rf"\(arithmetic {intmlp.arithmetic_version}\), and this is .* \(arithmetic 99\): name"
    )
    with pytest.raises(OSError, match=message):
        run(TASK, SAMPLES, GRID, store=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["text", "cut", "page"])
def test_damaged_store(tmp_path, damage):
    path = tmp_path / "cells.sqlite"
    for task in (TASK, replace(TASK, bias=False)):
        run(task, SAMPLES, GRID, store=path)
    content = bytearray(path.read_bytes())
    if damage == "text":
        content[:] = b"variant,fraction\n" * 1000
    elif damage == "cut":
        del content[len(content) // 2 :]
    else:  # a page that holds rows of the other study alone
        with closing(sqlite3.connect(path)) as database:
            studies = dict(database.execute("SELECT configuration, study FROM studies"))
        own = studies[store_module.configuration(TASK, SAMPLES)].encode()
        [other] = {study.encode() for study in studies.values()} - {own}
        pages = range(4096, len(content), 4096)
        rows = (b"fixed-backward", b"float-backward")
        inner = (
            page
            for page in pages
            if content.count(other, page, page + 4096) > 9
            and own not in content[page : page + 4096]
            and any(row in content[page : page + 4096] for row in rows)
        )
        page = next(inner)
        content[page + 8 : page + 4096] = b"\xa5" * 4088
    path.write_bytes(content)
    with pytest.raises(OSError, match=rf"the store {path} is damaged \(.*\): name another folder"):
        run(TASK, SAMPLES, GRID, store=path)
    assert path.read_bytes() == content


def test_a_database_that_is_no_store(tmp_path):
    path = tmp_path / "cells.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(OSError, match=f"{path} is an SQLite file, but no store of cells"):
        run(TASK, SAMPLES, GRID, store=path)
    assert path.read_bytes() == before


def test_no_folder_for_the_store(tmp_path):
    path = tmp_path / "none" / "cells.sqlite"
    with pytest.raises(OSError, match=f"the store {path} cannot be used: unable to open"):
        run(TASK, SAMPLES, GRID, store=path)


def test_full_disk(tmp_path, monkeypatch, undisturbed):
    path = tmp_path / "cells.sqlite"
    connect = sqlite3.connect

    def small(*arguments, **named):
        database = connect(*arguments, **named)
        database.execute("PRAGMA max_page_count = 5")
        return database

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", small)
        with pytest.raises(OSError, match=f"the store {path} cannot be used: .* full; what it"):
            run(TASK, SAMPLES, GRID, store=path)
        with Store(path, TASK, SAMPLES) as store:
            assert 0 < len(store.load()) < len(GRID)
    assert csv_bytes(run(TASK, SAMPLES, GRID, store=path), tmp_path) == undisturbed


# --- The result -------------------------------------------------------------------------------


def test_csv(tmp_path):
    grid = Grid(["float-backward", "fixed", "float"], [8, 10], [-2], [3])
    outcomes = [Outcome(1 / 3, 9, None), Outcome(0.0, 9, None), Outcome(1.0, 4, 4)]
    cells = dict(zip(grid, [outcomes[0], *outcomes[:2], *outcomes], strict=False))
    result = Result(TASK, SAMPLES, grid, cells)
    assert csv_bytes(result, tmp_path) == (
        b"variant,forward,backward,update,fraction,lr_shift,seed,accuracy,steps,diverged_at\n"
        b"fixed,fixed,fixed,fixed,8,-2,3,0.3333333333333333,9,\n"
        b"fixed,fixed,fixed,fixed,10,-2,3,0.3333333333333333,9,\n"
        b"float-backward,fixed,float,fixed,8,-2,3,0.0,9,\n"
        b"float-backward,fixed,float,fixed,10,-2,3,0.3333333333333333,9,\n"
        b"float,float,float,float,,-2,3,0.0,9,\n"
    )


def test_dataframe(result, tmp_path, undisturbed):
    table = result.to_dataframe()
    assert table.dtypes.astype(str).to_dict() == {
        **dict.fromkeys(("variant", "forward", "backward", "update"), str(table["variant"].dtype)),
        "fraction": "Int64",
        "lr_shift": "int64",
        "seed": "int64",
        "accuracy": "float64",
        "steps": "int64",
        "diverged_at": "Int64",
    }
    assert table["fraction"].isna().tolist() == (table["variant"] == "float").tolist()
    assert [tuple(None if v is pd.NA else v for v in row) for row in table.itertuples(False)] == (
        list(result.rows())
    )
    result.write_parquet(tmp_path / "cells.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "cells.parquet"), table)


def test_xarray(result):
    data = result.to_xarray()
    assert dict(data.sizes) == {"variant": 8, "fraction": 2, "lr_shift": 2, "seed": 2}
    for cell, outcome in result.cells.items():
        for fraction in GRID.fractions if cell.fraction is None else [cell.fraction]:
            there = data.sel(
                variant=cell.variant, fraction=fraction, lr_shift=cell.lr_shift, seed=cell.seed
            )
            assert there["accuracy"] == outcome.accuracy
            assert there["steps"] == outcome.steps
            assert np.isnan(there["diverged_at"])


def test_xarray_of_unequal_ranges():
    grid = Grid(["fixed", "float-update", "float"], [4], [1], [0], {"fixed": ([9], [1, 2])})
    data = run(TASK, SAMPLES, grid).to_xarray()
    assert data["fraction"].values.tolist() == [4, 9]
    missing = data["accuracy"].isnull().sel(seed=0)
    assert missing.sel(variant="fixed").values.tolist() == [[True, True], [False, False]]
    assert missing.sel(variant="float-update").values.tolist() == [[False, True], [True, True]]
    assert missing.sel(variant="float").values.tolist() == [[False, True], [False, True]]
