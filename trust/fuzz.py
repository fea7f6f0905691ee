"""Fuzz all that takes input, for as long as there is time.

    python trust/fuzz.py [--short] [--seconds N]

Side by side run

- the hypothesis tests of the suite, again and again with new seeds and in a new order: random
  calls, formats, networks and trainings on every backend, against tests/reference.py;
- one after the other, libFuzzer on the C API (fuzzers/entry_points.c), under sanitizers, and
  atheris on everything that reads a file or a text (fuzzers/readers.py).

Their inputs are kept in build/trust/fuzz, from where the next run goes on. What is found ends the
check with the command that finds it again.
"""

import os
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builds import LANGUAGE, SUITE, copy
from check import CHECKOUT, WORK, command_line, need, record

FUZZERS = Path(__file__).parent / "fuzzers"
FOLDER = WORK / "fuzz"

# The targets of libFuzzer and atheris, and the shares of the time that they get.
CALLS = {"arrays": 2, "product": 5, "network": 5}
READERS = {"network": 3, "csv": 2, "npz": 2, "idx": 1, "notation": 1}

# Vectors take the compiler minutes under the other checks of UBSan.
SANITIZERS = "address,signed-integer-overflow,shift,float-cast-overflow,bounds"
FLAGS = (
    *(*LANGUAGE, "-O1", "-g", "-pthread", "-fno-sanitize-recover=all"),
    *("-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION", f"-fsanitize={SANITIZERS}"),
)


def logged(command, log, **options):
    """Run a command; return its status, and what it printed, which a file keeps."""
    with log.open("w+", encoding="utf-8", errors="replace") as file:
        status = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, **options
        ).returncode
        file.seek(0)
        return status, file.read()


def built(jobs):
    """Build each target of the C API; return the programs."""
    need("clang")
    folder = FOLDER / "core"
    folder.mkdir(parents=True, exist_ok=True)
    compiler = ["clang", *FLAGS, f"-I{CHECKOUT / 'src'}"]

    last_change = max(path.stat().st_mtime for path in (CHECKOUT / "src").rglob("*.[ch]"))

    def compiled(source):
        target = folder / f"{source.stem}.o"
        if target.exists() and target.stat().st_mtime > last_change:
            return target
        flags = ["-fsanitize=fuzzer-no-link", "-c", source, "-o", target]
        subprocess.run([*compiler, *flags], check=True)
        return target

    # The largest files first: two of them take as long as all others.
    sources = sorted((CHECKOUT / "src").glob("*/*.c"), key=lambda path: path.parent.name != "cpu")
    with ThreadPoolExecutor(jobs) as pool:
        objects = list(pool.map(compiled, sources))
    harness = FUZZERS / "entry_points.c"
    programs = {}
    for call in CALLS:
        programs[call] = folder / call
        flags = ["-fsanitize=fuzzer", f"-DCALL={call}", harness, *objects, "-lm", "-o"]
        linked = subprocess.run([*compiler, *flags, programs[call]])
        if linked.returncode:
            raise SystemExit("libFuzzer did not link: apt-get install libclang-rt-14-dev")
    return programs


def guided(name, command, seconds, seed):
    """Run a target of libFuzzer or atheris; return its counts, or what it found."""
    corpus = FOLDER / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    random_bytes = random.Random(seed).randbytes
    for size in range(16, 512, 16) if name.startswith("core") else ():
        (corpus / f"start-{size}").write_bytes(random_bytes(size))
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-artifact_prefix={FOLDER}/{name}-",
        "-timeout=60",
        "-rss_limit_mb=2048",
        "-len_control=0",
        "-max_len=4096",
        "-print_final_stats=1",
    ]
    status, printed = logged([*command, *options, corpus], FOLDER / f"{name}.log")
    if status:
        found = re.search("Test unit written to (.*)", printed)
        again = " ".join(map(str, [*command, found[1] if found else "(no input was kept)"]))
        print("\n".join(printed.splitlines()[-40:]))
        return {"found": again}
    begun, ended = (
        re.search(rf"{word} +cov: (\d+) ft: (\d+) corp: (\d+)", printed)
        for word in ("INITED", "DONE")
    )
    counters = re.search(r"\((\d+) inline 8-bit counters\)", printed)
    return {
        "executions": int(re.search(r"number_of_executed_units: (\d+)", printed)[1]),
        "edges": int(ended[1]),
        "all_edges": int(counters[1]) if counters else None,  # atheris counts them as it goes
        "new_edges": int(ended[1]) - int(begun[1]),
        "features": int(ended[2]),
        "corpus": int(ended[3]),
        "seed": seed,
    }


def differential(until, effort):
    """Run the hypothesis tests until the time is up; return their counts, or what they found."""
    tests = FOLDER / "suite"
    copy(SUITE, tests)
    paths = [str(FUZZERS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "FUZZ_UNTIL": str(until),
        "INTMLP_TEST_EFFORT": str(effort),
    }
    # Collecting the others would take longer than their tests.
    files = [path for path in sorted(tests.glob("tests/test_*.py")) if "@given" in path.read_text()]
    counts = {"executions": 0, "tests": 0, "seeds": []}
    while time.time() < until:
        seed = random.SystemRandom().randrange(2**32)
        options = ["-q", "-m", "hypothesis", f"--hypothesis-seed={seed}"]
        more = ["-p", "timebox", "-p", "no:cacheprovider", "--hypothesis-show-statistics"]
        command = [sys.executable, "-m", "pytest", *options]
        log = FOLDER / "differential.log"
        status, printed = logged([*command, *more, *files], log, cwd=tests, env=environment)
        if status:
            print(printed[-20000:])
            failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", printed, re.MULTILINE)
            return {"found": f"cd {tests} && {' '.join([*command, *failed])}"}
        counts["executions"] += sum(map(int, re.findall(r"(\d+) passing\b", printed)))
        counts["tests"] += sum(map(int, re.findall(r"(\d+) passed", printed)))
        counts["seeds"].append(seed)
    return counts


def main():
    parser = command_line(__doc__, "40 seconds in place of 600")
    parser.add_argument("--seconds", type=int, help="how long both sides fuzz, after the build")
    arguments = parser.parse_args()
    seconds = arguments.seconds or (40 if arguments.short else 600)
    FOLDER.mkdir(parents=True, exist_ok=True)
    programs = built(os.cpu_count())
    targets = {f"core-{call}": ([programs[call]], share) for call, share in CALLS.items()}
    readers = [sys.executable, FUZZERS / "readers.py"]
    targets |= {f"reader-{name}": ([*readers, name], share) for name, share in READERS.items()}
    shares = sum(share for _, share in targets.values())
    found = {}
    with ThreadPoolExecutor(1) as beside:
        effort = 0.1 if arguments.short else 1
        tests = beside.submit(differential, time.time() + seconds, effort)
        for name, (command, share) in targets.items():
            seed = random.SystemRandom().randrange(1, 2**31)
            found[name] = guided(name, command, max(1, seconds * share // shares), seed)
            print(name, found[name], flush=True)
        found["differential"] = tests.result()
    broken = [counts["found"] for counts in found.values() if "found" in counts]
    if broken:
        raise SystemExit("\n".join(["found; to see it again:", *broken]))
    executions = sum(counts["executions"] for counts in found.values())
    record("fuzz", arguments.short, fuzzing_seconds=seconds, executions=executions, **found)


if __name__ == "__main__":
    main()
