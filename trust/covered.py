"""Which lines and branches of Python and C the tests run; those of C for each instruction set.

    python trust/covered.py [--short]

The core is built to count, without optimisation, and the tests run on it; coverage.py counts their
Python, also that of the processes they start. The templates of src/ are compiled once for each
instruction set, and count for each: a loop that ran with AVX-512 alone is not covered for AVX2.
The kernels of NEON run under emulation. Of the binding, _core.pyx, lines are counted: the
branches of its C are Cython's.

In the long form each line that did not run, and each branch of the others that was not taken, must
be listed in uncovered.py with its reason, and what is listed must still be uncovered.
"""

import collections
import dataclasses
import functools
import json
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import coverage

from builds import FORKS, ON_ALL, build, suite
from check import CHECKOUT, WORK, command_line, need, record, run
from uncovered import NEVER_TAKEN, NOT_TAKEN, UNCOVERED

# Functions that are always inlined into others count by themselves.
FLAGS = "--coverage -O0 -fprofile-update=atomic -fprofile-abs-path -Dalways_inline=noinline -w"

# The rows of the figures; what all instruction sets share is a row of its own.
SETS = ("scalar", "avx2", "avx512", "neon")
ROWS = ("Python", "_core.pyx", "shared C", *SETS)
SHORT_ROWS = ("shared C", "scalar", "avx2", "avx512")

LEAST = 95  # per cent of the lines, and of the branches, of each row

# Of C alone, with some of the tests of the core.
LEAST_SHORT = 80
SHORT_TESTS = ("matmul", "observe", "online", "optimiser", "cross_entropy")

# What multiplies numbers of 64 bits.
HALVES_TESTS = ("kernels", "activations")

# These build the core, or measure another build, or run for long what others run, too.
LEFT_OUT = ("builds", "vectors", "instruction_counts", "examples")

# What coverage.py locks stays locked where Ctrl-C ends it in between, as in a child of a fork: now
# and then these would wait for ever.
WAITING = (
    FORKS,
    "tests/test_mlp.py::test_ctrl_c_leaves_whole_steps",
    "tests/test_concurrency.py::test_ctrl_c_at_random_moments_leaves_whole_steps",
)

COVERAGE = """[run]
source = {folder}/intmlp
data_file = {folder}/.coverage
branch = true
parallel = true
sigterm = true
concurrency = multiprocessing, thread
disable_warnings = no-data-collected, module-not-imported
"""

# Calls with the oracle's results, made by the core for aarch64.
AARCH64 = """
import sys, vectors
program = vectors.build("aarch64-linux-gnu-gcc", sys.argv[1], "-static", *sys.argv[2].split())
status, _, printed = vectors.compare(program, vectors.calls(2026), ("qemu-aarch64",))
assert status == 0, printed
"""


@dataclasses.dataclass
class Line:
    """How often a line of a function ran, and each of its branches; the entries that list it."""

    count: int = 0
    branches: dict = dataclasses.field(default_factory=collections.Counter)
    listed: set = frozenset()  # of UNCOVERED, where it did not run
    never: set = frozenset()  # of NEVER_TAKEN, where not all of its branches were taken
    not_taken: set = frozenset()  # of NOT_TAKEN, likewise

    @property
    def untaken(self):
        """How many of its branches were not taken."""
        return sum(not taken for taken in self.branches.values())


@functools.cache
def lines_of(file):
    return (CHECKOUT / file).read_text(encoding="utf-8").splitlines()


def row_of(notes):
    """Return the row for which an object file of C counts, by the name of gcov's notes."""
    name = notes.stem.removeprefix("vectors-").removeprefix("kernels_")
    return name if name in SETS else "_core.pyx" if name == "_core" else "shared C"


def add_c(rows, objects, sources, only=ROWS):
    """Add what gcov counted for the object files in a folder, built from `sources`."""
    for notes in sorted(objects.rglob("*.gcno")):
        row = row_of(notes)
        if row not in only:
            continue
        # What it says of objects that never ran is no part of its JSON.
        counted = subprocess.run(
            ["gcov", "--json-format", "--stdout", "--branch-probabilities", notes],
            cwd=sources,
            capture_output=True,
            check=True,
        ).stdout
        for file in json.loads(counted)["files"]:
            path = sources / file["file"]
            binding = path.suffix == ".pyx"
            if not path.is_relative_to(sources) or binding != (row == "_core.pyx"):
                continue  # a header of the system, or what Cython adds
            for line in file["lines"]:
                function = line.get("function_name", "")
                name, number = path.relative_to(sources).as_posix(), line["line_number"]
                if binding and function.startswith("__Pyx_"):
                    continue  # Cython's own, at lines of its C
                if binding and not lines_of(name)[number - 1].strip():
                    continue  # also its own, at an empty line
                where = name, "" if binding else function, number
                rows[row][where].count += line["count"]
                for which, branch in enumerate(() if binding else line["branches"]):
                    rows[row][where].branches[which] += branch["count"]


def add_python(rows, settings, sources):
    """Add what coverage.py counted."""
    data = coverage.Coverage(config_file=str(settings))
    data.combine()
    report = WORK / "coverage.json"
    data.json_report(outfile=str(report))
    for path, file in json.loads(report.read_text(encoding="utf-8"))["files"].items():
        name = Path(path).resolve().relative_to(sources).as_posix()
        for function, part in file["functions"].items():
            for kind, ran in ("executed", 1), ("missing", 0):
                for number in part[f"{kind}_lines"]:
                    rows["Python"][name, function, number].count = ran
                for start, end in part[f"{kind}_branches"]:
                    rows["Python"][name, function, start].branches[end] = ran


