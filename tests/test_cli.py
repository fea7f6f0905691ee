"""The command line: results, exit status, and errors of one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import intmlp
from intmlp.io import datasets
from intmlp.study import mnist2017, plots
from mnist import FILES, openml, stand_in, write_idx
from support import run_command

OUT = ["grid.csv", "heat_map.png", "surface.png"]


def fails(capsys, *arguments):
    """Run a command that must fail with status 2, and return its one line."""
    status, out, err = run_command(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


@pytest.fixture
def quick(monkeypatch):
    """Replace the training by the published grid; return the samples that were to be trained."""
    seen = []

    def train(samples, jobs):
        seen.append(samples)
        return iter(mnist2017.published().items())

    monkeypatch.setattr(mnist2017, "run", train)
    return seen


# --- reproduce --------------------------------------------------------------------------------


def test_default_folder(capsys, tmp_path, monkeypatch, quick):
    monkeypatch.chdir(tmp_path)
    status, out, err = run_command(capsys, "reproduce", "mnist-2017")
    assert status == 0
    assert out.splitlines()[-1] == "240/240 cells equal the published grid"
    assert "100%" in err
    assert sorted(path.name for path in (tmp_path / "mnist-2017").iterdir()) == OUT
    [samples] = quick
    assert samples.images.tobytes() == datasets.load_stream().images.tobytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_files(capsys, tmp_path, quick, suffix):
    stream = datasets.load_stream()
    write_idx(tmp_path, stand_in(stream), 60_000, suffix)
    arguments = ("--mnist", str(tmp_path), "--out", str(tmp_path / "out"))
    assert run_command(capsys, "reproduce", "mnist-2017", *arguments)[0] == 0
    [samples] = quick
    assert samples.images.tobytes() == stream.images.tobytes()
    assert samples.labels.tobytes() == stream.labels.tobytes()


def test_openml(capsys, tmp_path, monkeypatch, quick):
    """Eight samples, since scikit-learn takes half a minute to read 70,000."""
    monkeypatch.setattr(mnist2017, "TRAINING", 5)
    monkeypatch.setattr(mnist2017, "TEST", 3)
    images = np.random.RandomState(0).randint(0, 256, (8, 784)).astype(np.uint8)
    eight = datasets.Dataset(images, np.array([3, 1, 4, 1, 5, 9, 0, 6], np.uint8))
    by_label = np.array([1, 3, 0, 2, 4, 6, 7, 5])
    order = by_label[np.random.RandomState(0xDEADBEEC).permutation(8)]
    with openml(monkeypatch, tmp_path, eight):
        status, _, _ = run_command(
            capsys, "reproduce", "mnist-2017", "--openml", "--out", str(tmp_path / "out")
        )
    assert status == 0
    [samples] = quick
    assert samples.images.tobytes() == images[order].tobytes()
    assert samples.labels.tolist() == eight.labels[order].tolist()


def test_cells_that_differ(capsys, tmp_path, monkeypatch):
    grid = {**mnist2017.published(), (5, 8): 0.25, (19, 23): 0.7390282166049515 + 1e-11}
    monkeypatch.setattr(mnist2017, "run", lambda samples, jobs: reversed(grid.items()))
    status, out, _ = run_command(capsys, "reproduce", "mnist-2017", "--out", str(tmp_path))
    assert status == 1
    assert out.splitlines()[1:] == [
        "lr_shift 5, fraction 8: 0.25, published 0.11914408724132156",
        "lr_shift 19, fraction 23: 0.7390282166149515, published 0.7390282166049515",
        "238/240 cells equal the published grid",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == OUT
    assert "\n5,8,0.25\n" in (tmp_path / "grid.csv").read_text()


def test_bad_mnist_folder(capsys, tmp_path, quick):
    arguments = ("reproduce", "mnist-2017", "--out", str(tmp_path / "out"), "--mnist")
    line = fails(capsys, *arguments, str(tmp_path / "none"))
    assert line == (
        f"intmlp: argument --mnist: the folder {tmp_path}/none must hold {FILES[0]} or "
        f"{FILES[0]}.gz, and has neither\n"
    )
    mnist = stand_in(datasets.load_stream())
    small = datasets.Dataset(mnist.images[59_999:], mnist.labels[59_999:])
    write_idx(tmp_path, small, 1)
    line = fails(capsys, *arguments, str(tmp_path))
    assert "argument --mnist: mnist must have 60000 training and 10000 test samples" in line
    path = tmp_path / FILES[2]
    path.write_bytes(path.read_bytes()[:-1])
    line = fails(capsys, *arguments, str(tmp_path))
    assert line.startswith(f"intmlp: argument --mnist: {path} must have 7840016 bytes")
    assert quick == []
    assert not (tmp_path / "out").exists()


def test_bad_openml(capsys, tmp_path, monkeypatch, quick):
    few = datasets.Dataset(np.zeros((3, 784), np.uint8), np.zeros(3, np.uint8))
    with openml(monkeypatch, tmp_path, few):
        line = fails(capsys, "reproduce", "mnist-2017", "--openml", "--out", str(tmp_path / "out"))
    assert line.startswith("intmlp: argument --openml: mnist must have 60000 training")
    assert line.endswith("got 3 in all\n")
    assert not (tmp_path / "out").exists()


def test_bad_out(capsys, tmp_path, quick):
    (tmp_path / "file").touch()
    line = fails(capsys, "reproduce", "mnist-2017", "--out", str(tmp_path / "file"))
    assert line.startswith("intmlp: argument --out: ")
    assert str(tmp_path / "file") in line
    assert quick == []  # nothing was trained


def test_full_disk(capsys, tmp_path, monkeypatch, quick):
    (tmp_path / "surface.png").write_text("old")

    def save(figure, path):
        with plots.atomic(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(plots, "save", save)
    status, out, err = run_command(capsys, "reproduce", "mnist-2017", "--out", str(tmp_path))
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith("intmlp: argument --out: [Errno 28] No space left")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.csv", "surface.png"]
    assert (tmp_path / "surface.png").read_text() == "old"


def test_interrupt(capsys, tmp_path, monkeypatch):
    def interrupted(samples, jobs):
        yield (5, 8), 0.5
        raise KeyboardInterrupt

    monkeypatch.setattr(mnist2017, "run", interrupted)
    status, out, err = run_command(
        capsys, "reproduce", "mnist-2017", "--out", str(tmp_path / "out")
    )
    assert (status, out) == (130, "")
    assert err.splitlines()[-1] == "intmlp: interrupted"
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_jobs(capsys, tmp_path, monkeypatch):
    seen = []

    def train(samples, jobs):
        seen.append(jobs)
        return iter(mnist2017.published().items())

    monkeypatch.setattr(mnist2017, "run", train)
    run_command(capsys, "reproduce", "mnist-2017", "--out", str(tmp_path))
    run_command(capsys, "reproduce", "mnist-2017", "--out", str(tmp_path), "--jobs", "3")
    assert seen == [-1, 3]


# --- gradcheck --------------------------------------------------------------------------------


def test_gradcheck(capsys, backend):
    status, out, err = run_command(capsys, "gradcheck")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "Gradient against autograd, layers 3-7-7-5, seed 0",
        "float64   Percentage difference: 0.00%",
        "(24, 12)  Percentage difference: 0.14%",
    ]


def test_gradcheck_options(capsys):
    arguments = "gradcheck --sizes 4 6 2 --bits 16 --frac 6 --seed 3 --max-error 100"
    status, out, err = run_command(capsys, *arguments.split())
    assert (status, err) == (0, "")
    error = intmlp.gradcheck.gradient_error((4, 6, 2), intmlp.QFormat(16, 6), 3)
    assert out.splitlines()[0] == "Gradient against autograd, layers 4-6-2, seed 3"
    assert out.splitlines()[2] == f"(16, 6)   Percentage difference: {error:.2%}"


def test_gradcheck_above_the_limit(capsys):
    status, out, err = run_command(capsys, "gradcheck", "--max-error", "0.1")
    assert status == 1
    assert out.count("Percentage difference") == 2
    assert err == "intmlp: (24, 12) is above --max-error 0.1%\n"


def test_gradcheck_of_nothing_finite(capsys, monkeypatch):
    monkeypatch.setattr("intmlp.gradcheck.gradient_error", lambda *_: float("nan"))
    status, _, err = run_command(capsys, "gradcheck")
    assert status == 1
    assert err.splitlines()[0] == "intmlp: float64 is above --max-error 1%"


def test_gradcheck_seeds(capsys):
    status, out, err = run_command(capsys, "gradcheck", "--seeds", "20", "--seed", "5")
    assert (status, err) == (0, "")
    errors = [
        intmlp.gradcheck.gradient_error(fmt=intmlp.QFormat(24, 12), seed=seed)
        for seed in range(5, 25)
    ]
    title, _, floats, fixed = out.splitlines()
    assert title == "Gradient against autograd, layers 3-7-7-5, seeds 5 to 24"
    assert floats.split() == ["float64", "0.00%", "0.00%", "0.00%", "100.0%"]
    assert fixed.split()[2:] == [
        f"{np.median(errors):.2%}",
        f"{np.quantile(errors, 0.9):.2%}",
        f"{max(errors):.2%}",
        f"{np.mean(np.array(errors) < 0.01):.1%}",
    ]


# --- All commands -----------------------------------------------------------------------------

BAD_ARGUMENTS = {
    "": "COMMAND",
    "train": "invalid choice: 'train'",
    "reproduce": "study",
    "reproduce mnist-2018": "argument study: invalid choice: 'mnist-2018'",
    "reproduce mnist-2017 --jobs 0": "argument --jobs: must be an integer in 1..4096, got '0'",
    "reproduce mnist-2017 --openml --mnist x": "argument --mnist: not allowed with argument",
    "gradcheck --bits 65": "argument --bits: must be an integer in 2..64, got '65'",
    "gradcheck --frac -1": "argument --frac: must be an integer in 0..63, got '-1'",
    "gradcheck --frac 1.5": "argument --frac: must be an integer in 0..63, got '1.5'",
    "gradcheck --seed -1": "argument --seed: must be an integer in 0..4294967295, got '-1'",
    "gradcheck --seeds 0": "argument --seeds: must be an integer in 1..4294967296, got '0'",
    "gradcheck --seed 4294967295 --seeds 2": "seed must be in 0..4294967295, got 4294967296",
    "gradcheck --sizes 3": "sizes must have at least 2 entries, got 1",
    "gradcheck --sizes 3 0": "argument --sizes: must be an integer in 1..2147483647, got '0'",
    "gradcheck --max-error -1": "argument --max-error: must be a number of at least 0, got '-1'",
    "gradcheck --max-error nan": "argument --max-error: must be a number of at least 0",
}


@pytest.mark.parametrize("arguments, message", BAD_ARGUMENTS.items(), ids=BAD_ARGUMENTS)
def test_bad_arguments(capsys, arguments, message):
    assert message in fails(capsys, *arguments.split())


def test_debug_shows_the_traceback(capsys):
    status, _, err = run_command(capsys, "gradcheck", "--sizes", "3", "--debug")
    assert status == 2
    assert err.startswith("Traceback")
    assert err.endswith("intmlp: sizes must have at least 2 entries, got 1\n")


def test_info(capsys, backend):
    status, out, err = run_command(capsys, "info")
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"{k}: {v}" for k, v in intmlp.show_config().items()]
    assert f"backend: {backend}\n" in out


def test_version(capsys):
    assert run_command(capsys, "--version") == (0, f"intmlp {intmlp.__version__}\n", "")


EXTRAS = ("sklearn", "matplotlib", "joblib", "rich", "autograd")


def python(code, *arguments):
    """Run code in a process of its own, away from the checkout, which it would import."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).anchor,
        capture_output=True,
        text=True,
        check=False,
    )


