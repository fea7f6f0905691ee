"""Networks: what they are, how they start, how they train."""

from .initialisation import Initialisation, normal, uniform
from .mlp import MLP, Gradient, History, Step
from .network import Activation, LayerFormats, Parts, leaky_relu, linear, relu
from .observation import Observation

__all__ = [
    "MLP",
    "Activation",
    "Gradient",
    "History",
    "Initialisation",
    "LayerFormats",
    "Observation",
    "Parts",
    "Step",
    "leaky_relu",
    "linear",
    "normal",
    "relu",
    "uniform",
]
