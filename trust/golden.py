"""Golden hashes: the table is the oracle's, and every backend of several builds gives it.

    python trust/golden.py [--short]

The short form makes the table again, and runs `intmlp selftest` on the package that is
installed; the long one runs it on builds without and with optimisation, too.
"""

import sys

from builds import build
from check import CHECKOUT, WORK, backends, command_line, read_selftest, record, run

sys.path.insert(0, str(CHECKOUT / "tests"))
import answers

selftest = answers.selftest
BUILDS = {"gcc -O0": ("gcc", "-O0"), "clang -O2": ("clang", "-O2")}


def agreeing(folder=None):
    """Run `intmlp selftest` on the package in `folder`, or on that installed."""
    path = {"PYTHONPATH": str(folder)} if folder else {}
    printed = run(sys.executable, "-m", "intmlp", "selftest", **path)
    print(printed)
    return read_selftest(printed)


def main():
    short = command_line(__doc__, "the installed package alone").parse_args().short
    WORK.mkdir(parents=True, exist_ok=True)

    committed = (CHECKOUT / "intmlp" / "data" / "golden.json").read_text(encoding="utf-8")
    if answers.text() != committed:
        raise SystemExit("golden.json is not what the oracle gives: see tools/make_golden.py")
    print("golden.json is what the oracle gives")
    tests = [agreeing()]
    for name, (cc, cflags) in {} if short else BUILDS.items():
        print(f"built by {name}")
        tests.append(agreeing(build(f"golden {name}", cc, cflags)))
    if any(test.tested != backends() for test in tests):
        raise SystemExit(f"a build lacks a backend: {[test.tested for test in tests]}")

    questions = {group: selftest.questions(group) for group in selftest.GROUPS}
    asked = [question for of_group in questions.values() for question in of_group]
    formats = {fmt for question in asked if (fmt := getattr(question, "fmt", None))}
    products = [question for question in asked if isinstance(question, selftest.Matmul)]
    shapes = [
        (len(asked.a) * asked.repeats, len(asked.b), len(asked.b[0]) * asked.repeats)
        for asked in products
    ]
    pairs = {(asked.fmt, shape) for asked, shape in zip(products, shapes, strict=True)}
    networks = [question for question in asked if isinstance(question, selftest.Training)]
    record(
        "golden",
        short,
        groups=len(questions),
        questions=len(asked),
        formats=len(formats),
        shapes=len(set(shapes)),
        formats_and_shapes=len(pairs),
        networks=len(networks),
        sizes=len({tuple(asked.network["sizes"]) for asked in networks}),
        backends=tests[0].tested,
        builds=len(tests),
        digests=sum(test.digests for test in tests),
        agreeing=sum(test.agreeing for test in tests),
        selftest_seconds=tests[0].seconds,
    )


if __name__ == "__main__":
    main()
