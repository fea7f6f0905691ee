"""The core on other machines, under emulation: kernels, byte orders, widths of pointers, models.

    python trust/machines.py [--short]

1. Calls and the oracle's results (tests/vectors.py), compared by tests/c/vectors.c, built for each
   machine of MACHINES; the long form has more of them, and Windows.
2. The installed package on an x86-64 without AVX: what it offers, and `intmlp selftest`. A build
   that does use AVX must die there.
3. Long: Debian's Python and NumPy of PYTHONS, with an extension built for them: `intmlp selftest`
   on every backend, with the bytes of model files, and the tests of model and data files.

`intmlp` is the installed package, and must come from this checkout.
"""

import collections
import importlib.metadata
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from builds import LANGUAGE, SHORT_EFFORT, SHORT_SET, SUITE, copy
from check import CHECKOUT, WORK, command_line, need, read_selftest, record, run

sys.path.insert(0, str(CHECKOUT / "tests"))
import vectors

FOLDER = WORK / "machines"
# Systems hold links to the root of this one, which setuptools would follow out of a checkout.
SYSTEMS = Path(tempfile.gettempdir()) / "intmlp-systems"
SEEDS = {True: [2026], False: [1, 2, 3, 4]}


class Machine(NamedTuple):
    """How the program of the vectors is built and run, and which kernels must serve."""

    build: tuple[str, ...]
    run: tuple[str, ...]
    kernels: dict[str, str]


SCALAR = {"scalar": "f64 i64 i128 wide"}
NEON = {"neon": "i16 f64 i32 i128 wide"}
AVX2 = {"avx2": "i16 i16split f64 i32 i32any i128 wide"}
X86 = ("gcc", "-O1", "-static")
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
    "Windows": Machine(("x86_64-w64-mingw32-gcc", "-O1", "-static"), ("wine",), AVX2 | SCALAR),
}

# --- 1. The program of the vectors --------------------------------------------------------------


def built(machine):
    """Return the program for a machine; machines with the same build share it."""
    compiler, *flags = machine.build
    name = re.sub(r"\W+", "_", " ".join(machine.build))
    to = FOLDER / f"vectors_{name}.exe"  # Windows runs no other
    return vectors.build(compiler, to, *flags)


def compared(name, machine, program, batches):
    """Compare batches of calls on a machine; count the numbers, and which kernels served."""
    isas, numbers, started = collections.defaultdict(collections.Counter), 0, time.monotonic()
    for calls in batches:
        status, served, printed = vectors.compare(program, calls, machine.run)
        agree = re.search(rf"^{len(calls)} calls and (\d+) numbers agree$", printed, re.M)
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


def selftest(python, short=False, **variables):
    """Run the selftest; return how many digests agree, and on which backends."""
    how = ["-c", COMPILED] if short else ["-m", "intmlp", "selftest"]
    found = read_selftest(run(*python, *how, where=FOLDER, **variables))
    return {"digests": found.agreeing, "tested": found.tested, "offered": found.offered}


def without_avx(short, pool):
    """Test the installed package where AVX is an illegal instruction."""
    emulated = ["qemu-x86_64", "-cpu", "Nehalem"]
    # The OpenBLAS that NumPy brings does not recognise this model.
    known = {"OPENBLAS_CORETYPE": "Nehalem"}
    tested = pool.submit(selftest, [*emulated, sys.executable], short, **known)
    flags = "-O1", "-static", "-march=haswell"
    program = vectors.build("gcc", FOLDER / "with_avx", *flags)
    died, _, _ = vectors.compare(program, vectors.products_at_limits(), emulated)
    if died != -signal.SIGILL:
        raise SystemExit(f"a build for AVX ended in {died}, not by SIGILL")
    found = tested.result()
    if [name for name in found["offered"] if name != "python"] != ["c:scalar"]:
        raise SystemExit(f"without AVX {found['offered']} are offered")
    tags = importlib.metadata.distribution("intmlp").read_text("WHEEL")
    return found | {"wheel": re.search(r"^Tag: (.*)$", tags, re.M)[1], "illegal_instruction": True}


# --- 3. Whole Pythons ---------------------------------------------------------------------------


class Python(NamedTuple):
    """A Python of Debian: its architecture, and the names that others give to that."""

    debian: str
    triple: str
    qemu: str
    platform: str
    compiler: tuple[str, ...]


PYTHONS = {
    "aarch64": Python(
        "arm64",
        "aarch64-linux-gnu",
        "qemu-aarch64",
        "manylinux_2_17_aarch64",
        ("aarch64-linux-gnu-gcc", "-O1"),
    ),
    "s390x": Python(
        "s390x",
        "s390x-linux-gnu",
        "qemu-s390x",
        "manylinux_2_17_s390x",
        ("s390x-linux-gnu-gcc", "-O1"),
    ),
    "i386": Python(
        "i386",
        "i386-linux-gnu",
        "qemu-i386",
        "manylinux_2_5_i686",
        ("i686-linux-gnu-gcc", "-O1", *SSE2),
    ),
}
RELEASE, VERSION = "bookworm", "3.11"
FILE_TESTS = ("tests/test_model_files.py", "tests/test_datasets.py")
# The sizes of NumPy's _numpyconfig.h that differ where pointers have 32 bits; all other headers are
# the same everywhere.
NARROW = {
    **dict.fromkeys(("LONG", "PY_INTPTR_T", "INTP", "UINTP"), 4),
    "LONGDOUBLE": 12,
    "COMPLEX_LONGDOUBLE": 24,
}


