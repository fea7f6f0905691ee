"""Golden hashes: the table is the oracle's, and every backend of several builds gives it.

    python trust/golden.py [--short]

The short form makes the table again, and runs `intmlp selftest` on the package that is
installed; the long one runs it on builds without and with optimisation, too.
"""

import argparse
import os
import re
import subprocess
import sys

from builds import build
from record import CHECKOUT, WORK, record

sys.path.insert(0, str(CHECKOUT / "tests"))
import answers

selftest = answers.selftest
BUILDS = {"gcc -O0": ("gcc", "-O0"), "clang -O2": ("clang", "-O2")}


def run(folder=None):
    """Run `intmlp selftest` on the package in `folder`, or on that installed; return its counts."""
    path = {"PYTHONPATH": str(folder)} if folder else {}
    done = subprocess.run(
        [sys.executable, "-m", "intmlp", "selftest"],
        cwd=WORK,
        env={**os.environ, **path},
        stdout=subprocess.PIPE,
        text=True,
    )
    print(done.stdout)
    if done.returncode:
        raise SystemExit("the self-test failed")
    agreeing, of, names = re.search(
        r"(\d+) of (\d+) digests agree on (.*), in", done.stdout
    ).groups()
    assert agreeing == of
    return int(of), names.split(", ")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="the installed package alone")
    short = parser.parse_args().short
    WORK.mkdir(parents=True, exist_ok=True)

    committed = (CHECKOUT / "intmlp" / "data" / "golden.json").read_text(encoding="utf-8")
    if answers.text() != committed:
        raise SystemExit("golden.json is not what the oracle gives: see tools/make_golden.py")
    print("golden.json is what the oracle gives")
    digests, backends = run()
    for name, (cc, cflags) in {} if short else BUILDS.items():
        print(f"built by {name}")
        digests += run(build(f"golden {name}", cc, cflags))[0]

    questions = {group: selftest.questions(group) for group in selftest.GROUPS}
    asked = [question for of_group in questions.values() for question in of_group]
    formats = {fmt for question in asked if (fmt := getattr(question, "fmt", None))}
    record(
        "golden",
        short,
        groups=len(questions),
        questions=len(asked),
        networks=sum(isinstance(question, selftest.Training) for question in asked),
        formats=len(formats),
        backends=backends,
        builds=1 if short else 1 + len(BUILDS),
        digests=digests,
    )


if __name__ == "__main__":
    main()
