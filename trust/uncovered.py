"""Lines that the tests do not run, and why: covered.py compares this with what it measures."""

from typing import NamedTuple


class Entry(NamedTuple):
    """Lines of a file that do not run in some rows of the figures.

    `what` is a piece of their text, or the name of a function and parentheses for those in it.
    """

    file: str
    what: str
    rows: tuple[str, ...]
    reason: str


NO_SCHEME = "no kernel of this instruction set takes words of this scheme in panels of this width"
IN_64 = "stochastic rounding works on 64 bits"
FLOOR = "the floor adds nothing, and is not asked for what it adds"
LOOPS = ("scalar", "avx2", "avx512")

UNCOVERED = [
    Entry("src/arith/round_tpl.h", "case IM_FLOOR: break;", ("shared C", *LOOPS), FLOOR),
    Entry("src/arith/round_tpl.h", "return 0;", ("shared C", *LOOPS), FLOOR),
    Entry("src/arith/round_tpl.h", "case IM_STOCHASTIC: return (IM_UINT)", LOOPS, IN_64),
    Entry("src/arith/round_tpl.h", "case IM_STOCHASTIC: return nearest", LOOPS, IN_64),
    *[
        Entry("src/gemm/cut_tpl.h", f"{name}{width}()", (row,), NO_SCHEME)
        for row, names in {
            "scalar": {"cut_steps": (1, 4), "pair": (1, 4), "quad": (1, 4)},
            "avx2": {"cut_steps": (1, 4, 8), "quad": (1, 4, 8)},
            "avx512": {"cut_steps": (1, 4, 8), "pair": (1,), "quad": (1,)},
        }.items()
        for name, widths in names.items()
        for width in widths
    ],
    Entry("src/gemm/pack_tpl.h", "cut_i32()", ("scalar",), NO_SCHEME),
    Entry("src/gemm/pack_tpl.h", "cut_i32any()", ("scalar",), NO_SCHEME),
    Entry("src/gemm/pack_tpl.h", "cut_i64()", ("scalar",), NO_SCHEME),
    Entry("src/gemm/pack_tpl.h", "DEFINE_WIDEN(i64_to_i32", ("scalar",), NO_SCHEME),
    Entry("src/gemm/pack_tpl.h", "pack_chunk()", ("scalar", "avx2"), NO_SCHEME),
    Entry("src/gemm/pack_tpl.h", "case 24:", ("scalar", "avx2"), "AVX-512 has panels of 24 lanes"),
]
