"""What the tests do not run, and why: covered.py compares this with what it measures."""

from typing import NamedTuple


class Entry(NamedTuple):
    """Lines that do not run in some rows of the figures, or whose branches are not taken.

    `file` and `function` are patterns as of file names, `what` a piece of the line's text. Of the
    branches of each such line at most so many are explained. `sometimes` is for what may also
    run: which of two things comes first decides it.
    """

    file: str
    what: str
    rows: tuple[str, ...]
    reason: str
    function: str = "*"
    branches: int = 1
    sometimes: bool = False


LOOPS = ("scalar", "avx2", "avx512")
SHARED = ("shared C",)
ALL = SHARED + LOOPS
PYTHON = ("Python",)
BINDING = ("_core.pyx",)

NO_SCHEME = "no kernel of this instruction set takes words of this scheme in panels of this width"
IN_64 = "stochastic rounding works on 64 bits"
WORDLESS = "what is rounded here has no random words"
FLOOR = "the floor adds nothing, and is not asked for what it adds"
ENDED = "another call may be the first to see the end of a cluster"
INTERRUPTED = "interrupts hang on a lock of coverage.py, or are tried without it"
CYTHON = "of this line there is nothing but what Cython does where something fails"
JOINED = "floats are made of sums that join nothing"

UNCOVERED = [
    *[
        Entry("intmlp/_locks.py", "", PYTHON, "forks hang on a lock of coverage.py", name)
        for name in ("_hold", "_release")
    ],
    *[
        Entry("intmlp/_backend/fallback/train.py", what, PYTHON, INTERRUPTED, "Net.train")
        for what in ("except KeyboardInterrupt:", "_write(writes)  # all of it", "raise")
    ],
    Entry(
        "intmlp/study/cluster.py",
        'raise OSError("it has ended',
        PYTHON,
        ENDED,
        sometimes=True,
    ),
    Entry("intmlp/estimators.py", "raise NotImplementedError", PYTHON, "both estimators have it"),
    *[
        Entry("intmlp/_backend/_core.pyx", what, BINDING, CYTHON, sometimes=True)
        for what in (
            "global im_serving",
            "cdef int frac = 0",
            "bias_velocities, steps):",
            "c = &self.net.layers[i]",
            "cdef im_layer *last = ",
            "int64_t first, int64_t count, int lr_shift,",
        )
    ],
    Entry(
        "intmlp/_backend/_core.pyx",
        "no memory for the layers of this network",
        BINDING,
        "a system without some hundred bytes to spare",
    ),
    Entry("src/cpu/threads.c", "work(context, i);", SHARED, "a system without a thread to spare"),
    Entry("src/gemm/sink_tpl.h", "case IM_TO_FLOAT:", LOOPS, JOINED),
    Entry("src/gemm/sink_tpl.h", "case IM_DISCARD: return;", LOOPS, JOINED),
    Entry("src/net/online_tpl.h", "case IM_STOCHASTIC: break;", LOOPS, "make_pairs does it"),
    Entry("src/arith/round_tpl.h", "case IM_FLOOR: break;", ALL, FLOOR),
    Entry("src/arith/round_tpl.h", "return 0;", ALL, FLOOR),
    Entry("src/arith/round_tpl.h", "case IM_STOCHASTIC: return (IM_UINT)", SHARED, WORDLESS),
    Entry("src/arith/round_tpl.h", "case IM_STOCHASTIC: return (IM_UINT)", LOOPS, IN_64),
    Entry("src/arith/round_tpl.h", "case IM_STOCHASTIC: return nearest", LOOPS, IN_64),
    *[
        Entry("src/gemm/cut_tpl.h", "", (row,), NO_SCHEME, f"{name}{width}")
        for row, names in {
            "scalar": {"cut_steps": (1, 4), "pair": (1, 4)},
            "avx512": {"cut_steps": (1, 4, 8), "pair": (1,)},
        }.items()
        for name, widths in names.items()
        for width in widths
    ],
    *[
        Entry("src/gemm/pack_tpl.h", "", ("scalar",), NO_SCHEME, name)
        for name in ("cut_i32", "cut_i32any", "cut_i64")
    ],
    Entry("src/gemm/pack_tpl.h", "DEFINE_WIDEN(i64_to_i32", ("scalar",), NO_SCHEME),
    Entry("src/gemm/pack_tpl.h", "", ("scalar", "avx2"), NO_SCHEME, "pack_chunk"),
    Entry("src/gemm/pack_tpl.h", "case 24:", ("scalar", "avx2"), "AVX-512 has panels of 24 lanes"),
]

