"""Exact fixed-point neural networks: the same integers on every machine, compiled.

The arithmetic is stated in docs/numerics.md; `arithmetic_version` names its version.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._config import show_config
from ._threads import get_num_threads, set_num_threads
from ._version import __version__, arithmetic_version
from .ops import MatmulPlan, dequantize, explain_matmul, matmul, quantize, requantize
from .qformat import Accumulator, QFormat
from .stream import Stream

if TYPE_CHECKING:
    from .nn import (
        MLP,
        Activation,
        FormatSuggestion,
        Gradient,
        History,
        Initialisation,
        LayerFormats,
        Observation,
        OverflowWarning,
        Parts,
        Step,
        TensorRange,
        hard_sigmoid,
        hard_tanh,
        leaky_relu,
        linear,
        normal,
        relu,
        sigmoid,
        suggest_formats,
        tanh,
        uniform,
    )

__all__ = [
    "MLP",
    "Accumulator",
    "Activation",
    "FormatSuggestion",
    "Gradient",
    "History",
    "Initialisation",
    "LayerFormats",
    "MatmulPlan",
    "Observation",
    "OverflowWarning",
    "Parts",
    "QFormat",
    "Step",
    "Stream",
    "TensorRange",
    "__version__",
    "arithmetic_version",
    "dequantize",
    "explain_matmul",
    "get_num_threads",
    "hard_sigmoid",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "matmul",
    "normal",
    "quantize",
    "relu",
    "requantize",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "suggest_formats",
    "tanh",
    "uniform",
]


def __getattr__(name: str) -> Any:
    """Import the networks at their first use: most of the time of an import is theirs."""
    if name not in ("nn", *__all__):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    nn = import_module(f"{__name__}.nn")
    globals().update((public, getattr(nn, public)) for public in nn.__all__)
    return globals()[name]


def __dir__() -> list[str]:
    """Return the names of the module, with those that are yet to be imported."""
    return sorted({*globals(), *__all__})
