"""The core under the sanitizers of its compilers, and under valgrind: nothing is found.

    python trust/sanitizers.py [--short]

address   a build with the address and the undefined-behaviour sanitizer: calls of every kind give
          the digest of the fallback, and nothing that the core allocated is lost; then the test
          suite over every backend (its short set), or CORE of it in the short form
threads   tests/c/threads.c under the thread sanitizer: products shared out among threads, by
          several callers at once, and networks that are trained side by side
memory    calls with the oracle's results (tests/vectors.py) under valgrind, which sees reads of
          what was never written; it has AVX2, but not AVX-512
implicit  the same calls on a build by clang with these sanitizers, and that of implicit
          conversions (long form)

Each is shown to see the faults of PLANTS, each in a copy of one file of the core.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from builds import FORKS, LANGUAGE, ON_ALL, build, copy, read_results, suite
from check import CHECKOUT, WORK, backends, command_line, need, record, run

sys.path.insert(0, str(CHECKOUT / "tests"))
import vectors

FOLDER = WORK / "sanitizers"
FOUND = FOLDER / "found"  # what the sanitizers write

# Tests of everything that the core computes, together: the short form.
CORE = (
    *("test_together.py", "test_packed_weights.py", "test_plain.py"),
    "test_online.py::test_shift_of_a_step",
)

# Tests that start other processes, into which the library of the sanitizer would be loaded, too,
# and that which forks beside threads.
ELSEWHERE = {
    "tests/test_report.py": "a browser",
    "tests/test_examples.py": "the kernels of notebooks",
    "tests/test_cluster.py": "the workers of a cluster",
    "tests/test_bottleneck.py": "the processes of a study",
    "tests/test_study.py::test_the_fallback_trains_in_processes": "those of the published grid",
    "tests/test_instruction_counts.py": "valgrind",
    "tests/test_memory.py::test_without_memory": "programs with little memory",
    FORKS: "forks beside threads",
}

READABLE = ("-O1", "-g1", "-fno-omit-frame-pointer")
# Python's own flags have -fwrapv, and CFLAGS come after them.
ADDRESS = (
    *(*READABLE, "-fno-wrapv", "-fsanitize=address,undefined,float-cast-overflow"),
    *("-fno-sanitize-recover=all", "-DIM_ADDRESS_SANITIZER"),
)
IMPLICIT = (*ADDRESS, "-fsanitize=implicit-conversion")
THREAD = (*READABLE, "-fsanitize=thread")

# Call frames beyond the one that allocates are not looked at: all of them are called by Python.
LEAKS = "detect_leaks=1:malloc_context_size=2"
SUPPRESSED = CHECKOUT / "trust" / "leaks.txt"
BEYOND = "WARNING: AddressSanitizer failed to allocate"  # more than there is, which is no finding
VALGRIND = ("valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full")


class Plant(NamedTuple):
    """A fault: what it is, its file, what stands there, what is put in its place, what is said."""

    what: str
    file: str
    right: str
    wrong: str
    seen: str


PLANTS = {
    "address": (
        Plant(
            "an overrun of one entry on the heap",
            "src/arith/arrays.c",
            "size(elem), n, frac",
            "size(elem), n + 1, frac",
            "heap-buffer",
        ),
        Plant(
            "an overrun of a tensor within its block",
            "src/net/train.c",
            "Z = im_own(work, count",
            "Z = im_own(work, count - 1",
            "-poison",
        ),
        Plant(
            "a signed overflow",
            "src/cpu/threads.c",
            "int n = ",
            "int n = 0x7fffffff + ",
            "signed integer overflow",
        ),
        Plant(
            "lost memory",
            "src/cpu/threads.c",
            "_threads = n;",
            "_threads = n; void* volatile p = malloc(9); p = NULL;",
            "LeakSanitizer",
        ),
    ),
    "threads": (
        Plant(
            "a race that changes no result",
            "src/cpu/threads.c",
            "  work(context, 0)",
            "  work(context, 1), work(context, 0)",
            "data race",
        ),
        Plant(
            "counts that threads add up at once",
            "src/net/observe.c",
            "work->scratch.threads = 1;",
            "",
            "data race",
        ),
        Plant(
            "memory that several callers take at once",
            "src/gemm/gemm.c",
            "  if (im_take(&spare_token)) {",
            "  if (true) {",
            "data race",
        ),
    ),
    "memory": (
        Plant(
            "memory that was never written",
            "src/net/train.c",
            "calloc(work->used + PIECE - 1, 1)",
            "malloc(work->used + PIECE)",
            "uninit",
        ),
    ),
    "implicit": (
        Plant(
            "a conversion that loses bits",
            "src/arith/arrays.c",
            "  isa->loops->quantize(v",
            "  volatile char x = 300 + n; isa->loops->quantize(v",
            "implicit conversion",
        ),
    ),
}

# What the faults of `address` are in the way of.
CALLS = """
import numpy, intmlp
intmlp.set_num_threads(2)
intmlp.get_num_threads()
fmt = intmlp.QFormat(16, 8)
intmlp.dequantize(numpy.zeros(40, numpy.int32), fmt)
x = numpy.zeros((8, 5))
intmlp.MLP([5, 4, 5], fmt).train(x, x, 4, batch_size=4)
"""


# --- Builds ---------------------------------------------------------------------------------------


def compiled(folder, cc, flags, source, to):
    """Compile one file of a copy of the sources, in the language of setup.py."""
    to.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [cc, *LANGUAGE, *flags, "-fPIC", "-pthread", "-w", "-Isrc", "-c", source, "-o", to],
        cwd=folder,
        check=True,
    )


def core(name, cc, flags):
    """Compile the core and the programs of tests/c; return the folder, laid out as by setup.py."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    copy(("src", "tests/c"), folder)
    paths = sorted((*folder.glob("src/*/*.c"), *folder.glob("tests/c/*.c")))
    sources = [path.relative_to(folder) for path in paths]

    def compile_one(source):
        compiled(folder, cc, flags, source, (folder / "build" / "core" / source).with_suffix(".o"))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, sources))
    return folder


