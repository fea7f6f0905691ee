"""Threads, forks and signals at random moments, again and again: numbers are those of work alone.

    python trust/concurrency.py [--short]

These are tests of the suite, with more rounds; what they did is added up from what they record.
"""

import collections
import sys
from pathlib import Path
from xml.etree import ElementTree

import intmlp
from builds import ON_ALL, suite
from check import WORK, command_line, record

TESTS = ("tests/test_concurrency.py", "tests/test_threads.py")


def tried(folder, effort, *options, python=sys.executable):
    """Run these tests on the package in `folder`; return how many passed, and what they did."""
    counted = WORK / "concurrency.xml"
    arguments = ("-q", f"--junitxml={counted}", *options, *TESTS)
    if suite(folder, *arguments, python=python, INTMLP_TEST_EFFORT=str(effort)).returncode:
        sys.exit("a test failed")
    tests = ElementTree.parse(counted).getroot().find("testsuite")
    done = collections.Counter()
    for each in tests.iter("property"):
        done[each.get("name")] += int(each.get("value"))
    passed = int(tests.get("tests")) - int(tests.get("skipped"))
    return {"effort": effort, "tests": passed, "done": dict(done)}


def main():
    """Run the check on the installed package."""
    short = command_line(__doc__, "as many rounds as in the suite").parse_args().short
    figures = tried(Path(intmlp.__file__).parents[1], 1 if short else 10, *ON_ALL)
    record("concurrency", short, **figures)


if __name__ == "__main__":
    main()
