"""How many instructions the hot paths take: numbers that do not drift with the machine.

callgrind counts what runs of scalar code and AVX2, which valgrind emulates; a call's operands
are packed, multiplied and rounded within its count. It does not emulate AVX-512: there the
instructions of the tiles' innermost loops are counted in the disassembly. The limits are what
gcc 12 makes, with about 5 % more. One that must rise says what that bought: a tile's prefetch of
its rows, up to a quarter of the time of products of some megabytes; a choice of one more rounding,
of accumulators and of momentum, some instructions of a row of a product and of a block.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import intmlp
from support import BACKENDS, PURE

pytestmark = pytest.mark.skipif(
    PURE or not re.search(r"\bgcc\b", intmlp.show_config()["build"]),
    reason="the limits are those of a core that gcc compiled",
)


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


# Counted by callgrind: instructions of one operation ----------------------------------------------

LIMITS = {
    "c:avx2": {
        "i16 multiply-add": 0.62,
        "i16split multiply-add": 1.06,
        "f64 multiply-add": 1.20,
        "i32 multiply-add": 1.56,
        "i32any multiply-add": 2.16,
        "i128 multiply-add": 8.8,
        "wide multiply-add": 16.2,
        "requantize int32": 2.4,
        "requantize int64": 5.5,
        "mini-batch step": 7_250_000,
        "online step": 21_000,
        "fixed-fixed-float step": 27_200,
        "fixed-float-fixed step": 22_900,
        "fixed-float-float step": 26_900,
        "float-fixed-fixed step": 25_700,
        "float-fixed-float step": 26_500,
        "float-float-fixed step": 18_400,
        "float-float-float step": 17_000,
    },
    "c:scalar": {
        "f64 multiply-add": 3.4,
        "i64 multiply-add": 5.8,
        "i128 multiply-add": 8.7,
        "wide multiply-add": 16.0,
        "requantize int32": 7.0,
        "requantize int64": 19.3,
        "mini-batch step": 38_500_000,
        "online step": 54_400,
        "fixed-fixed-float step": 57_400,
        "fixed-float-fixed step": 53_200,
        "fixed-float-float step": 57_000,
        "float-fixed-fixed step": 58_800,
        "float-fixed-float step": 46_900,
        "float-float-fixed step": 38_800,
        "float-float-float step": 33_300,
    },
}

COUNTED = ("im_matmul", "im_requantize", "im_train")
START = "im_set_threads"  # the driver calls it right before each of them


def dumps(directory):
    """Yield the function that each dump of callgrind ended with, and its instructions, in order."""
    files = directory.glob("count.*")
    for file in sorted(files, key=lambda path: int(path.suffix[1:])):
        text = file.read_text()
        after = re.search(r"^desc: Trigger: --dump-after=(\w+)$", text, re.MULTILINE)
        total = re.search(r"^totals: (\d+)$", text, re.MULTILINE)
        yield after[1], int(total[1])


@pytest.mark.parametrize("backend", LIMITS)
def test_counts_of_calls(backend, tmp_path):
    need("valgrind")
    if backend not in BACKENDS:
        pytest.skip(f"{backend} is not here")
    run = subprocess.run(
        [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={tmp_path / 'count'}",
            *(f"--dump-after={name}" for name in (START, *COUNTED)),
            sys.executable,
            Path(__file__).with_name("hot_paths.py"),
            backend,
        ],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        cwd=tmp_path.anchor,  # where no package lies that would be imported instead
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    printed = [line.split(" ", 1) for line in run.stdout.splitlines()]
    counts = [count for name, count in dumps(tmp_path) if name != START]
    per_operation = {
        name: count / int(operations)
        for (operations, name), count in zip(printed, counts, strict=True)
    }
    limits = LIMITS[backend]
    assert per_operation.keys() == limits.keys()
    assert all(count > 0.5 * limits[name] for name, count in per_operation.items()), per_operation
    above = {name: count for name, count in per_operation.items() if count > limits[name]}
    assert not above, f"{backend}: above the limits {limits}: {above}"


# Counted in the disassembly: the innermost loop of each tile for AVX-512 ------------------------

# Instructions of the loop, and how many of them multiply.
LOOPS = {
    "i8_tile8x3": (46, 24),
    "i16_tile8x3": (41, 24),
    "i16madd_tile8x3": (66, 24),
    "i16any_tile4x3": (64, 36),
    "i24_tile4x2": (48, 24),
    "i24x16_tile4x3": (44, 24),
    "i16x24_tile4x3": (44, 24),
    "f64_tile8x3": (47, 24),
    "i32_tile8x3": (66, 24),
    "i32any_tile4x3": (88, 36),
}
MULTIPLIES = ("vpdpbusd", "vpdpwssd", "vpmaddwd", "vpmuldq", "vfmadd231pd")


def functions(library):
    """Return, for each tile of vectors of 512 bits, its instructions: address, name, operands."""
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for name, body in re.findall(r"^\w+ <(\w+_tile\dx\d)>:\n((?:.+\n)+)", listing, re.MULTILINE):
        if "%zmm" in body:
            lines = re.findall(r"^ *(\w+):\t(\S+) *(.*)$", body, re.MULTILINE)
            found[name] = [(int(at, 16), op, rest) for at, op, rest in lines]
    return found


def innermost_loop(function):
    """Return the shortest stretch that ends in a jump to its start, and multiplies."""
    start_of = {at: i for i, (at, _, _) in enumerate(function)}
    loops = []
    for i, (at, op, operands) in enumerate(function):
        target = re.match(r"[0-9a-f]+(?= <)", operands) if op.startswith("j") else None
        first = start_of.get(int(target[0], 16)) if target else None
        if first is not None and function[first][0] <= at:
            loop = [(op, operands) for _, op, operands in function[first : i + 1]]
            if any(op in MULTIPLIES for op, _ in loop):
                loops.append(loop)
    return min(loops, key=len)


def test_counts_of_avx512_loops():
    need("objdump")
    core = sys.modules["intmlp._backend._core"].__file__
    found = functions(core)
    if not found:
        pytest.skip("the core has no symbols, or no AVX-512")
    kernels = {name.split("_")[0] for name in found}
    assert kernels == {name.split("_")[0] for name in LOOPS}
    for name, (most, multiplies) in LOOPS.items():
        loop = innermost_loop(found[name])
        where = f"{name}: {loop}"
        assert sum(op in MULTIPLIES for op, _ in loop) == multiplies, where
        assert len(loop) <= most, where
        # An accumulator that is spilled is stored.
        assert not [op for op, operands in loop if "mov" in op and operands.endswith(")")], where
