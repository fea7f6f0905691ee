"""Draw the figures of the guides into docs/: each is computed anew; needs the extra ``study``.

Usage: python tools/guide_figures.py docs
"""

import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from intmlp import MLP, LayerFormats, Parts, QFormat, Stream, linear, relu, requantize
from intmlp import suggest_formats as suggest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

IMAGES, LABELS = load_digits(return_X_y=True)
X, Y = IMAGES / 16, np.eye(10)[LABELS]
TRAIN, TEST = slice(0, 1400), slice(1400, None)
SHAPE = {"activation": [relu(), linear()]}


def share_right(net):
    """Return the accuracy on the last samples."""
    return np.mean(net.forward(X[TEST]).argmax(axis=1) == LABELS[TEST])


def from_float(path):
    """Accuracy of a float model's weights over the width of all tensors."""
    model = MLPClassifier([32], max_iter=40, tol=0.0, random_state=0, n_iter_no_change=40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X[TRAIN], LABELS[TRAIN])
    weights, sizes = [w.T for w in model.coefs_], [64, 32, 10]
    floats = MLP(sizes, QFormat(2, 0), parts=Parts("float", "float", "float"), **SHAPE)
    floats.set_weights(weights, model.intercepts_)
    widths, accuracies = list(range(4, 17)), []
    for bits in widths:
        each = {"activation": bits, "weight": bits, "delta": 32, "gradient": 32, "velocity": 32}
        found = suggest(floats, X[TRAIN], Y[TRAIN], lr_shift=60, bits=each)
        net = MLP(sizes, found.formats, input_format=found.input_format, **SHAPE)
        net.set_weights(weights, model.intercepts_)
        accuracies.append(share_right(net))
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    axes.axhline(share_right(floats), color="black", linewidth=1, label="float64")
    axes.plot(widths, accuracies, "o-", color="#0072b2", label="fixed point")
    axes.set(xlabel="bits of every tensor", ylabel="test accuracy", xticks=widths)
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def weight_paths(axes):
    """Show one weight under steps of a tenth of its last place."""
    steps, tenth = 200, 410  # of 4096
    axes.plot([0, steps], [0, steps * tenth / 4096], color="black", label="exact sum", zorder=3)
    fmt = QFormat(16, 0, "stochastic")
    for seed in range(12):
        moves = requantize(np.full(steps, tenth), 12, fmt, stream=Stream(seed))
        label = "stochastic" if seed == 0 else None
        axes.step(range(steps + 1), [0, *np.cumsum(moves)], color="0.7", linewidth=0.8, label=label)
    nearest = np.cumsum(requantize(np.full(steps, tenth), 12, QFormat(16, 0)))
    axes.plot(range(1, steps + 1), nearest, color="#d55e00", linewidth=2, label="to nearest")
    axes.set(xlabel="step", ylabel="weight, in units of its last place")
    axes.legend(frameon=False, loc="upper left")


def accuracy_over_fraction(axes):
    """Show accuracy over the fraction bits of the weights."""
    wide, fractions = QFormat(16, 11), list(range(3, 14))
    colours = {"floor": "#cc79a7", "half_even": "#d55e00", "stochastic": "#0072b2"}
    for rounding, colour in colours.items():
        means = []
        for frac in fractions:
            formats = LayerFormats(wide, QFormat(frac + 3, frac, rounding), wide, wide)
            runs = []
            for seed in range(5):
                net = MLP([64, 32, 10], formats, seed=seed, rounding_seed=seed, **SHAPE)
                net.train(X[TRAIN], Y[TRAIN], 6, epochs=3, seed=seed, overflow="ignore")
                runs.append(share_right(net))
            means.append(np.mean(runs))
        axes.plot(fractions, means, "o-", color=colour, label=rounding, markersize=4)
    axes.set(xlabel="fraction bits of the weights", ylabel="test accuracy", ylim=(0, 1))
    axes.legend(frameon=False, loc="lower right")


def stochastic_rounding(path):
    """Both halves of the figure."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    weight_paths(left)
    accuracy_over_fraction(right)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    from_float(folder / "from_float.png")
    stochastic_rounding(folder / "stochastic_rounding.png")
