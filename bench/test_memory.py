"""The memory that training takes beyond the data: bounded, whatever the number of samples."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from timing import QUICK

SIZES = (784, 1000, 1000, 10)
LIMIT = 3 * 4 * sum(a * b for a, b in pairwise(SIZES)) + 64 * 2**20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize("samples", [640, 1280] if QUICK else [3_000, 30_000])
def test_peak(benchmark, samples):
    script = Path(__file__).with_name("training_peak.py")
    grown = []

    def ours():
        arguments = [str(n) for n in (samples, *SIZES)]
        done = subprocess.run([sys.executable, script, *arguments], capture_output=True, check=True)
        grown.append(int(done.stdout))

    benchmark.pedantic(ours, rounds=1)
    benchmark.extra_info.update(
        table="memory",
        work=f"784-1000-1000-10, 24 bits, {samples:,} samples of float32",
        threads=1,
        ours=grown,
        at_most=LIMIT,
    )
