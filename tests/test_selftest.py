"""Golden hashes: the committed table is the oracle's, every backend agrees, faults are reported."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest

import answers
import intmlp
from intmlp import selftest
from intmlp.qformat import OVERFLOWS, ROUNDINGS
from support import BACKENDS, run_command

QUICK = {"random words", "requantize", "accumulators", "deltas", "model files", "divergence"}
questions = functools.cache(selftest.questions)


@pytest.fixture
def few(monkeypatch):
    """Let the self-test ask two groups alone."""
    for group in set(selftest.GROUPS) - {"random words", "deltas"}:
        monkeypatch.delitem(selftest.GROUPS, group)


@pytest.mark.parametrize(
    "group",
    [pytest.param(g, marks=() if g in QUICK else pytest.mark.long) for g in selftest.GROUPS],
)
def test_table_is_the_oracles(group):
    assert selftest.table()[group] == answers.digest(group)


def test_file_is_what_its_maker_writes(monkeypatch):
    monkeypatch.setattr(answers, "digest", selftest.table().get)
    path = Path(intmlp.__file__).parent / "data" / "golden.json"
    assert path.read_text(encoding="utf-8") == answers.text()


@pytest.mark.long
def test_every_backend_agrees(capsys):
    status, out, err = run_command(capsys, "selftest")
    assert (status, err) == (0, "")
    facts, _, rows = out.partition("\n\n")
    assert facts.splitlines() == [f"{k}: {v}" for k, v in intmlp.show_config().items()]
    head, *rows, last = rows.splitlines()
    assert head.split() == ["group", "calls", *BACKENDS]
    for group, row in zip(selftest.GROUPS, rows, strict=True):
        words = [*group.split(), str(len(questions(group))), *["agrees"] * len(BACKENDS)]
        assert row.split() == words
    digests = len(selftest.GROUPS) * len(BACKENDS)
    assert re.fullmatch(
        rf"{digests} of {digests} digests agree on {', '.join(BACKENDS)}, in \d+\.\d s", last
    )


@pytest.mark.parametrize("broken", BACKENDS)
def test_fault_is_reported(capsys, monkeypatch, few, broken):
    def requantize(*arguments, **more):
        result = intmlp.requantize(*arguments, **more)
        if intmlp.show_config()["backend"] == broken:
            result[-1] ^= 1
        return result

    monkeypatch.setattr(selftest, "requantize", requantize)
    status, out, err = run_command(capsys, "selftest")
    assert status == 1
    wanted = selftest.table()["random words"]
    start = f"intmlp: random words on {broken}: wanted {wanted}, found "
    assert re.fullmatch(f"{re.escape(start)}[0-9a-f]{{64}}\n", err)
    assert wanted not in err.partition(", found ")[2]
    _, words, deltas, last = out.partition("\n\n")[2].splitlines()
    verdicts = dict(zip(BACKENDS, words.split()[-len(BACKENDS) :], strict=True))
    assert verdicts.pop(broken) == "DIFFERS"
    assert set(verdicts.values()) <= {"agrees"}
    assert deltas.count("agrees") == len(BACKENDS)
    assert last.startswith(f"{2 * len(BACKENDS) - 1} of {2 * len(BACKENDS)} digests agree on ")


def test_error_is_a_difference(capsys, monkeypatch, few):
    monkeypatch.setattr(selftest, "requantize", lambda *_, **more: 1 // 0)
    status, out, err = run_command(capsys, "selftest")
    assert status == 1
    assert out.count("DIFFERS") == len(BACKENDS)
    assert err.count("found ZeroDivisionError: integer division or modulo by zero\n") == len(
        BACKENDS
    )


def test_backend_serves_on_after_it(backend, few):
    for _ in selftest.check():
        pass
    assert intmlp.show_config()["backend"] == backend


def test_table_of_another_version(capsys, monkeypatch):
    monkeypatch.setattr(selftest, "arithmetic_version", 2)
    status, _, err = run_command(capsys, "selftest")
    assert status == 2
    assert err == (
        "intmlp: golden.json is of arithmetic_version 1, the package of 2: this installation is a "
        "mix of two\n"
    )


# --- What is asked ----------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["quantize", "dequantize", "requantize", "matmul"])
def test_every_format_is_asked(group):
    formats = [question.fmt for question in questions(group)]
    assert {(f.bits, f.rounding, f.overflow) for f in formats} == {
        (bits, rounding, overflow)
        for bits in range(2, 65)
        for rounding in ROUNDINGS
        for overflow in OVERFLOWS
    }
    assert {f.frac for f in formats} == set(range(64))


def test_every_number_of_random_bits_is_asked():
    assert {asked.random_bits for asked in questions("random words")} == set(range(1, 33))


def test_every_kernel_is_asked(backend):
    found = {"i16madd"}  # which serves where the processor lacks VNNI
    for group in ("matmul", "kernels", "accumulators"):
        for asked in questions(group):
            a, b = np.array(asked.a), np.array(asked.b)
            found.add(
                intmlp.explain_matmul(
                    a, b, asked.frac_in, asked.fmt, bias=asked.bias, bias_frac=asked.bias_frac,
                    accumulator=asked.accumulator,
                ).kernel
            )  # fmt: skip
    assert found >= set(intmlp._backend.active().matmul_kernels())


def test_large_products_are_shared_out():
    for asked in questions("threads"):
        a, b = np.array(asked.a), np.array(asked.b)
        work = a.shape[0] * a.shape[1] * b.shape[1] * asked.repeats**2
        assert work / 24e6 >= max(asked.threads)  # `share_out` of src/gemm/gemm.c


def test_digest_is_that_of_values():
    """One NaN, any byte order and width; not another shape, kind, sign of zero or order."""
    same = [
        [np.array([[1, -2]], dtype) for dtype in ("<i4", ">i4", "<i8", ">i8")],
        [np.array([1.5, np.nan], "<f8"), np.array([1.5, -np.nan], ">f8"), [1.5, float("nan")]],
    ]
    for arrays in same:
        assert len({selftest.digest([array]) for array in arrays}) == 1
    others = [
        *([a[0]] for a in same), [[[1], [-2]]], [[1, -2]], [[[1.0, -2.0]]], [[[-2, 1]]], [[0.0]],
        [[-0.0]], [[0]], [[0], [0]], [[0, 0]], [b""], [b"0"], [b"", b"0"], [],
    ]  # fmt: skip
    assert len({selftest.digest(given) for given in others}) == len(others)


def test_numbers_are_what_they_were():
    """The questions follow from SHAKE-128 and integers alone."""
    assert selftest.Numbers("a name").raws(16, 5) == [-18625, 753, 24391, -30254, 17351]
