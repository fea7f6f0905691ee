"""The program that compares the core with the oracle on other machines, on this one.

trust/machines.py builds and runs it for the others.
"""

import shutil
import subprocess

import pytest

import vectors
from intmlp import _backend
from support import BACKENDS, PURE

pytestmark = pytest.mark.skipif(
    not (vectors.CHECKOUT / "setup.py").exists() or PURE or shutil.which("gcc") is None,
    reason="needs the source tree, a compiled core and gcc",
)


@pytest.fixture(scope="module")
def calls():
    """Return the name and the text of every call."""
    return vectors.calls(2026)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Return the program for this machine."""
    return vectors.build("gcc", tmp_path_factory.mktemp("here") / "vectors", "-O0")


def test_every_kernel_serves_and_agrees(program, calls):
    status, served, printed = vectors.compare(program, calls)
    assert status == 0, printed
    before = _backend.active_name()
    for backend in BACKENDS[:-1]:  # the last one is Python
        _backend.use(backend)
        kernels = served.pop(backend.removeprefix("c:"))
        assert tuple(kernels) == _backend.active().matmul_kernels()
        assert all(kernels.values()), kernels
    _backend.use(before)
    assert not served
    assert f"{len(calls)} calls and" in printed


@pytest.mark.parametrize("kind", ["quantize", "dequantize", "requantize", "product", "network"])
def test_a_changed_bit_is_noticed(kind, program, calls):
    """In the last result of the last call of each kind."""
    name, rest = next(call for call in reversed(calls) if call[0] == kind)
    *words, last = rest.split()
    status, _, printed = vectors.compare(program, [(name, " ".join([*words, str(int(last) ^ 1)]))])
    assert status == 1 and "differs" in printed


def test_floats_that_round_twice_are_refused():
    """Those of the x87, which 32-bit x86 computes with unless told otherwise."""
    run = subprocess.run(
        ["gcc", *vectors.FLAGS, "-mfpmath=387", "-fsyntax-only", "src/cpu/scalar.c"],
        cwd=vectors.CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert run.returncode and "float64 must be computed as float64" in run.stderr