def entries_of(entries, row, file, function, number):
    """Return the entries that list a line of a row."""
    text = lines_of(file)[number - 1]
    return {
        entry
        for entry in entries
        if row in entry.rows
        and fnmatchcase(file, entry.file)
        and fnmatchcase(function, entry.function)
        and entry.what in text
    }


def explained(entries):
    """Return how many branches of a line these entries explain."""
    return sum(entry.branches for entry in entries)


def look_up(rows):
    """Find the entries for what did not run."""
    for row, found in rows.items():
        for where, line in found.items():
            if not line.count:
                line.listed = entries_of(UNCOVERED, row, *where)
            if line.untaken:
                line.never = entries_of(NEVER_TAKEN, row, *where)
                line.not_taken = entries_of(NOT_TAKEN, row, *where)


def compare(rows):
    """Return what is wrong: what is uncovered and not listed, and what is listed and covered."""
    wrong = []
    idle = {e for e in (*UNCOVERED, *NEVER_TAKEN, *NOT_TAKEN) if not e.sometimes}
    for row, found in rows.items():
        for (file, function, number), line in sorted(found.items()):
            idle -= line.listed | line.never | line.not_taken
            unlisted = line.untaken - explained(line.never | line.not_taken)
            if line.count and unlisted > 0:
                fault = f"{unlisted} branches not taken"
            elif not line.count and not line.listed:
                fault = "not run"
            else:
                continue
            text = lines_of(file)[number - 1].strip()
            wrong.append(f"{fault}, not listed: {row}: {file}:{number}: {function}: {text}")
    return wrong + [f"covered, but listed: {entry}" for entry in sorted(idle)]


def counts(found):
    """Return the lines and branches of a row, how many are covered, and cannot be taken."""
    here = collections.Counter()
    for line in found.values():
        here.update(
            lines=1,
            lines_covered=line.count > 0,
            branches=len(line.branches),
            branches_covered=len(line.branches) - line.untaken,
            branches_never=min(line.untaken, explained(line.never)),
        )
    return dict(here)


def counting(name, flags=""):
    """Build the core to count from nothing; return its folder."""
    folder = build(
        name, cflags=f"{FLAGS} {flags}", ldflags="--coverage", options=["--cython-line-directives"]
    )
    for old in (*folder.rglob("*.gcda"), *folder.glob(".coverage*")):
        old.unlink()
    return folder


def run_tests(folder, *arguments, **environment):
    """Run the short set of the tests on a build."""
    if suite(folder, "-q", *ON_ALL, *arguments, short=True, **environment).returncode:
        sys.exit("tests failed")


def measure(short):
    """Build, run the tests, and return what was counted: a row, then a place, then a `Line`."""
    rows = {row: collections.defaultdict(Line) for row in ROWS}
    folder = counting("covered")
    settings = folder / "coverage.ini"
    settings.write_text(COVERAGE.format(folder=folder), encoding="utf-8")
    if short:
        run_tests(folder, *(f"tests/test_{name}.py" for name in SHORT_TESTS), "-k", "not python")
        add_c(rows, folder / "build", folder)
        return {row: rows[row] for row in SHORT_ROWS}

    tests = [f"--ignore=tests/test_{name}.py" for name in LEFT_OUT]
    tests += [f"--deselect={name}" for name in WAITING]
    run_tests(folder, *tests, COVERAGE_PROCESS_START=str(settings))
    # Of the self-test the short set has next to nothing.
    counted = (sys.executable, "-m", "coverage", "run", f"--rcfile={settings}")
    run(*counted, "-m", "intmlp", "selftest", PYTHONPATH=str(folder))
    add_c(rows, folder / "build", folder)
    add_python(rows, settings, folder)

    halves = counting("covered_halves", "-DIM_NO_INT128")  # what compilers without one need
    run_tests(halves, *(f"tests/test_{name}.py" for name in HALVES_TESTS), "-k", "not python")
    add_c(rows, halves / "build", halves)

    for_aarch64 = WORK / "builds" / "covered_aarch64"
    for_aarch64.mkdir(exist_ok=True)
    run(
        *(sys.executable, "-c", AARCH64, for_aarch64 / "vectors", FLAGS),
        where=CHECKOUT / "tests",
        PYTHONPATH=str(folder),
    )
    add_c(rows, for_aarch64, CHECKOUT, only=["neon"])
    return rows


def main():
    short = command_line(__doc__, "some of the tests, without the list").parse_args().short
    need("gcov", *(() if short else ("aarch64-linux-gnu-gcc", "qemu-aarch64")))
    rows = measure(short)
    look_up(rows)
    least, table, wrong = LEAST_SHORT if short else LEAST, {}, []
    for row, found in rows.items():
        table[row] = here = counts(found)
        for what, out in ("lines", 0), ("branches", here["branches_never"]):
            covered, of_them = here[f"{what}_covered"], here[what] - out
            share = f"{row}: {covered} of {of_them} {what}" + f", {out} more cannot be" * bool(out)
            print(share)
            if covered < least / 100 * of_them:
                wrong.append(f"{share}: less than {least} %")
    if not short:
        wrong += compare(rows)
    if wrong:
        sys.exit("\n".join(wrong))
    entries = {"listed": UNCOVERED, "never_taken": NEVER_TAKEN, "not_taken": NOT_TAKEN}
    listed = {} if short else {n: [e._asdict() for e in those] for n, those in entries.items()}
    record("covered", short, least=least, rows=table, **listed)


if __name__ == "__main__":
    main()
