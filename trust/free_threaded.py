"""Python without the GIL: a wheel for it leaves it off, and its self-test and all threads agree.

    python trust/free_threaded.py [--short]

The long form builds a free-threaded Python from the sources of Debian, where none is on the PATH;
the short one then records that it was skipped.
"""

import hashlib
import os
import shutil
import subprocess
import urllib.request

from builds import SOURCES, copy
from check import WORK, command_line, read_selftest, record, run
from concurrency import tried

NAMES = ("python3.14t", "python3.13t")
SOURCE = "http://deb.debian.org/debian/pool/main/p/python3.13/python3.13_3.13.5.orig.tar.xz"
SHA256 = "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640"
PACKAGES = ("numpy", "Cython>=3.1", "setuptools>=77", "pytest>=8", "hypothesis>=6.90", "joblib")
OF_FILES = "tests/test_concurrency.py::test_killed_saves_leave_a_whole_file"

OFF = """
import os, sys, intmlp
assert intmlp.show_config()["backend"].startswith("c:"), intmlp.show_config()
assert not sys._is_gil_enabled(), "importing turned the GIL on"
print(sys.version.split()[0], intmlp.show_config()["numpy"], os.path.dirname(intmlp.__path__[0]))
"""


def compiled():
    """Return a free-threaded Python, built from source."""
    folder = WORK / "free_threaded"
    python = folder / "installed" / "bin" / "python3.13t"
    if python.exists():
        return python
    folder.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(SOURCE) as response:
        content = response.read()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{SOURCE} is not what it was")
    archive = folder / "python.tar.xz"
    archive.write_bytes(content)
    shutil.unpack_archive(archive, folder)
    [sources] = folder.glob("Python-3.13*")
    run("./configure", "-q", "--disable-gil", f"--prefix={folder / 'installed'}", where=sources)
    run("make", "-s", f"-j{os.cpu_count()}", where=sources)
    run("make", "-s", "install", where=sources)
    if subprocess.run([python, "-c", "import ctypes, sqlite3, ssl, zlib"]).returncode:
        shutil.rmtree(folder)
        raise SystemExit(
            "Python was built without all of its modules: "
            "apt-get install libffi-dev libsqlite3-dev libssl-dev zlib1g-dev"
        )
    return python


def main():
    short = command_line(__doc__, "build no Python for it").parse_args().short
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and short:
        record("free_threaded", short, skipped=f"no {' or '.join(NAMES)} on PATH")
        return
    environment = WORK / "free_threaded" / "environment"
    subprocess.run([found or compiled(), "-m", "venv", "--clear", environment], check=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # The newest NumPy has no wheel for Python 3.13t, an older one has.
    subprocess.run([*install, "--prefer-binary", *PACKAGES], check=True)
    # safetensors has no wheel for every such Python; only files of networks need it.
    files = subprocess.run([*install, "--only-binary=:all:", "safetensors"]).returncode == 0
    sources, wheels = WORK / "free_threaded" / "sources", WORK / "free_threaded" / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    copy(SOURCES, sources)
    run(*install[:3], "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, sources)
    [wheel] = wheels.glob("intmlp-*t-linux_*.whl")
    subprocess.run([*install, "--no-deps", wheel], check=True)

    off = run(python, "-W", "error", "-c", OFF, where=environment)
    version, numpy, folder = off.split()
    # Without safetensors one group differs on each backend, and the status says so.
    printed = subprocess.run(
        [environment / "bin" / "intmlp", "selftest"],
        cwd=environment,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    print(printed)
    selftest = read_selftest(printed)
    if selftest.digests - selftest.agreeing != (0 if files else len(selftest.tested)):
        raise SystemExit("the self-test failed")
    left_out = () if files else (f"--deselect={OF_FILES}",)
    figures = tried(folder, 1 if short else 5, *left_out, python=python)
    record(
        "free_threaded",
        short,
        python=version,
        numpy=numpy,
        wheel=wheel.name,
        digests=selftest.agreeing,
        files=files,
        **figures,
    )


if __name__ == "__main__":
    main()
