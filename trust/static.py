"""Warnings and static analysis of every file of src/: no finding that is not explained here.

    python trust/static.py [--short]

gcc and clang compile each file with WARNINGS; clang-tidy reads it with the checks of .clang-tidy,
which include the clang analyser, and so does cppcheck, which cannot read the kernels. Each x86 file
names its instruction set itself, so that it is read as it is compiled; those of NEON are read for
aarch64. The long form adds the analyser of gcc, what its optimiser warns of, the core without a
128-bit integer, and every file for aarch64.
"""

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor

from builds import LANGUAGE
from check import CHECKOUT, command_line, need, record, run

# Not among them: -Wcast-align, since bytes are cast to what stands there (alignment is what the
# undefined-behaviour sanitizer looks at); -Wfloat-equal, since equal is meant; -Wswitch-enum and
# -Wswitch-default, of which one contradicts the other.
WARNINGS = (
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wdouble-promotion"),
    *("-Wshadow", "-Wundef", "-Wcast-qual", "-Wpointer-arith", "-Wwrite-strings", "-Wvla"),
    *("-Wstrict-prototypes", "-Wmissing-prototypes", "-Wold-style-definition", "-Wformat=2"),
    *("-Wredundant-decls", "-Wnested-externs", "-Wunused-macros"),
)
GCC_WARNINGS = (
    *WARNINGS,
    *("-Wduplicated-cond", "-Wduplicated-branches", "-Wlogical-op", "-Wnull-dereference"),
)
CLANG_WARNINGS = (*WARNINGS, "-Wconditional-uninitialized", "-Wcomma", "-Wunreachable-code")

# What is printed has one form, which FINDING reads.
GCC = (*LANGUAGE, "-fdiagnostics-plain-output", "-fdiagnostics-path-format=none", "-o", os.devnull)
CLANG = (*LANGUAGE, "-fno-caret-diagnostics", "-fno-color-diagnostics", "-fsyntax-only")
FINDING = re.compile(r"(\S+?):(\d+):\d+: \w+: .* \[([\w.,=-]+)\]$")
ARM = "--target=aarch64-linux-gnu"

# What cppcheck is asked, and what it is not: shifts of negative numbers by more than their width
# less one are defined by every compiler that builds this, and by tests; `flag <= condition` is a
# loop over one or two; rows and their elements are cast to the type that `kind` names. Its
# preprocessor does not expand tile_tpl.h, so that it cannot read the kernels.
CPPCHECK = (
    *("--quiet", "--std=c11", "--platform=unix64", f"-j{os.cpu_count()}"),
    *("--enable=warning,performance,portability", "--inconclusive", "-D__x86_64__=1"),
    *("-D__GNUC__=12", "-D__linux__=1", "-D__unix__=1", "-D__SIZEOF_INT128__=16"),
    *(
        f"--suppress={name}"
        for name in (
            "shiftTooManyBitsSigned",
            "compareBoolExpressionWithInt",
            "invalidPointerCast",
        )
    ),
    *(f"-isrc/gemm/kernels_{isa}.c" for isa in ("scalar", "avx2", "avx512", "neon")),
    "--template={file}:{line}:{column}: {severity}: {message} [{id}]",
)