def unpacked(python):
    """Return a folder with Debian's Python and NumPy of an architecture."""
    root = SYSTEMS / f"root_{python.debian}"
    if not root.exists():
        archive = SYSTEMS / f"packages_{python.debian}"
        fetch = ["debootstrap", "--download-only", f"--arch={python.debian}", "--variant=minbase"]
        run(*fetch, "--include=python3,python3-dev,python3-numpy", RELEASE, archive)
        partial = root.with_suffix(".partial")
        for package in sorted(archive.glob("var/cache/apt/archives/*.deb")):
            run("dpkg", "-x", package, partial)
        partial.rename(root)
    return root


def extended(name, python, root, source):
    """Return a folder with the package for a Python, its extension, and what else it imports."""
    folder = FOLDER / f"package_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    # NumPy is Debian's; these are for the machine, or for any.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder]
    pip += ["--python-version", VERSION, "--only-binary=:all:", "--platform"]
    run(*pip, python.platform, "--no-deps", "safetensors")
    run(*pip, "any", "pytest>=8", "hypothesis", "joblib", "rich")
    headers = folder / "headers"
    shutil.copytree(np.get_include(), headers)
    if "i386" in python.triple:
        config = headers / "numpy" / "_numpyconfig.h"
        text = config.read_text()
        for size, value in NARROW.items():
            text, count = re.subn(rf"(NPY_SIZEOF_{size}) \d+", rf"\1 {value}", text)
            assert count == 1, size
        config.write_text(text)
    package = folder / "intmlp"
    shutil.copytree(CHECKOUT / "intmlp", package, ignore=shutil.ignore_patterns("*.so", "_core.c"))
    sources = [source, *sorted((CHECKOUT / "src").glob("*/*.c"))]
    include = [CHECKOUT / "src", headers, root / f"usr/include/python{VERSION}"]
    tag = f"cpython-{VERSION.replace('.', '')}-{python.triple}"
    flags = ["-fPIC", "-shared", "-DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION", "-pthread"]
    flags += [f"-I{path}" for path in (*include, root / "usr/include")]
    to = package / "_backend" / f"_core.{tag}.so"
    run(*python.compiler, *LANGUAGE, *flags, *sources, "-lm", "-o", to)
    return folder


def whole_python(name, python, source):
    """Test the package on the Python of a machine."""
    root = unpacked(python)
    folder = extended(name, python, root, source)
    libraries = [root / "usr/lib" / python.triple / part for part in ("blas", "lapack")]
    environment = {
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "PYTHONPATH": str(folder),
        "INTMLP_TEST_EFFORT": SHORT_EFFORT,
    }
    given = [word for variable in environment.items() for word in ("-E", "=".join(variable))]
    emulated = [python.qemu, "-L", root, *given, root / f"usr/bin/python{VERSION}"]
    found = selftest(emulated)
    if found["offered"] != found["tested"]:
        raise SystemExit(f"{name}: {found['tested']} are tested of {found['offered']}")
    pytest = ["-m", "pytest", "-q", "-x", *SHORT_SET, *FILE_TESTS]
    pytest += ["-k", "not fetch_mnist and not openml"]  # they need scikit-learn
    tests = run(*emulated, *pytest, where=WORK / "suite")
    passed = int(re.search(r"(\d+) passed", tests)[1])
    print(f"Python on {name}: {found['digests']} digests, {passed} tests", flush=True)
    return found | {"tests": passed}


def whole_pythons(pool):
    """Test the package on the Pythons of other machines."""
    need("debootstrap", "dpkg", *(python.qemu for python in PYTHONS.values()))
    copy(SUITE, WORK / "suite")
    source = FOLDER / "_core.c"
    binding = CHECKOUT / "intmlp/_backend/_core.pyx"
    run(sys.executable, "-m", "cython", "-3", binding, "-o", source)
    found = {name: pool.submit(whole_python, name, one, source) for name, one in PYTHONS.items()}
    return {name: one.result() for name, one in found.items()}


def main():
    """Run the check."""
    short = command_line(__doc__, "fewer calls, and no Pythons of their own").parse_args().short
    for folder in (FOLDER, SYSTEMS):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"WINEPREFIX": str(SYSTEMS / "wine"), "WINEDEBUG": "-all"}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = all_vectors(short, pool) | {"without_avx": without_avx(short, pool)}
        if not short:
            found["pythons"] = whole_pythons(pool)
    record("machines", short, **found)


if __name__ == "__main__":
    main()
