"""Networks: what they are, how they start, how they train."""

from .initialisation import Initialisation, normal, uniform
from .mlp import MLP, Gradient, History, Step
from .network import Activation, LayerFormats, Parts, leaky_relu, linear, relu

__all__ = [
    "MLP",
    "Activation",
    "Gradient",
    "History",
    "Initialisation",
    "LayerFormats",
    "Parts",
    "Step",
    "leaky_relu",
    "linear",
    "normal",
    "relu",
    "uniform",
]