def test_bare_install():
    """Importing the package, and `intmlp info`, need NumPy alone."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS}));"
    done = python(f"{blocked} from intmlp.cli import main; sys.exit(main(['info']))")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"version: {intmlp.__version__}\n")


def test_unknown_backend(monkeypatch):
    monkeypatch.setenv("INTMLP_BACKEND", "c:avx9")
    done = python("import sys; from intmlp.cli import main; sys.exit(main(['info']))")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("intmlp: INTMLP_BACKEND must be one of ")
    assert done.stderr.count("\n") == 1 and "'c:avx9'" in done.stderr


@pytest.mark.parametrize(
    "missing, command",
    [
        ("matplotlib", "reproduce mnist-2017"),
        ("joblib", "reproduce mnist-2017"),
        ("rich", "reproduce mnist-2017"),
        ("sklearn", "reproduce mnist-2017 --openml"),
        ("autograd", "gradcheck"),
    ],
)
def test_missing_extra(tmp_path, missing, command):
    code = f"import sys; sys.modules[{missing!r}] = None; from intmlp.cli import main; "
    arguments = [*command.split(), *(["--out", str(tmp_path / "out")] if " " in command else [])]
    done = python(f"{code} sys.exit(main(sys.argv[1:]))", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "intmlp: this command needs the extra 'study': pip install \"intmlp[study]\" "
        f"(there is no module '{missing}')\n"
    )
    assert not (tmp_path / "out").exists()


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "intmlp", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"intmlp {intmlp.__version__}\n"
