"""``intmlp bottleneck``: its options, its files, and errors of one line."""

import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dask_processes import Cluster
from intmlp import study
from intmlp.nn import leaky_relu, linear, normal, uniform
from intmlp.study import Grid, Task, cluster
from small_study import SAMPLES, TASK
from support import run_command, run_python

FILES = ["answer.json", "cells.csv", "cells.sqlite", "curves.png", "heat_maps.png"]
FILES += ["report.html", "surfaces.png"]
SMALL = "--hidden 4 --bias --window 21 --scale none --fraction 4:9 --lr-shift 1:3 --seeds 2"
SOME = ["fixed", "float-forward", "float-backward", "float-update", "float"]


def run(capsys, *arguments):
    """Run the command; return its exit status, its output and its errors."""
    return run_command(capsys, "bottleneck", *map(str, arguments))


def fails(capsys, *arguments):
    """Run a command that must fail with status 2, and return its one line below the progress."""
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.endswith("\n")
    lines = err.splitlines()
    assert [line for line in lines if line.startswith("intmlp")] == lines[-1:]
    assert "Traceback" not in err
    return lines[-1]


@pytest.fixture
def dataset(tmp_path):
    """Return the samples as an .npz file."""
    np.savez(tmp_path / "few.npz", x=SAMPLES.x, y=SAMPLES.labels)
    return tmp_path / "few.npz"


@pytest.fixture
def asked(monkeypatch):
    """Replace the run; return what it was asked for, of which each command adds one."""
    seen = []

    def asked_for(task, samples, grid, **how):
        seen.append((task, samples, grid, how))
        raise ValueError("nothing is trained")

    monkeypatch.setattr(study, "run", asked_for)
    return seen


def test_whole_command(capsys, tmp_path, dataset):
    out = tmp_path / "out"
    arguments = ("--dataset", dataset, *SMALL.split(), "--out", out, "--variants", *SOME)
    status, printed, err = run(capsys, *arguments)
    assert status == 0
    assert "150/150" in err
    assert sorted(path.name for path in out.iterdir()) == FILES
    grid = Grid(SOME, fractions=range(4, 10), lr_shifts=[1, 2, 3], seeds=[0, 1])
    wanted = study.run(TASK, SAMPLES, grid)
    wanted.write_csv(tmp_path / "wanted.csv")
    table = (out / "cells.csv").read_bytes()
    assert table == (tmp_path / "wanted.csv").read_bytes()
    answer = json.loads((out / "answer.json").read_text())
    assert printed.splitlines()[-1] == answer["verdict"]["sentence"]
    assert answer["tolerance"] == 0.01
    assert answer["chance"] == wanted.chance == np.bincount(SAMPLES.labels).max() / 60
    report = (out / "report.html").read_text()
    assert "<html" in report and "few.npz" in report

    # Resumed, it trains nothing again, and all that is asked for beside the table follows.
    with closing(sqlite3.connect(out / "cells.sqlite")) as database, database:
        database.execute("UPDATE cells SET steps = 59 WHERE variant = 'fixed' AND seed = 1")
    arguments = (*arguments[:-5], "fixed", "float")
    of_both = [
        line for line in table.splitlines(True) if line[:6] in (b"varian", b"fixed,", b"float,")
    ]
    assert run(capsys, *arguments, "--resume")[0] == 0
    assert (out / "cells.csv").read_bytes().count(b",59,") == 18
    assert run(capsys, *arguments, "--fresh", "--parquet", "--why")[0] == 0
    assert (out / "cells.csv").read_bytes() == b"".join(of_both)
    assert len(pd.read_parquet(out / "cells.parquet")) == 42
    assert (out / "causes.csv").read_bytes().count(b"\n") == 1 + 42 * 9
    assert [path.name for path in out.glob("causes-*.png")] == ["causes-fixed.png"]