def linked(folder, cc, flags, caller, to, plant=None):
    """Link the core with what calls it, with a fault where one is given; return where it is."""
    objects = [*folder.glob("build/*/src/*/*.o"), *folder.glob(f"build/*/{caller}.o")]
    if plant:
        right = folder / plant.file
        text = right.read_text(encoding="utf-8")
        if text.count(plant.right) != 1:
            sys.exit(f"{plant} has no place, or more than one")
        wrong, planted = right.with_name("planted.c"), folder / "planted.o"
        head = "#include <stdlib.h>\n" if "malloc" in plant.wrong else ""
        wrong.write_text(head + text.replace(plant.right, plant.wrong), encoding="utf-8")
        compiled(folder, cc, flags, wrong, planted)
        wrong.unlink()
        place = Path(plant.file).with_suffix(".o").parts[-2:]
        objects = [planted, *(o for o in objects if o.parts[-2:] != place)]
    shared = ("-shared",) if caller.startswith("intmlp") else ()
    to.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([cc, *flags, *shared, *objects, "-lm", "-pthread", "-o", to], check=True)
    return to


# --- Runs -----------------------------------------------------------------------------------------


def clean(what, status, printed=""):
    """Stop where a run has failed, or a sanitizer has written anything."""
    lines = [
        line for path in FOUND.iterdir() for line in path.read_text(errors="replace").split("\n")
    ]
    found = "\n".join(line for line in lines if line and BEYOND not in line)
    if status or found:
        sys.exit(f"{printed}{found}\n{what} ends with {status}")
    print(f"{what}: nothing is found", flush=True)


def seen(what, plant, printed):
    """Stop where a fault was not seen."""
    printed += "".join(path.read_text(errors="replace") for path in FOUND.iterdir())
    if plant.seen not in printed:
        sys.exit(f"{printed}\n{what} does not see {plant}")
    for path in FOUND.iterdir():
        path.unlink()
    print(f"{what} sees: {plant.what}", flush=True)


def sanitized(folder, options="detect_leaks=0"):
    """Return the environment in which Python runs with a build of the address sanitizer.

    NumPy keeps freed arrays of less than a KiB for others of the same size: overruns of these are
    seen, their use after they were freed is not.
    """
    # With that of C++, or the sanitizer would not know how extensions of others throw.
    libraries = [run("gcc", f"-print-file-name=lib{name}") for name in ("asan.so", "stdc++.so.6")]
    return {
        "LD_PRELOAD": " ".join(map(str.strip, libraries)),
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(folder),
        # What is asked for beyond all memory is to be a MemoryError.
        "ASAN_OPTIONS": f"{options}:allocator_may_return_null=1:log_path={FOUND}/address",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={FOUND}/undefined",
        "LSAN_OPTIONS": f"suppressions={SUPPRESSED}:print_suppressions=0",
    }


