"""Exact fixed-point neural networks: the same integers on every machine, compiled.

The arithmetic is stated in docs/numerics.md; `arithmetic_version` names its version.
"""

from ._config import show_config
from ._threads import get_num_threads, set_num_threads
from ._version import __version__, arithmetic_version
from .nn import (
    MLP,
    Activation,
    Gradient,
    History,
    Initialisation,
    LayerFormats,
    Parts,
    Step,
    leaky_relu,
    linear,
    normal,
    relu,
    uniform,
)
from .ops import dequantize, matmul, quantize, requantize
from .qformat import QFormat

__all__ = [
    "MLP",
    "Activation",
    "Gradient",
    "History",
    "Initialisation",
    "LayerFormats",
    "Parts",
    "QFormat",
    "Step",
    "__version__",
    "arithmetic_version",
    "dequantize",
    "get_num_threads",
    "leaky_relu",
    "linear",
    "matmul",
    "normal",
    "quantize",
    "relu",
    "requantize",
    "set_num_threads",
    "show_config",
    "uniform",
]
