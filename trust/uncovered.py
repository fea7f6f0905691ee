"""What the tests do not run, and why: covered.py compares this with what it measures."""

from typing import NamedTuple


class Entry(NamedTuple):
    """Lines of a file that do not run in some rows of the figures, or whose branches are not taken.

    `what` is a piece of their text, or the name of a function and parentheses for those in it.
    `sometimes` is for what may also run: which of two things comes first decides it.
    """

    file: str
    what: str
    rows: tuple[str, ...]
    reason: str
    sometimes: bool = False


NO_SCHEME = "no kernel of this instruction set takes words of this scheme in panels of this width"
IN_64 = "stochastic rounding works on 64 bits"
FLOOR = "the floor adds nothing, and is not asked for what it adds"
LOOPS = ("scalar", "avx2", "avx512")
ONE_BLOCK = "im_exact_block sets no limit to a block of these kernels: the first is the only one"

UNCOVERED = [
    *[
        Entry("intmlp/_locks.py", f"{name}()", ("Python",), "forks hang on a lock of coverage.py")
        for name in ("_hold", "_release")
    ],
    Entry(
        "intmlp/study/cluster.py",
        'raise OSError("it has ended',
        ("Python",),
        "another call may be the first to see the end of a cluster",
        sometimes=True,
    ),
    Entry(
        "intmlp/estimators.py", "raise NotImplementedError", ("Python",), "both estimators have it"
    ),
    Entry(
        "src/cpu/threads.c",
        "work(context, i);",
        ("shared C",),
        "a system without a thread to spare",
    ),
    Entry(
        "src/gemm/sink_tpl.h",
        "case IM_TO_FLOAT:",
        LOOPS,
        "floats are made of sums that join nothing",
    ),
    Entry("src/gemm/sink_tpl.h", "case IM_DISCARD: return;", LOOPS, "as above"),
    Entry(
        "src/net/online_tpl.h", "case IM_STOCHASTIC: break; /* make_pairs */", LOOPS, "as it says"
    ),
    Entry("src/arith/round_tpl.h", "case IM_FLOOR: break;", ("shared C", *LOOPS), FLOOR),
    Entry("src/arith/round_tpl.h", "return 0;", ("shared C", *LOOPS), FLOOR),
    Entry(
        "src/arith/round_tpl.h", "case IM_STOCHASTIC: return (IM_UINT)", ("shared C", *LOOPS), IN_64
    ),
    Entry("src/arith/round_tpl.h", "case IM_STOCHASTIC: return nearest", LOOPS, IN_64),
    *[
        Entry("src/gemm/cut_tpl.h", f"{name}{width}()", (row,), NO_SCHEME)
        for row, names in {
            "scalar": {"cut_steps": (1, 4), "pair": (1, 4)},
            "avx512": {"cut_steps": (1, 4, 8), "pair": (1,)},
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

# Lines of which a branch cannot be taken; the other branches of the same line count.
NEVER_TAKEN = [
    Entry("src/gemm/tile_tpl.h", f"{kernel}_tile{shape}()", (row,), ONE_BLOCK)
    for row, kernels in {
        "scalar": {"i64": ("4x1", "4x2"), "i128": ("2x1", "2x2"), "wide": ("2x1",)},
        "avx2": {"i32": ("4x1", "4x2")},
        "avx512": {"i32": ("8x1", "8x2", "8x3")},
        "neon": {"i32": ("8x1", "8x2")},
    }.items()
    for kernel, shapes in kernels.items()
    for shape in shapes
]
