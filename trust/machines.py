"""The core on other machines, under emulation: kernels, byte orders, widths of pointers, models.

    python trust/machines.py [--short]

1. Calls and the oracle's results (tests/vectors.py), compared by tests/c/vectors.c, built for each
   machine of MACHINES; the long form has more of them, and Windows.
2. The installed package on an x86-64 without AVX: what it offers, and `intmlp selftest`. A build
   that does use AVX must die there.

`intmlp` is the installed package, and must come from this checkout.
"""

import collections
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from record import CHECKOUT, WORK, record

sys.path.insert(0, str(CHECKOUT / "tests"))
import vectors

FOLDER = WORK / "machines"
SEEDS = {True: [2026], False: list(range(1, 13))}


class Machine(NamedTuple):
    """How the program of the vectors is built and run, and which kernels must serve."""

    build: tuple[str, ...]
    run: tuple[str, ...]
    kernels: dict[str, str]


SCALAR = {"scalar": "f64 i64 i128 wide"}
NEON = {"neon": "i16 f64 i32 i128 wide"}
AVX2 = {"avx2": "i16 i16split f64 i32 i32any i128 wide"}
X86 = ("gcc", "-O2", "-static")
SSE2 = ("-msse2", "-mfpmath=sse")

MACHINES = {
    "aarch64": Machine(
        ("aarch64-linux-gnu-gcc", "-O1", "-static"),
        ("qemu-aarch64", "-cpu", "cortex-a53"),
        NEON | SCALAR,
    ),
    "s390x, big-endian": Machine(
        ("s390x-linux-gnu-gcc", "-O1", "-static"), ("qemu-s390x",), SCALAR
    ),
    "i686, 32 bits": Machine(
        ("i686-linux-gnu-gcc", "-O1", "-static", *SSE2),
        ("qemu-i386",),
        {"scalar": "f64 i64 wide"},
    ),
    "x86-64 without AVX": Machine(X86, ("qemu-x86_64", "-cpu", "Nehalem"), SCALAR),
    "x86-64 with AVX2": Machine(X86, ("qemu-x86_64", "-cpu", "Haswell"), AVX2 | SCALAR),
}
LONG_MACHINES = {
    "Windows": Machine(("x86_64-w64-mingw32-gcc", "-O2", "-static"), ("wine",), AVX2 | SCALAR),
}

# Where each program comes from, by its name or the end of it.
PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    "s390x-linux-gnu-gcc": "gcc-s390x-linux-gnu libc6-dev-s390x-cross",
    "i686-linux-gnu-gcc": "gcc-i686-linux-gnu libc6-dev-i386-cross",
    "x86_64-w64-mingw32-gcc": "gcc-mingw-w64-x86-64",
    "wine": "wine wine64",
}


def need(*programs):
    """Stop where a program is missing, and name the package that has it."""
    for name in programs:
        if shutil.which(name) is None:
            package = PACKAGES.get(name, "qemu-user" if name.startswith("qemu") else name)
            raise SystemExit(f"{name} is not installed: apt-get install {package}")


def run(command, **options):
    """Run a command; return its output, and stop with all that it printed where it fails."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ends in {done.returncode}\n{done.stdout}")
    return done.stdout


# --- 1. The program of the vectors --------------------------------------------------------------


def built(machine):
    """Return the program for a machine; machines with the same build share it."""
    compiler, *flags = machine.build
    to = FOLDER / re.sub(r"\W+", "_", "vectors " + " ".join(machine.build))
    return vectors.build(compiler, to, *flags)


def compared(name, machine, program, batches):
    """Compare batches of calls on a machine; count the numbers, and which kernels served."""
    isas, numbers, started = collections.defaultdict(collections.Counter), 0, time.monotonic()
    for calls in batches:
        status, served, printed = vectors.compare(program, calls, machine.run)
        agree = re.search(r"^\d+ calls and (\d+) numbers agree$", printed, re.M)
        if status or not agree:
            raise SystemExit(f"{name} ends in {status}\n{printed}")
        numbers += int(agree[1])
        for isa, kernels in served.items():
            isas[isa].update(kernels)
    for isa, kernels in machine.kernels.items():
        for kernel in kernels.split():
            if not isas[isa][kernel]:
                raise SystemExit(f"{name}: the kernel {kernel} of {isa} never served")
    print(f"{name}: {numbers} numbers agree in {time.monotonic() - started:.0f} s", flush=True)
    return {"numbers": numbers, "isas": isas}


def all_vectors(short, pool):
    """Compare on every machine."""
    machines = MACHINES if short else MACHINES | LONG_MACHINES
    need(*{machine.build[0] for machine in machines.values()})
    need(*{machine.run[0] for machine in machines.values()})
    builds = {machine.build: pool.submit(built, machine) for machine in machines.values()}
    batches = [vectors.calls(seed) for seed in SEEDS[short]]
    count = sum(map(len, batches))
    print(f"{count} calls of {len(batches)} seeds", flush=True)
    found = {
        name: pool.submit(compared, name, machine, builds[machine.build].result(), batches)
        for name, machine in machines.items()
    }
    return {"calls": count, "machines": {name: one.result() for name, one in found.items()}}


# --- 2. The installed package without AVX -------------------------------------------------------

# `intmlp selftest`, on the compiled backends alone in the short form: Python under emulation takes
# minutes.
COMPILED = """
import sys
from intmlp import _backend, cli
names = _backend.available()
_backend.available = lambda: names[:-1]
sys.exit(cli.main(["selftest"]))
"""
AGREE = re.compile(r"(\d+) of \1 digests agree on (.*), in")


def selftest(python, short=False, **options):
    """Run the selftest; return how many digests agree, and on which backends."""
    how = ["-c", COMPILED] if short else ["-m", "intmlp", "selftest"]
    printed = run([*python, *how], cwd=FOLDER, **options)
    agree = AGREE.search(printed)
    if not agree:
        raise SystemExit(printed)
    offered = re.search(r"^backends: (.*)$", printed, re.M)[1]
    tested = agree[2].split(", ")
    return {"digests": int(agree[1]), "tested": tested, "offered": offered.split()}


def without_avx(short, pool):
    """Test the installed package where AVX is an illegal instruction."""
    emulated = ["qemu-x86_64", "-cpu", "Nehalem"]
    # The OpenBLAS that NumPy brings does not recognise this model.
    known = {**os.environ, "OPENBLAS_CORETYPE": "Nehalem"}
    tested = pool.submit(selftest, [*emulated, sys.executable], short, env=known)
    flags = "-O1", "-static", "-march=haswell"
    program = vectors.build("gcc", FOLDER / "with_avx", *flags)
    died, _, _ = vectors.compare(program, vectors.products_at_limits(), emulated)
    if died != -signal.SIGILL:
        raise SystemExit(f"a build for AVX ended in {died}, not by SIGILL")
    found = tested.result()
    if found["offered"] != ["c:scalar", "python"]:
        raise SystemExit(f"without AVX {found['offered']} are offered")
    tags = importlib.metadata.distribution("intmlp").read_text("WHEEL")
    return found | {"wheel": re.search(r"^Tag: (.*)$", tags, re.M)[1], "illegal_instruction": True}


def main(short):
    """Run the check."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.environ |= {"WINEPREFIX": str(FOLDER / "wine"), "WINEDEBUG": "-all"}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = all_vectors(short, pool) | {"without_avx": without_avx(short, pool)}
    record("machines", short, **found)


if __name__ == "__main__":
    main(sys.argv[1:] == ["--short"])