ENUMERATION = "the enumeration has no other value"
ONE_BLOCK = "im_exact_block sets no limit to a block of these kernels: the first is the only one"
NO_HEAD = "heads are those of kernels of AVX-512"
ONE_OPERAND = "panels of this width are of one operand alone"
IN_64_BITS = "sizes are beyond what is addressed where a pointer has 32 bits"
RESERVED = "the memory of all products of a step is reserved before the first"
CONSTANT = "a constant, once the function is inlined"

# Branches that cannot be taken; the other branches of the same lines count.
NEVER_TAKEN = [
    Entry("intmlp/selftest.py", "case Training()", PYTHON, "there is no other kind of question"),
    *[
        Entry("src/*", what, ALL, ENUMERATION)
        for what in (
            "IM_FOR_EACH_",
            "switch (rounding)",
            "switch (kind)",
            "switch (layer->function)",
            "switch (sink->kind)",
            "switch (im_layouts[kernel->scheme].sum)",
        )
    ],
    Entry("src/gemm/select.c", "switch (scheme)", SHARED, ENUMERATION),
    Entry("src/gemm/pack_tpl.h", "switch (scheme)", LOOPS, ENUMERATION, "cut_i32"),
    Entry("src/gemm/pack_tpl.h", "switch (scheme)", ("scalar",), NO_SCHEME, "cut_i32", 2),
    Entry("src/gemm/pack_tpl.h", "switch (scheme)", ("scalar",), NO_SCHEME, "cut_i64"),
    Entry("src/gemm/pack_tpl.h", "switch (padded)", ("scalar", "avx2"), NO_SCHEME),
    Entry("src/gemm/pack_tpl.h", "PACK_CHUNK(", LOOPS, ONE_OPERAND),
    Entry("src/gemm/pack_tpl.h", "layout.head_steps && !of_a", ("scalar", "avx2"), NO_HEAD, "*", 3),
    Entry("src/gemm/gemm.h", "layout.head_steps && !of_a", ("scalar", "avx2"), NO_HEAD, "*", 3),
    Entry("src/gemm/cut_tpl.h", "switch (scheme)", ("scalar",), NO_SCHEME),
    Entry("src/gemm/cut_tpl.h", "switch (scheme)", ("avx512",), NO_SCHEME, "cut_steps1"),
    Entry("src/gemm/cut_tpl.h", "switch (scheme)", ("avx512",), NO_SCHEME, "cut_steps[48]", 2),
    Entry("src/gemm/cut_tpl.h", "of_a", ("avx512",), ONE_OPERAND, "cut_steps*"),
    Entry("src/arith/round_tpl.h", "switch (rounding)", ALL, FLOOR, "im_round_more*"),
    Entry("src/arith/round_tpl.h", "switch (rounding)", SHARED, WORDLESS, "im_round_more"),
    Entry("src/arith/round_tpl.h", "switch (rounding)", LOOPS, IN_64, "*_32"),
    Entry("src/net/online_tpl.h", "switch (rounding)", LOOPS, "make_pairs does it"),
    Entry("src/gemm/sink_tpl.h", "switch (sink->kind)", LOOPS, JOINED, "sink_joined"),
    Entry("src/net/loops_tpl.h", "GATE(1.0)", LOOPS, "this slope is not zero"),
    Entry("src/net/loops_tpl.h", "GATE(x[i] >= 0", LOOPS, "neither slope is zero"),
    *[
        Entry("src/gemm/tile_tpl.h", "while (groups > 0)", (row,), ONE_BLOCK, f"{kernel}_tile*")
        for row, kernels in {
            "scalar": ("i64", "i128", "wide"),
            "avx2": ("i32",),
            "avx512": ("i32",),
            "neon": ("i32",),
        }.items()
        for kernel in kernels
    ],
    Entry("src/gemm/kernels_scalar.c", "first", ("scalar",), ONE_BLOCK, "*_move"),
    Entry("src/net/online_tpl.h", "(k > 32) != far", LOOPS, CONSTANT),
    Entry("src/net/online_tpl.h", "ADD_PAIR(0)", LOOPS, CONSTANT),
    Entry("src/net/online_tpl.h", "STORE_PAIR(0)", LOOPS, CONSTANT),
    Entry("src/net/online_tpl.h", "ADD_PAIR(1)", ("scalar", "avx2"), CONSTANT),
    Entry("src/net/online_tpl.h", "STORE_PAIR(1)", ("scalar", "avx2"), CONSTANT),
    Entry(
        "src/net/online_tpl.h",
        "j += LEAST * PAIR",
        ("scalar",),
        "rows of 16 lanes are whole tiles of 8",
        "sum_entries",
    ),
    Entry(
        "src/net/online.c",
        "below.frac <= 30",
        SHARED,
        "im_trains_online leaves the others to the general path",
        "turn_in",
    ),
    Entry(
        "src/net/observe_tpl.h",
        "if (k <= ERROR_BITS) add_to",
        LOOPS,
        "what calls it asks, too, for the reader and the compiler",
    ),
    Entry(
        "src/net/observe.c",
        "may_be_undone(work)",
        SHARED,
        "what fails is what may be undone",
        "im_observe_undo",
    ),
    Entry("src/net/train.c", "packed_W->valid", SHARED, "every MLP keeps packed weights"),
    Entry(
        "src/arith/round.h", "!im_wide_fits(v)", SHARED, "sums in order saturate", "im_enter_wide"
    ),
    Entry("src/arith/round.h", "bits <= 62", SHARED, "asked of weights of 32 bits alone"),
    Entry("src/arith/round.h", "e < -1022", SHARED, "a loss has at most 127 binary places"),
    Entry("src/arith/round.h", "e > 1023", SHARED, "a loss is never scaled up"),
    Entry("src/arith/wide.h", "n >= 192", SHARED, "a bias has less than 192 binary places more"),
    Entry("src/arith/wide.h", "p.limb[1] >> 63", ("avx2", "avx512"), "squares alone are made so"),
    Entry("src/gemm/gemm.c", "size <= PTRDIFF_MAX", SHARED, IN_64_BITS),
    Entry("src/gemm/gemm.h", "b == 0", SHARED, "layers have inputs", "im_room"),
    Entry("src/net/train.c", "bool fits", SHARED, IN_64_BITS, "im_own", 2),
    Entry("src/net/train.c", "work->used = fits", SHARED, IN_64_BITS, "im_own"),
    *[
        Entry(f"src/net/{file}.c", "status", SHARED, RESERVED, name)
        for file, names in {
            "observe": ("im_observe", "observe_backward", "observe_fixed_steps"),
            "observe_online": ("im_online_observe",),
            "online": (
                *("im_online_forward", "im_online_forward_to_loss", "backward"),
                *("observed_backward", "train_step", "im_train_online"),
            ),
            "online_float": ("backward_fixed", "im_online_step"),
            "train": ("im_train",),
            "update": (
                *("exact_gradient", "im_float_gradient", "update_parameter", "update_fixed"),
                "im_update",
            ),
        }.items()
        for name in names
    ],
]

