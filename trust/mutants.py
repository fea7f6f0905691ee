"""Plant faults in the sources on purpose, and see that the test suite sees each of them.

    python trust/mutants.py [--short]

Those that are named stand in faults.py, each with the tests that must see it. The long form plants
all of them, and then some that nobody chose: in a line drawn by a seed an operator is exchanged, a
constant is one larger, or a statement is gone. Only the objects that a fault changes are compiled.
Where that is a loop of all instruction sets, it is planted in one of them, which take turns, and
the tests run on that one. The same tests pass without a fault, first.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from subprocess import PIPE
from typing import NamedTuple

from builds import ON_ALL, SUITE, build, copy
from check import CHECKOUT, WORK, command_line, record
from faults import FAULTS, Fault

# -Og compiles fastest, and its code is fast enough.
CFLAGS = "-Og"
SAME = "--hypothesis-seed=1"  # examples in every run
LIMIT = 300  # seconds; a test that takes longer hangs
FOLDER = WORK / "mutants"

INSTRUCTION_SET = re.compile(r"/(?:kernels_)?(avx512|avx2|neon|scalar)\.c$")

# What sees a fault that has no tests of its own, by the beginning of its path; fast ones first.
TESTS = {
    "src/arith": "test_arith test_matmul test_stochastic test_mlp test_observe test_optimiser "
    "test_activations test_cross_entropy test_online test_accumulator test_plain",
    "src/gemm": "test_kernels test_matmul test_packed_weights test_accumulator test_stochastic "
    "test_mlp test_optimiser test_observe",
    "src/net/o": "test_online test_observe test_stochastic test_optimiser test_mlp "
    "test_activations test_cross_entropy test_accumulator",
    "src/net": "test_mlp test_activations test_cross_entropy test_optimiser test_stochastic "
    "test_online test_observe test_accumulator test_packed_weights",
    "src/cpu": "test_backend test_threads test_arith test_stochastic test_online test_kernels "
    "test_observe",
    "src": "test_matmul test_mlp test_online",
}


class Base(NamedTuple):
    """The build without a fault."""

    folder: object
    commands: dict  # of each object's source
    link: list
    depends: dict  # the files that each source reads
    backends: list  # of this machine


class Outcome(NamedTuple):
    """What became of a fault: caught, crashed, hung, survived, same object, not compiled."""

    word: str
    test: str = ""
    seconds: float = 0.0


def build_base():
    """Build the core, and learn from its log how setup.py compiles and links."""
    folder = build("mutants", cflags=CFLAGS)
    log = (folder / "build.log").read_text()
    lines = [shlex.split(line) for line in log.splitlines() if line.startswith("gcc ")]
    commands = {line[line.index("-c") + 1]: line for line in lines if "-c" in line}
    (link,) = (line for line in lines if "-shared" in line)
    depends = {}
    for source in commands:
        if source.startswith("src/"):
            rule = subprocess.run(
                ["gcc", "-MM", "-Isrc", source],
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            files = rule.replace("\\\n", " ").split(":", 1)[1].split()
            depends[source] = {os.path.normpath(file) for file in files}
    asked = [sys.executable, "-c", "from intmlp import _backend; print(*_backend.available())"]
    names = subprocess.run(asked, cwd=folder, stdout=PIPE, text=True, check=True).stdout
    return Base(folder, commands, link, depends, names.split())


def backend_of(base, fault, turn):
    """Return the one backend in which a fault is planted, or None where this machine lacks it."""
    if "fallback" in fault.file:
        return "python"
    compiled = [name for name in base.backends if name.startswith("c:")]
    named = INSTRUCTION_SET.search(fault.file)
    wanted = fault.isa or (named and named[1])
    if wanted:
        return f"c:{wanted}" if f"c:{wanted}" in compiled else None
    return compiled[turn % len(compiled)]


def changed(base, file, backend):
    """Return the sources whose objects a fault changes, less those of other instruction sets."""
    sources = [source for source, files in base.depends.items() if file in files]
    sets = {source: INSTRUCTION_SET.search(source) for source in sources}
    return [source for source in sources if not sets[source] or sets[source][1] == backend[2:]]


def planted_text(file, old, new):
    """Return a file of the checkout with its fault; the text that it replaces stands there once."""
    text = (CHECKOUT / file).read_text()
    if text.count(old) != 1:
        raise SystemExit(f"{file} has {text.count(old)} times, not once: {old}")
    return text.replace(old, new)


def plant(base, number, file, text, backend):
    """Build with a fault in a folder of its own; return the folder, or why there is none."""
    folder = FOLDER / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base.folder, folder, copy_function=os.link)
    (folder / file).unlink()
    (folder / file).write_text(text)
    sources, same = changed(base, file, backend), True
    for source in sources:
        command = base.commands[source]
        target = folder / command[command.index("-o") + 1]
        target.unlink()
        done = subprocess.run(command, cwd=folder, capture_output=True)
        if done.returncode:
            return folder, "not compiled"
        same = (
            same and target.read_bytes() == (base.folder / target.relative_to(folder)).read_bytes()
        )
    if sources and same:
        return folder, "same object"
    if sources:
        (extension,) = (folder / "intmlp/_backend").glob("_core*.so")
        extension.unlink()
        at = base.link.index("-o") + 1
        link = [*base.link[:at], str(extension), *base.link[at + 1 :]]
        subprocess.run(link, cwd=folder, check=True, capture_output=True)
    return folder, None


def run_tests(folder, tests, backends, *arguments, limit=None):
    """Run tests on a build, of those on one backend only what is of `backends`."""
    places = [f"tests/{name}" for name in tests.split()]
    every = ("python", "c:avx512", "c:avx2", "c:neon", "c:scalar")
    others = " or ".join(name for name in every if name not in backends)
    arguments = ("-q", "-x", "--tb=no", "-rfE", "-p", "no:cacheprovider", *arguments, SAME)
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *places, "-k", f"not ({others})"],
        cwd=FOLDER / "suite",
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=limit,
    )


def judge(base, number, file, text, backend, tests):
    """Plant a fault and run its tests."""
    started = time.monotonic()
    folder, why = plant(base, number, file, text, backend)
    try:
        if why:
            return Outcome(why)
        done = run_tests(folder, tests, [backend], limit=LIMIT)
    except subprocess.TimeoutExpired:
        return Outcome("hung", f"more than {LIMIT} s", LIMIT)
    finally:
        shutil.rmtree(folder)
    seconds = time.monotonic() - started
    if done.returncode == 0:
        return Outcome("survived", "", seconds)
    if done.returncode < 0:
        return Outcome("crashed", f"signal {-done.returncode}", seconds)
    first = re.search(r"^(?:FAILED|ERROR) tests/(.*?)(?: - |$)", done.stdout, re.MULTILINE)
    if done.returncode > 2 or not first:
        raise SystemExit(f"pytest ends with {done.returncode} for {tests}:\n{done.stdout[-2000:]}")
    return Outcome("caught", first[1], seconds)


def general_tests(file):
    """Return what sees a fault in this file."""
    names = next(names for path, names in TESTS.items() if file.startswith(path))
    return " ".join(f"{name}.py" for name in names.split())


def tests_of(fault):
    return fault.tests or general_tests(fault.file)


def plant_named(base, faults):
    """Plant all faults of a list; return their outcomes, None for those that are not of here."""

    def one(pair):
        turn, fault = pair
        backend = backend_of(base, fault, turn)
        text = planted_text(fault.file, fault.old, fault.new)
        if backend is None:
            return None
        outcome = judge(base, turn, fault.file, text, backend, tests_of(fault))
        if fault.equivalent and outcome.word == "same object":
            outcome = outcome._replace(word="survived")
        print(f"{outcome.word:9} {outcome.seconds:4.0f} s  {backend:9} {fault.file[:28]:28} "
              f"{fault.what}  [{outcome.test}]", flush=True)  # fmt: skip
        return outcome

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, enumerate(faults)))


# Faults that nobody chose ------------------------------------------------------------------------

DRAWN = 20
SEED = 1

SWAPS = {
    " < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > ", " == ": " != ", " != ": " == ",
    " + ": " - ", " - ": " + ", " * ": " + ", " && ": " || ", " || ": " && ",
    " << ": " >> ", " >> ": " << ", " & ": " | ", " | ": " & ", " += ": " -= ", " -= ": " += ",
}  # fmt: skip
# Lines that change no result: what costs how much, and what is fetched early.
IDLE = re.compile(r"^\s*#|PREFETCH|_Static_assert|_tile\dx|NULL\};|typedef|LEAST_PART")
DECLARATION = r"(?:const|static|struct|im_|u?int|double|bool|char|size_t|ptrdiff_t|float|void|__m)"


class Drawn(NamedTuple):
    """A fault in a line: what that line is, and what becomes of it."""

    file: str
    line: int
    old: str
    new: str


def every_drawn():
    """Yield each fault of the generator."""
    for path in sorted((CHECKOUT / "src").rglob("*.[ch]")):
        file = str(path.relative_to(CHECKOUT))
        text = path.read_text()
        code = re.sub(r"/\*.*?\*/", lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.S)
        for at, (line, whole) in enumerate(zip(code.split("\n"), text.split("\n"), strict=True)):
            if IDLE.search(line):
                continue
            make = partial(Drawn, file, at, whole)
            for operator, other in SWAPS.items():
                for found in re.finditer(re.escape(operator), line):
                    yield make(whole[: found.start()] + other + whole[found.end() :])
            for found in re.finditer(r"(?<![\w.])\d+(?![\w.])", line):
                yield make(whole[: found.start()] + str(int(found[0]) + 1) + whole[found.end() :])
            if re.fullmatch(rf"\s+(?!{DECLARATION})\w[^{{}}]*;\s*", line):
                yield make(re.match(r"\s*", line)[0] + ";")


def draw():
    """Return all faults of the generator in the order of a hash: a change moves no others."""
    seen = Counter()

    def key(drawn):
        which = f"{SEED} {drawn.file} {drawn.old.strip()} {drawn.new.strip()}"
        seen[which] += 1
        return hashlib.sha256(f"{which} {seen[which]}".encode()).digest()

    return sorted(every_drawn(), key=key)


def plant_drawn(base):
    """Plant the first faults of the generator; return each with its outcome."""

    def one(pair):
        turn, drawn = pair
        backend = backend_of(base, Fault("", drawn.file, "", "", ""), turn)
        if backend is None:
            return drawn, Outcome("not of here")
        lines = (CHECKOUT / drawn.file).read_text().split("\n")
        lines[drawn.line] = drawn.new
        tests = general_tests(drawn.file)
        outcome = judge(base, turn, drawn.file, "\n".join(lines), backend, tests)
        if outcome.word in (*SEEN, "survived"):
            print(f"{outcome.word:9} {outcome.seconds:4.0f} s  {backend:9} "
                  f"{drawn.file}:{drawn.line + 1}: {drawn.old.strip()}  ->  {drawn.new.strip()}  "
                  f"[{outcome.test}]", flush=True)  # fmt: skip
        return drawn, outcome

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, enumerate(draw()[:DRAWN])))


SEEN = ("caught", "crashed", "hung")


def main():
    """Plant all faults, or those of the short form."""
    short = command_line(__doc__, "a few that are named").parse_args().short
    faults = [fault for fault in FAULTS if fault.short or not short]
    for fault in FAULTS:
        planted_text(fault.file, fault.old, fault.new)
    shutil.rmtree(FOLDER, ignore_errors=True)
    base = build_base()
    copy(SUITE, FOLDER / "suite")
    control = " ".join(sorted({name for fault in faults for name in tests_of(fault).split()}))
    backends = {backend_of(base, fault, turn) for turn, fault in enumerate(faults)}
    done = run_tests(base.folder, control, backends, *ON_ALL)
    if done.returncode:
        raise SystemExit(f"the tests fail without a fault:\n{done.stdout[-3000:]}")
    outcomes = plant_named(base, faults)
    pairs = [(f, o) for f, o in zip(faults, outcomes, strict=True) if o is not None]
    kinds, problems = {}, []
    for fault, outcome in pairs:
        of_kind = kinds.setdefault(fault.kind, {"planted": 0, "caught": 0, "equivalent": 0})
        of_kind["planted"] += 1
        of_kind["caught"] += outcome.word in SEEN
        of_kind["equivalent"] += bool(fault.equivalent)
        if (outcome.word in SEEN) == bool(fault.equivalent):
            problems.append(f"{outcome.word}: {fault.file}: {fault.what}")
    figures = {
        "planted": len(pairs),
        "not_of_here": len(faults) - len(pairs),
        "caught": sum(outcome.word in SEEN for _, outcome in pairs),
        "by_crash": sum(outcome.word == "crashed" for _, outcome in pairs),
        "by_time": sum(outcome.word == "hung" for _, outcome in pairs),
        "kinds": kinds,
        "equivalent": [[f.file, f.what, f.equivalent] for f, _ in pairs if f.equivalent],
    }
    if not short:
        figures["drawn"] = score_drawn(plant_drawn(base))
    for problem in problems:
        print("PROBLEM", problem)
    if problems:
        raise SystemExit(1)
    record("mutants", short, **figures)


def score_drawn(found):
    """Return the figures of the drawn faults, and those that survive: why stands in EQUIVALENT."""
    words = Counter(outcome.word for _, outcome in found)
    survived = [
        [drawn.file, drawn.old.strip(), drawn.new.strip()]
        for drawn, outcome in found
        if outcome.word == "survived"
    ]
    caught = sum(words[word] for word in SEEN)
    return {
        "seed": SEED,
        "planted": caught + len(survived),
        "caught": caught,
        "same_object": words["same object"],
        "not_compiled": words["not compiled"],
        "survived": survived,
    }


if __name__ == "__main__":
    main()