def python(environment, *arguments):
    """Run Python where no package lies that would be imported instead."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def address(short):
    """Run calls of every kind, and the tests."""
    folder = build("address", cflags=" ".join(ADDRESS))
    module = "intmlp/_backend/_core"
    for plant in PLANTS["address"]:
        planted = FOLDER / "planted"
        shutil.rmtree(planted, ignore_errors=True)
        shutil.copytree(folder / "intmlp", planted / "intmlp")
        library = planted / (module + sysconfig.get_config_var("EXT_SUFFIX"))
        linked(folder, "gcc", ADDRESS, module, library, plant)
        seen("address", plant, python(sanitized(planted, LEAKS), "-c", CALLS).stdout)

    digest = str(CHECKOUT / "tests" / "digest.py")
    names = python(sanitized(folder), "-c", BACKENDS).stdout.split()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = list(pool.map(lambda name: python(sanitized(folder, LEAKS), digest, name), names))
    for name, one in zip(names, runs, strict=True):
        clean(f"calls of every kind on {name}", one.returncode, one.stdout)
    if len({one.stdout for one in runs}) != 1:
        sys.exit(f"the digests differ: {[one.stdout for one in runs]}")

    counted = FOLDER / "tests.xml"
    which = [f"tests/{name}" for name in CORE] if short else ["tests"]
    which += [f"--deselect={name}" for name in ELSEWHERE]
    options = ("-q", "-x", "--capture=sys", *ON_ALL, "-p", "no:cacheprovider")
    done = suite(folder, *options, f"--junitxml={counted}", *which, short=True, **sanitized(folder))
    clean("the test suite", done.returncode)
    return {
        "backends": names,
        "tests": read_results(counted).passed,
        "elsewhere": ELSEWHERE,
    }


BACKENDS = "import intmlp._backend as b; print(*b.available())"


def threads():
    """Run the program of threads."""
    # The thread sanitizer of gcc 12 knows fewer places for memory than newer kernels choose from;
    # some containers forbid to change that, and need to.
    fixed = ("setarch", "-R")
    if subprocess.run([*fixed, "true"], capture_output=True).returncode:
        fixed = ()
    folder = core("threads", "gcc", THREAD)
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}

    def ran(name, plant=None):
        program = linked(folder, "gcc", THREAD, "tests/c/threads", folder / name, plant)
        return subprocess.run(
            [*fixed, program],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    for plant in PLANTS["threads"]:
        seen("threads", plant, ran("planted", plant).stdout)
    done = ran("right")
    clean("threads", done.returncode, done.stdout)
    return {"thread_results": int(done.stdout.split()[0])}


def compared(name, cc, flags, calls, control, isas, emulator=()):
    """Make calls of the oracle in as many processes as there are processors, on each of `isas`."""
    folder = core(name, cc, flags)
    for plant in PLANTS[name]:
        program = linked(folder, cc, flags, "tests/c/vectors", folder / "planted", plant)
        _, _, printed = vectors.compare(program, control, emulator)
        seen(name, plant, printed)
    program = linked(folder, cc, flags, "tests/c/vectors", folder / "right")
    parts = [calls[part :: os.cpu_count()] for part in range(os.cpu_count())]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = list(pool.map(lambda part: vectors.compare(program, part, emulator), parts))
    for status, served, printed in runs:
        clean(f"{name}, {len(calls)} calls", status, "" if status == 0 else printed)
        if set(served) != isas:
            sys.exit(f"{name} ran on {sorted(served)}, not on {sorted(isas)}")
    return {f"{name}_calls": len(calls), f"{name}_isas": sorted(isas)}


def main():
    short = command_line(__doc__, "CORE in place of the suite, fewer calls").parse_args().short
    need("gcc", "clang", "valgrind")
    shutil.rmtree(FOUND, ignore_errors=True)
    FOUND.mkdir(parents=True)
    calls = vectors.calls(1)
    control = [*calls[:2], calls[-1]]
    isas = {name[2:] for name in backends() if name != "python"}
    figures = threads()
    some = calls[::40] if short else calls
    without = isas - {"avx512"}  # which valgrind does not know
    figures |= compared("memory", "gcc", READABLE, some, control, without, VALGRIND)
    if not short:
        figures |= compared("implicit", "clang", IMPLICIT, calls, control, isas)
    figures |= address(short)
    planted = [plants for name, plants in PLANTS.items() if not short or name != "implicit"]
    plants = [plant.what for plants in planted for plant in plants]
    record("sanitizers", short, plants=plants, **figures)


if __name__ == "__main__":
    main()
