"""Builds of the core with other compilers and flags, and the test suite on them."""

import collections
import os
import shutil
import subprocess
import sys
from typing import NamedTuple
from xml.etree import ElementTree

from check import CHECKOUT, WORK, need

# How setup.py has C read, whatever the optimisation.
LANGUAGE = ("-std=c11", "-ffp-contract=off", "-fno-trapping-math")

# What a build reads, and what the tests read. The tests refuse to run beside the package's
# sources, and those that build the package themselves skip where there is no setup.py.
SOURCES = ("src", "intmlp", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
SUITE = ("tests", "bench", "docs", "examples", "pyproject.toml", "README.md", "Makefile")


def copy(names, folder):
    """Copy files and folders of the checkout into `folder`, in place of what is there."""
    skip = shutil.ignore_patterns("__pycache__", "*.so", "_core.c")
    for name in names:
        source, target = CHECKOUT / name, folder / name
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=skip)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def build(name, cc="gcc", cflags="", ldflags="", python=sys.executable, options=()):
    """Build the core with further flags in a copy of the sources; return the folder to import.

    The commands that did it stand there in build.log; `options` are those of setup.py's build_ext.
    """
    need(cc)
    folder = WORK / "builds" / name
    copy(SOURCES, folder)
    with (folder / "build.log").open("w") as log:
        subprocess.run(
            [python, "setup.py", "build_ext", "--inplace", *options],
            cwd=folder,
            env={**os.environ, "CC": cc, "CFLAGS": cflags, "LDFLAGS": ldflags},
            stdout=log,
            check=True,
        )
    return folder


# The short set of the tests: one example in ten, and none that is marked long.
SHORT_SET = ("-m", "not long")
SHORT_EFFORT = "0.1"

# A process for each processor; one that has no test left takes some of another's.
ON_ALL = ("-n", str(os.cpu_count()), "--dist", "worksteal")

# This test forks beside threads. What a sanitizer, and what coverage.py, lock at that moment stays
# locked in the child, which waits for ever.
FORKS = "tests/test_concurrency.py::test_children_of_forks_compute_while_the_parent_does"


def suite(folder, *arguments, short=False, python=sys.executable, **environment):
    """Run pytest over the build in `folder`; return its finished process, which may have failed.

    `short` takes the short set of the tests.
    """
    if short:
        arguments = (*SHORT_SET, *arguments)
        environment = {"INTMLP_TEST_EFFORT": SHORT_EFFORT, **environment}
    tests = WORK / "suite"
    copy(SUITE, tests)
    return subprocess.run(
        [python, "-m", "pytest", *arguments],
        cwd=tests,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
    )


class Results(NamedTuple):
    """How many tests passed, and the sums of what they recorded."""

    passed: int
    recorded: collections.Counter


def read_results(path):
    """Return what pytest wrote to its option `--junitxml`, where no test failed."""
    tests = ElementTree.parse(path).getroot().find("testsuite")
    recorded = collections.Counter()
    for each in tests.iter("property"):
        recorded[each.get("name")] += int(each.get("value"))
    return Results(int(tests.get("tests")) - int(tests.get("skipped")), recorded)
