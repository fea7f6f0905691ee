"""Every compiler and flag gives the same integers, without a warning."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import BACKENDS

CHECKOUT = Path(__file__).resolve().parents[1]
DIGEST = Path(__file__).with_name("digest.py")

VARIANTS = {
    "gcc -O0": ("gcc", "-O0"),
    "gcc -O3": ("gcc", "-O3"),
    "gcc without a 128-bit integer": ("gcc", "-O3 -DIM_NO_INT128"),
    "clang -O0": ("clang", "-O0"),
    "clang -O3": ("clang", "-O3"),
}

pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "setup.py").exists() or os.environ.get("INTMLP_BACKEND") == "python",
    reason="needs the source tree and a compiled core",
)


def digest(backend, **environment):
    """Return the digest of `backend` in a fresh process."""
    run = subprocess.run(
        [sys.executable, "-W", "error", DIGEST, backend],
        env={**os.environ, **environment},
        cwd=DIGEST.anchor,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.fixture(scope="module")
def expected():
    """Return the digest of the fallback, which no compiler touches."""
    return digest("python")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_build_gives_the_same_integers(variant, expected, tmp_path):
    compiler, flags = VARIANTS[variant]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    for part in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / part, tmp_path)
    for part in ("src", "intmlp"):
        shutil.copytree(CHECKOUT / part, tmp_path / part, ignore=shutil.ignore_patterns("*.so"))
    build = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=tmp_path,
        env={**os.environ, "CC": compiler, "LDSHARED": f"{compiler} -shared", "CFLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert build.returncode == 0, build.stdout
    assert flags in build.stdout, build.stdout
    assert "warning:" not in build.stdout, build.stdout
    environment = {"PYTHONPATH": str(tmp_path)}
    for backend in BACKENDS[:-1]:  # the last one is Python
        assert digest(backend, **environment) == expected, backend


def test_the_digest_notices_one_changed_integer(expected, tmp_path):
    """A build whose rounding differs at ties alone has another digest."""
    package = tmp_path / "intmlp"
    shutil.copytree(CHECKOUT / "intmlp", package, ignore=shutil.ignore_patterns("*.so"))
    arith = package / "_backend" / "fallback" / "arith.py"
    text = arith.read_text()
    broken = text.replace("up = half & (sticky | ((q & 1) != 0))", "up = half & sticky")
    assert broken != text
    arith.write_text(broken)
    environment = {"PYTHONPATH": str(tmp_path), "INTMLP_BACKEND": "python"}
    assert digest("python", **environment) != expected
