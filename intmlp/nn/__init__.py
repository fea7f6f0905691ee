"""Networks: what they are, how they start, how they train."""

from .initialisation import Initialisation, normal, uniform
from .mlp import MLP, Gradient, History, Step
from .network import (
    Activation,
    LayerFormats,
    Parts,
    hard_sigmoid,
    hard_tanh,
    leaky_relu,
    linear,
    relu,
    sigmoid,
    tanh,
)
from .observation import Observation, OverflowWarning
from .suggest import FormatSuggestion, TensorRange, suggest_formats

__all__ = [
    "MLP",
    "Activation",
    "FormatSuggestion",
    "Gradient",
    "History",
    "Initialisation",
    "LayerFormats",
    "Observation",
    "OverflowWarning",
    "Parts",
    "Step",
    "TensorRange",
    "hard_sigmoid",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "normal",
    "relu",
    "sigmoid",
    "suggest_formats",
    "tanh",
    "uniform",
]
