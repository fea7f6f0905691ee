"""What the machine can do: the ceilings of the roofline."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from timing import QUICK

SECONDS = 0.05 if QUICK else 0.2


def test_bandwidth(benchmark):
    """Bytes a second that one core reads and writes, by a copy far larger than its caches."""
    a, b = (np.ones(2**24 if QUICK else 2**27, np.uint8) for _ in range(2))
    benchmark.pedantic(lambda: np.copyto(b, a), rounds=9, warmup_rounds=1)
    rates = [2 * a.nbytes / seconds / 1e9 for seconds in benchmark.stats.stats.data]
    benchmark.extra_info.update(table="machine", work="copy", unit="GB/s", ours=rates)


@pytest.fixture(scope="module")
def peak(tmp_path_factory):
    """Return the compiled peak.c, or skip."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("peak") / "peak.so"
    source = Path(__file__).with_name("peak.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.peak.restype = ctypes.c_double
    loaded.peak.argtypes = [ctypes.c_char_p, ctypes.c_double]
    return loaded.peak


@pytest.mark.parametrize(
    "instruction",
    [
        "vpdpbusd, 512 bits",
        "vpdpwssd, 512 bits",
        "vpmadd52luq, 512 bits",
        "vpmuldq + vpaddq, 512 bits",
        "vpmaddwd + vpaddd, 256 bits",
        "vpmuldq + vpaddq, 256 bits",
    ],
)
def test_multiply(benchmark, peak, instruction):
    """Multiply-accumulates a second of one instruction that waits for nothing."""
    rates = [peak(instruction.encode(), SECONDS) / 1e9 for _ in range(1 if QUICK else 5)]
    if rates[0] == 0:
        pytest.skip(f"this processor has no {instruction}")
    benchmark.pedantic(lambda: peak(instruction.encode(), SECONDS), rounds=1)
    benchmark.extra_info.update(table="machine", work=instruction, unit="GMAC/s", ours=rates)
