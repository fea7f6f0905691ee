"""What all checks share: their command line, the programs that they run, and what they found."""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import intmlp

CHECKOUT = Path(__file__).resolve().parents[1]
WORK = CHECKOUT / "build" / "trust"  # all that the checks build, and what they found

# Where Debian has the programs that are not named as their package is.
PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    "s390x-linux-gnu-gcc": "gcc-s390x-linux-gnu libc6-dev-s390x-cross",
    "i686-linux-gnu-gcc": "gcc-i686-linux-gnu libc6-dev-i386-cross",
    "x86_64-w64-mingw32-gcc": "gcc-mingw-w64-x86-64",
    "clang": "clang libclang-rt-14-dev",
    "gcov": "gcc",
    "unshare": "util-linux",
    "wine": "wine wine64",
    **dict.fromkeys(("qemu-aarch64", "qemu-s390x", "qemu-i386", "qemu-x86_64"), "qemu-user"),
}

_started = time.monotonic()


def command_line(doc, short):
    """Return the parser of a check's arguments; `short` says what its short form is."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help=short)
    return parser


def need(*programs):
    """Stop where a program is missing, and name the package that has it."""
    for name in programs:
        if shutil.which(name) is None:
            package = PACKAGES.get(name, name)
            raise SystemExit(f"{name} is not installed: apt-get install {package}")


def run(*command, where=WORK, **variables):
    """Run a command in a folder, with further variables in its environment; return what it prints.

    Where it fails, its output is the error.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=where,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout[-20000:]}\n{' '.join(words)} ends with {done.returncode}")
    return done.stdout


# Of the moment at which a check begins: a record must not name what came while it ran.
need("git")
_commit = run("git", "describe", "--always", "--dirty", "--abbrev=7", where=CHECKOUT).strip()


class SelfTest(NamedTuple):
    """What `intmlp selftest` printed."""

    agreeing: int
    digests: int
    tested: list  # the backends
    offered: list  # those that this processor has, and Python
    seconds: float


def read_selftest(printed):
    """Return the counts and backends in the output of `intmlp selftest`."""
    offered = re.search(r"^backends: (.*)$", printed, re.MULTILINE)
    summary = re.search(
        r"^(\d+) of (\d+) digests agree on (.*), in ([\d.]+) s$", printed, re.MULTILINE
    )
    if not offered or not summary:
        raise SystemExit(f"this is not the output of intmlp selftest:\n{printed}")
    agreeing, digests, names, seconds = summary.groups()
    tested = names.split(", ")
    return SelfTest(int(agreeing), int(digests), tested, offered[1].split(), float(seconds))


def backends():
    """Return the backends that the installed package has on this machine."""
    return intmlp.show_config()["backends"].split()


def machine():
    """Return what the checks run on."""
    config = intmlp.show_config()
    compilers = [
        run(name, "--version", where=CHECKOUT).partition("\n")[0]
        for name in ("gcc", "clang")
        if shutil.which(name)
    ]
    return {
        "cpu": config["cpu"],
        "cores": os.cpu_count(),
        "backends": backends(),
        "system": f"{platform.system()} with {' '.join(platform.libc_ver())}",
        "python": config["python"],
        "numpy": config["numpy"],
        "compilers": compilers,
    }


def record(check, short, **figures):
    """Keep the figures of a check that held, with the command that found them, where, and of what.

    `check` is the name of the script, `short` whether this was its short form.
    """
    found = {
        "command": f"python trust/{check}.py" + " --short" * short,
        "commit": _commit,
        "machine": machine(),
        "seconds": round(time.monotonic() - _started),
        **figures,
    }
    folder = WORK / ("short" if short else "long")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{check}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