PROCESSOR = "the processor that measured has AVX-512 and what belongs to it"
BY_CHANCE = "two threads that ask at the same moment"

# Branches that could be taken, and are not.
NOT_TAKEN = [
    Entry("intmlp/__main__.py", "__name__", PYTHON, "what is imported is not run"),
    Entry("intmlp/_config.py", "for line in cpuinfo", PYTHON, "Linux on other processors"),
    Entry("intmlp/_locks.py", "register_at_fork", PYTHON, "Windows has no forks"),
    Entry("intmlp/study/cluster.py", "if client.status", PYTHON, ENDED, sometimes=True),
    Entry("src/cpu/avx*.c", "__builtin_cpu_supports", LOOPS, PROCESSOR, "supported", 3),
    Entry("src/cpu/dispatch.c", "supported()", SHARED, PROCESSOR, "im_isas"),
    Entry("src/cpu/dispatch.c", "!known", SHARED, "Python asks once", "im_isas"),
    Entry("src/gemm/gemm.h", "kernel->supported()", SHARED, PROCESSOR, "im_kernel_usable"),
    Entry("src/gemm/select.c", "im_kernel_usable(kernel)", SHARED, PROCESSOR, "im_select"),
    Entry("src/cpu/threads.c", "if (started[i])", SHARED, "a system without a thread to spare"),
    Entry("src/gemm/gemm.c", "im_take(&spare_token)", SHARED, BY_CHANCE, sometimes=True),
    Entry("src/net/softmax_tpl.h", "1 << 22", LOOPS, "a layer of four million outputs"),
]
