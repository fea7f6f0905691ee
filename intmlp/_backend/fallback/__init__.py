"""The Python twin of the compiled core: the same names, signatures and numbers, from NumPy.

It is laid out like ``src/``: `arith`, `gemm`, and the parts of a network, `layer`, `loss`,
`update` and `train`; `plain` and `threads` stand in for what only a compiled core has. The stub of
the core, ``_core.pyi``, is the interface of both.
"""

from __future__ import annotations

from ..._check import choice
from .arith import dequantize, quantize, requantize
from .gemm import explain_matmul, matmul, matmul_kernels
from .plain import plain_dequantize, plain_matmul, plain_quantize, plain_requantize
from .threads import limit_threads, set_threads, threads
from .train import Net

__all__ = [
    "Net",
    "build_info",
    "dequantize",
    "explain_matmul",
    "instruction_sets",
    "limit_threads",
    "matmul",
    "matmul_kernels",
    "plain_dequantize",
    "plain_matmul",
    "plain_quantize",
    "plain_requantize",
    "quantize",
    "requantize",
    "set_threads",
    "threads",
    "use_instruction_set",
]


def instruction_sets() -> tuple[str, ...]:
    """Return the only instruction set there is here, ``python``."""
    return ("python",)


def use_instruction_set(name: str) -> None:
    """Accept ``python``; ValueError for any other name."""
    choice("name", name, instruction_sets())


def build_info() -> dict[str, str]:
    """Return what the backend was built with."""
    return {"compiler": "none"}
