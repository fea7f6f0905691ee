"""Threads, forks and signals at random moments, again and again: numbers are those of work alone.

    python trust/concurrency.py [--short]

These are tests of the suite, with more rounds; what they did is added up from what they record.
"""

import sys
from pathlib import Path

import intmlp
from builds import ON_ALL, read_results, suite
from check import WORK, command_line, record

TESTS = ("tests/test_concurrency.py", "tests/test_threads.py")


def tried(folder, effort, *options, python=sys.executable):
    """Run these tests on the package in `folder`; return how many passed, and what they did."""
    counted = WORK / "concurrency.xml"
    arguments = ("-q", f"--junitxml={counted}", *options, *TESTS)
    if suite(folder, *arguments, python=python, INTMLP_TEST_EFFORT=str(effort)).returncode:
        sys.exit("a test failed")
    results = read_results(counted)
    return {"effort": effort, "tests": results.passed, "done": dict(results.recorded)}


def main():
    """Run the check on the installed package."""
    short = command_line(__doc__, "as many rounds as in the suite").parse_args().short
    figures = tried(Path(intmlp.__file__).parents[1], 1 if short else 10, *ON_ALL)
    record("concurrency", short, **figures)


if __name__ == "__main__":
    main()