# Findings that stand: the check, the file, words of the line, and why. One that no tool finds any
# more is an error.
WIDENED = "bugprone-implicit-widening-of-multiplication-result"
PARENTHESES = "bugprone-macro-parentheses"
EXPLAINED = {
    (WIDENED, "src/gemm/kernels_avx2.c", "4 * at"): "at is a vector's place in a tile",
    (WIDENED, "src/gemm/kernels_neon.c", "2 * at"): "as above",
    (WIDENED, "src/gemm/kernels_scalar.c", "at * F64_LANES"): "as above",
    ("bugprone-integer-division", "src/gemm/select.c", "double moves"): "whole blocks are counted",
    (PARENTHESES, "src/gemm/kernels_avx512.c", "enum {"): "whole initial values",
    (PARENTHESES, "src/net/online.c", "TYPE *turned"): "a type, and whole initial values",
    ("clang-analyzer-unix.Malloc", "src/gemm/gemm.c", "free(packed->panels)"): (
        "the analyser forgets that keep() allocated anew what it had freed"
    ),
    ("clang-analyzer-core.CallAndMessage", "src/gemm/order.c", "im_wide_of(sums[at])"): (
        "a tile has a row and a column at least, and every sum of it was set to its start"
    ),
    ("clang-analyzer-core.N", "src/net/update.c", "of"): (
        "lay_out() reserves a gradient for every parameter of a step with a float part"
    ),
    (
        "uninitvar",
        "src/gemm/gemm.c",
        "plan.kernel",
    ): "im_gemm() has set it where it ends with IM_OK",
    ("uninitvar", "src/net/online.c", "&unused"): "it is written alone",
    ("uninitvar", "src/net/train.c", "&unused"): "it is written alone",
    ("-Wanalyzer-null-dereference", "src/arith/round.h", "words[i]"): (
        "callers hand in words where the rounding is stochastic: random_words() of isa_tpl.h"
    ),
}


def commands(short):
    """Yield the commands."""
    for path in sorted((CHECKOUT / "src").glob("*/*.c")):
        file = str(path.relative_to(CHECKOUT))
        is_arm = "neon" in path.name
        if not is_arm:
            yield "clang-tidy", "--quiet", file, "--", *LANGUAGE
            yield "gcc", *GCC, *GCC_WARNINGS, "-fsyntax-only", file
            yield "clang", *CLANG, *CLANG_WARNINGS, file
        if is_arm or not short:
            yield "clang-tidy", "--quiet", file, "--", *LANGUAGE, ARM
            yield "aarch64-linux-gnu-gcc", *GCC, *GCC_WARNINGS, "-fsyntax-only", file
            yield "clang", *CLANG, *CLANG_WARNINGS, ARM, file
        if not short:
            compiler = "aarch64-linux-gnu-gcc" if is_arm else "gcc"
            yield compiler, *GCC, "-O1", "-fanalyzer", "-c", file
            yield compiler, *GCC, *GCC_WARNINGS, "-O2", "-c", file
            yield compiler, *GCC, *GCC_WARNINGS, "-O2", "-DIM_NO_INT128", "-c", file
    yield "cppcheck", *CPPCHECK, "src"


def main():
    short = command_line(__doc__, "what takes less than a minute").parse_args().short
    asked = list(commands(short))
    need(*{name for name, *_ in asked})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        printed = list(pool.map(lambda command: run(*command, where=CHECKOUT), asked))

    unexplained, explained, unused = set(), set(), set(EXPLAINED)
    for line in "\n".join(printed).splitlines():
        found = FINDING.match(line)
        if not found:
            if re.search(r"\b(warning|error|portability|performance): ", line):
                unexplained.add(line)
            continue
        path = os.path.relpath(os.path.realpath(CHECKOUT / found[1]), CHECKOUT)
        text = (CHECKOUT / path).read_text(encoding="utf-8").splitlines()[int(found[2]) - 1]
        known = [
            key for key in EXPLAINED if key[0] in found[3] and key[1] == path and key[2] in text
        ]
        explained.update(known)
        if not known:
            unexplained.add(f"{path}:{found[2]}: {text.strip()}\n    {line}")
    if not short:
        unused -= explained
        unexplained.update(f"no tool finds this any more: {key}" for key in unused)
    if unexplained:
        sys.exit("\n".join(sorted(unexplained)))
    files = len(list((CHECKOUT / "src").glob("*/*.[ch]")))
    record(
        "static",
        short,
        files=files,
        runs=len(asked),
        warnings=len(set(GCC_WARNINGS + CLANG_WARNINGS)),
        explained=len(explained),
    )


if __name__ == "__main__":
    main()