def test_defaults(capsys, tmp_path, asked, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fails(capsys) == "intmlp: nothing is trained"
    [(task, samples, grid, how)] = asked
    assert (task, grid) == (Task(), Grid())
    assert (samples.name, samples.x.shape) == ("mnist-2017", (10_000, 784))
    assert str(how.pop("store")) == "bottleneck/cells.sqlite"
    assert callable(how.pop("progress"))
    assert how == {"fresh": False, "jobs": -1, "dask": None, "why": False}


OPTIONS = {
    "--hidden 30 20": {"hidden": (30, 20)},
    "--activation linear": {"activation": linear()},
    "--activation leaky_relu:3": {"activation": leaky_relu(3)},
    "--bias": {"bias": True},
    "--loss sse": {"loss": "sse"},
    "--rounding half_even": {"rounding": "half_even"},
    "--overflow wrap": {"overflow": "wrap"},
    "--integer-bits 5": {"integer_bits": 5},
    "--init uniform": {"init": uniform()},
    "--init uniform:0.5": {"init": uniform(-0.5, 0.5)},
    "--init normal:0.1": {"init": normal(0.1)},
    "--init raw:500": {"init": normal(500, unit="raw")},
    "--order sorted": {"order": "sorted"},
    "--epochs 3 --batch-size 16": {"epochs": 3, "batch_size": 16},
    "--accuracy test --held-back 25": {"accuracy": "test", "held_back": 0.25},
    "--window 99": {"window": 99},
}


@pytest.mark.parametrize("options, wanted", OPTIONS.items(), ids=OPTIONS)
def test_options_of_the_task(capsys, tmp_path, dataset, asked, options, wanted):
    fails(capsys, "--dataset", dataset, "--out", tmp_path / "out", *options.split())
    assert asked[0][0] == replace(Task(), **wanted)
    options = ["--published", *options.split()]
    fails(capsys, "--dataset", dataset, "--out", tmp_path / "out", *options)
    assert asked[1][0] == replace(Task.published(), **wanted)


PUBLISHED_SEED = 0xDEADBEEC
GRIDS = {
    "--fraction 4:9 --lr-shift -2:-1": Grid(fractions=range(4, 10), lr_shifts=[-2, -1]),
    "--fraction 8 --lr-shift -3": Grid(fractions=[8], lr_shifts=[-3]),
    "--fraction=5:5 --seeds 1": Grid(fractions=[5], seeds=[0]),
    "--variants float fixed": Grid(["fixed", "float"]),
    "--published": Grid.published(),
    "--published --seeds 2": replace(Grid.published(), seeds=[PUBLISHED_SEED, PUBLISHED_SEED + 1]),
    "--published --fraction 9 --variants fixed float": Grid(
        ["fixed", "float"],
        [9],
        seeds=[PUBLISHED_SEED],
        own_ranges={"fixed": ([9], range(5, 20))},
    ),
}


@pytest.mark.parametrize("options, wanted", GRIDS.items(), ids=GRIDS)
def test_options_of_the_grid(capsys, tmp_path, dataset, asked, options, wanted):
    fails(capsys, "--dataset", dataset, "--out", tmp_path / "out", *options.split())
    assert asked[0][2] == wanted


def test_options_of_the_run(capsys, tmp_path, dataset, asked):
    options = "--jobs 3 --dask tcp://h:1 --fresh --why --label y --features x"
    fails(capsys, "--dataset", dataset, "--out", tmp_path / "out", *options.split())
    how = asked[0][3]
    assert (how["jobs"], how["dask"]) == (3, "tcp://h:1")
    assert (how["fresh"], how["why"]) == (True, True)


BAD = {
    "--fraction 9:4": "argument --fraction: must not be empty, got '9:4'",
    "--fraction 4:": "argument --fraction: must be A:B, from A to B inclusive, or A, both in 0..63",
    "--fraction 4:64": "argument --fraction: must be A:B, from A to B inclusive, or A, both in",
    "--fraction x": "argument --fraction: must be A:B, from A to B inclusive, or A, both in 0..63",
    "--lr-shift 5:-5": "argument --lr-shift: must not be empty, got '5:-5'",
    "--lr-shift -5000:2": "argument --lr-shift: must be A:B, from A to B inclusive, or A, both in",
    "--seeds 0": "argument --seeds: must be an integer in 1..1048576, got '0'",
    "--variants flaot": "variants must be among fixed, float-forward",
    "--window 100": "window must be odd, got 100",
    "--activation tanh": "argument --activation: must be relu, linear, or leaky_relu:K with K in",
    "--activation leaky_relu:64": "argument --activation: must be relu, linear, or leaky_relu:K",
    "--init raw": "argument --init: must be uniform, uniform:BOUND, normal:STD or raw:STD, got",
    "--init gamma:1": "argument --init: must be uniform, uniform:BOUND, normal:STD or raw:STD",
    "--init normal:-1": "argument --init: must be uniform, uniform:BOUND, normal:STD or raw:STD",
    "--held-back 100": "held_back must lie between 0 and 1, got 1.0",
    "--tolerance -1": "argument --tolerance: must be a number in 0..100, got '-1'",
    "--tolerance 101": "argument --tolerance: must be a number in 0..100, got '101'",
    "--fresh --resume": "argument --resume: not allowed with argument --fresh",
    "--integer-bits 60": "integer_bits + fraction must be in 2..64, got 60 + 5",
    "--batch-size 16": "window must be at most the number of training steps, 4 (60 samples, batch",
    "--dataset none.csv": "argument --dataset: [Errno 2] No such file",
    "--dataset none.txt": "argument --dataset: the data set must be mnist-2017, digits, mnist,",
    "--dataset digits --folder x": "argument --dataset: folder is an option of mnist, got it with",
}


@pytest.mark.parametrize("arguments, message", BAD.items(), ids=BAD)
def test_bad_arguments(capsys, tmp_path, dataset, arguments, message):
    out = tmp_path / "out"
    given = ("--dataset", dataset, "--window", 21, "--out", out, *arguments.split())
    assert message in fails(capsys, *given)
    assert not (out / "cells.csv").exists()


def test_bad_folder(capsys, tmp_path, dataset):
    (tmp_path / "file").write_text("")
    line = fails(capsys, "--dataset", dataset, "--out", tmp_path / "file" / "out")
    assert line.startswith("intmlp: argument --out: [Errno 20] Not a directory")


def test_damaged_store(capsys, tmp_path, dataset):
    out = tmp_path / "out"
    out.mkdir()
    (out / "cells.sqlite").write_text("no database" * 1000)
    line = fails(capsys, "--dataset", dataset, *SMALL.split(), "--out", out)
    assert line.startswith(f"intmlp: the store {out}/cells.sqlite is damaged (file is not a ")
    assert [path.name for path in out.iterdir()] == ["cells.sqlite"]


def test_interrupt(capsys, tmp_path, dataset, monkeypatch):
    def interrupted(task, samples, grid, progress, **how):
        progress(3, len(grid))
        progress(4, len(grid))
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run", interrupted)
    out = tmp_path / "out"
    status, printed, err = run(capsys, "--dataset", dataset, *SMALL.split(), "--out", out)
    assert (status, printed) == (130, "")
    assert err.splitlines()[-1] == (
        f"intmlp: interrupted: {out}/cells.sqlite keeps 4 of 258 cells, and the same command "
        "trains the others"
    )


def test_without_all_float(capsys, tmp_path, dataset):
    out = tmp_path / "out"
    arguments = ("--dataset", dataset, *SMALL.split(), "--out", out, "--variants", "fixed")
    status, printed, _ = run(capsys, *arguments)
    assert status == 0
    assert printed.splitlines()[-1].startswith("No verdict: it needs the variant 'float'")
    assert sorted(path.name for path in out.iterdir()) == [
        "cells.csv",
        "cells.sqlite",
        "heat_maps.png",
        "surfaces.png",
    ]


def test_all_float_alone(capsys, tmp_path, dataset):
    out = tmp_path / "out"
    arguments = ("--dataset", dataset, *SMALL.split(), "--out", out, "--variants", "float")
    status, printed, _ = run(capsys, *arguments)
    assert status == 0
    missing = "'fixed', 'float-forward', 'float-backward' and 'float-update'"
    assert printed.splitlines()[-1] == f"No part can be named: {missing} were not run."
    assert sorted(path.name for path in out.iterdir()) == [
        "answer.json",
        "cells.csv",
        "cells.sqlite",
        "heat_maps.png",
        "report.html",
    ]


@pytest.mark.parametrize("missing", ["joblib", "rich", "pandas", "matplotlib", "jinja2", "pyarrow"])
def test_what_is_missing_shows_before_the_training(tmp_path, missing):
    arguments = ["bottleneck", "--parquet", "--dataset", "digits", "--out", str(tmp_path / "out")]
    code = f"import sys; sys.modules[{missing!r}] = None; from intmlp.cli import main; "
    done = run_python("INTMLP_BACKEND", f"{code} sys.exit(main({arguments}))")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "intmlp: this command needs the extra 'study': pip install \"intmlp[study]\" "
        f"(there is no module '{missing}')\n"
    )
    assert not (tmp_path / "out").exists()


def test_dask_is_missing(capsys, tmp_path, dataset, monkeypatch):
    monkeypatch.delitem(sys.modules, "intmlp.study.cluster", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    line = fails(
        capsys, "--dataset", dataset, *SMALL.split(), "--dask", "tcp://h:1", "--out", tmp_path / "o"
    )
    assert line.startswith("intmlp: this command needs the extra 'distributed': pip install ")


def test_no_scheduler(capsys, tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    out = tmp_path / "out"
    arguments = ("--dataset", dataset, *SMALL.split(), "--out", out)
    line = fails(capsys, *arguments, "--dask", "tcp://127.0.0.1:9")
    assert line.startswith("intmlp: no Dask scheduler answers at 'tcp://127.0.0.1:9'")


def test_dask(capsys, tmp_path, dataset):
    """The same bytes; and what is observed arrives."""
    with Cluster(tmp_path) as workers:
        workers.add(1)
        arguments = ["--dataset", dataset, *SMALL.split(), "--variants", "fixed", "--why"]
        for name, where in {"there": ["--dask", workers.address], "here": []}.items():
            assert run(capsys, *arguments, *where, "--out", tmp_path / name)[0] == 0
    for file in ("cells.csv", "causes.csv"):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()
