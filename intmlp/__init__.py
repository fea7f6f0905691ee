"""Exact fixed-point neural networks: the same integers on every machine, compiled.

The arithmetic is stated in docs/numerics.md; `arithmetic_version` names its version.
"""

from ._config import show_config
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
    "leaky_relu",
    "linear",
    "matmul",
    "normal",
    "quantize",
    "relu",
    "requantize",
    "show_config",
    "uniform",
]
