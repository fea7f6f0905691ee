"""Fixed-point networks as scikit-learn estimators; needs the extra ``sklearn``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from copy import deepcopy
from numbers import Real
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from ._check import choice, instance, integer
from .nn import (
    MLP,
    Activation,
    Initialisation,
    LayerFormats,
    OverflowWarning,
    Parts,
    hard_sigmoid,
    hard_tanh,
    linear,
    relu,
    sigmoid,
    tanh,
    uniform,
)
from .nn.network import Loss, Update
from .ops import dequantize
from .qformat import Accumulator, QFormat
from .stream import Stream

Array = NDArray[Any]

ACTIVATIONS = {
    "identity": linear,
    "relu": relu,
    "logistic": sigmoid,
    "tanh": tanh,
    "hard_sigmoid": hard_sigmoid,
    "hard_tanh": hard_tanh,
}

# 16 bits for each tensor: inputs and outputs within -32..32, weights within -8..8.
DEFAULT_FORMATS = LayerFormats(
    activation=QFormat(16, 10),
    weight=QFormat(16, 12),
    delta=QFormat(16, 12),
    gradient=QFormat(16, 12),
)

# From this share of values outside their format on, it is worth a warning.
_MANY = 0.01

_FLOATS = (np.float64, np.float32)


class _FixedPointMLP(BaseEstimator):
    """What classifier and regressor share: parameters, epochs, when to stop."""

    network_: MLP

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Activation = "relu",
        *,
        formats: QFormat | LayerFormats | Sequence[LayerFormats] | None = None,
        input_format: QFormat | None = None,
        bias: bool = True,
        loss: Loss | None = None,
        update: Update = "fused",
        average: bool = True,
        accumulator: Accumulator | None = None,
        parts: Parts | None = None,
        init: Initialisation | None = None,
        lr_shift: int | Sequence[int] = 3,
        momentum_shift: int | None = None,
        decay_shift: int | None = None,
        overflow: str = "warn",
        batch_size: int | str = "auto",
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.formats = formats
        self.input_format = input_format
        self.bias = bias
        self.loss = loss
        self.update = update
        self.average = average
        self.accumulator = accumulator
        self.parts = parts
        self.init = init
        self.lr_shift = lr_shift
        self.momentum_shift = momentum_shift
        self.decay_shift = decay_shift
        self.overflow = overflow
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    # What the two differ in -------------------------------------------------------------------

    _losses: tuple[Loss, ...]  # the default first

    def _check(self, X: Any, y: Any, new: bool, classes: ArrayLike | None) -> Any:
        """Return `X` and `y`, checked, and the number of outputs."""
        raise NotImplementedError

    def _targets(self, y: Array, new: bool) -> Array:
        """Return the network's targets (n, n_outputs) for checked `y`."""
        raise NotImplementedError

    def _score(self, outputs: Array, y: Array) -> float:
        """Return the score of the network's `outputs` for checked `y`."""
        raise NotImplementedError

    # Training ---------------------------------------------------------------------------------

    def fit(self, X: ArrayLike, y: ArrayLike) -> Any:
        """Train until the loss, or the validation score, no longer improves.

        Parameters
        ----------
        X : array_like, shape (n, n_features)
            Real values, dense and finite; of integers too these are the values.
        y : array_like, shape (n,), of a regressor also (n, n_outputs)
            Labels of at least two classes, or numbers.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Where a parameter, `X` or `y` is not what it must be.
        """
        new = not (self.warm_start and hasattr(self, "network_"))
        inputs, y, targets = self._prepare(X, y, new)
        held = None
        if self.early_stopping:
            here, there = train_test_split(
                np.arange(len(inputs)),
                test_size=self.validation_fraction,
                random_state=self._random_state,
                stratify=y if isinstance(self, ClassifierMixin) else None,
            )
            if len(there) < 2:
                raise ValueError(
                    "validation_fraction must leave at least 2 samples for validation, "
                    f"{self.validation_fraction} of {len(inputs)} leaves {len(there)}"
                )
            held = inputs[there], y[there]
            inputs, targets = inputs[here], targets[here]
        if not self._train(inputs, targets, self.max_iter, held):
            warnings.warn(
                f"training has not converged in max_iter={self.max_iter} epochs",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _go_on(self, X: Any, y: Any, classes: ArrayLike | None = None) -> Any:
        """Train for one epoch; the first call makes the network."""
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        X, y, targets = self._prepare(X, y, not hasattr(self, "network_"), classes)
        self._train(X, targets, 1)
        return self

    def _prepare(
        self, X: Any, y: Any, new: bool, classes: ArrayLike | None = None
    ) -> tuple[Array, Array, Array]:
        """Make a network, or see that the one there is can go on; return `X`, `y`, targets."""
        self._check_parameters()
        X, y, n_outputs = self._check(X, y, new, classes)
        settings = self._settings(X.shape[1], n_outputs)
        if new:
            state = check_random_state(self.random_state)
            rounding_seed = int.from_bytes(state.bytes(8), "little")
            self.network_ = MLP(**settings, rounding_seed=rounding_seed, seed=state)
            self._random_state, self._made_with = state, settings
            self.n_layers_, self.n_outputs_ = len(settings["sizes"]), n_outputs
            self.out_activation_ = "softmax" if settings["loss"] == "cross_entropy" else "identity"
            self.loss_curve_: list[float] = []
            self.validation_scores_: list[float] | None = None
            self.t_ = 0
        for name, value in settings.items():
            if value != self._made_with[name]:
                raise ValueError(
                    f"{name} must stay {self._made_with[name]!r} where training goes on, "
                    f"got {value!r}"
                )
        targets = self._targets(y, new)
        self._warn_of_range("X", X)
        self._warn_of_range("y", targets)
        return X, y, targets

    def _check_parameters(self) -> None:
        """Raise where a parameter that `MLP` does not have is not what it must be."""
        for name in ("shuffle", "warm_start", "early_stopping"):
            instance(name, getattr(self, name), bool)
        choice("overflow", self.overflow, ("warn", "count", "raise", "ignore"))
        integer("max_iter", self.max_iter, 1, 2**31 - 1)
        if self.n_iter_no_change != math.inf:
            integer("n_iter_no_change", self.n_iter_no_change, 1, 2**31 - 1)
        for name, high in (("tol", math.inf), ("validation_fraction", 1)):
            value = getattr(self, name)
            if not (isinstance(value, Real) and 0 <= float(value) <= high):
                raise ValueError(f"{name} must be a number in 0..{high}, got {value!r}")

    def _settings(self, n_in: int, n_out: int) -> dict[str, Any]:
        """Return the arguments of `MLP` that the parameters stand for."""
        hidden = self.hidden_layer_sizes
        widths = list(hidden) if np.iterable(hidden) else [hidden]
        for i, n in enumerate(widths):
            integer(f"hidden_layer_sizes[{i}]", n, 1, 2**31 - 1)
        activation = self.activation
        if not isinstance(activation, Activation):
            choice("activation", activation, (*ACTIVATIONS, "an Activation"))
            activation = ACTIVATIONS[activation]()
        loss = self._losses[0] if self.loss is None else self.loss
        choice("loss", loss, self._losses)
        return {
            "sizes": [n_in, *widths, n_out],
            "formats": DEFAULT_FORMATS if self.formats is None else self.formats,
            "input_format": self.input_format,
            "activation": [activation] * len(widths) + [linear()],
            "bias": self.bias,
            "loss": loss,
            "update": self.update,
            "average": self.average,
            "momentum_shift": self.momentum_shift,
            "decay_shift": self.decay_shift,
            "accumulator": self.accumulator,
            "parts": Parts() if self.parts is None else self.parts,
            "init": uniform() if self.init is None else self.init,
        }

    def _train(
        self, X: Array, targets: Array, epochs: int, held: tuple[Array, Array] | None = None
    ) -> bool:
        """Train for at most so many epochs, judged by the loss or by the score of `held`.

        Return whether training ended before them.
        """
        batch_size: Any = self.batch_size
        if batch_size == "auto":  # a power of two, as averages need
            batch_size = min(32, 1 << (len(X).bit_length() - 1))
        overflow: Any = "sample" if self.overflow == "warn" else self.overflow
        self.overflows_: dict[tuple[int, str], float] = {}
        best, best_network, stalled, ended = -np.inf, self.network_, 0, False
        for self.n_iter_ in range(1, epochs + 1):
            history = self.network_.train(
                X,
                targets,
                self._lr_shift(),
                batch_size=batch_size,
                shuffle=self.shuffle,
                seed=self._random_state,
                overflow=overflow,
            )
            for tensor, share in (history.overflows or {}).items():
                self.overflows_[tensor] = max(share, self.overflows_.get(tensor, 0.0))
            losses = cast(Array, history.loss)
            self.loss_ = math.fsum(losses) / len(X)  # exact, since it decides when to stop
            self.loss_curve_.append(self.loss_)
            self.t_ += len(X)
            merit, said = -self.loss_, f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}"
            if held is not None:
                merit = self._score(self._outputs(held[0]), held[1])
                self.validation_scores_ = [*(self.validation_scores_ or []), merit]
                said += f", validation score = {merit:.6f}"
            if self.verbose:
                print(said)
            stalled = stalled + 1 if merit < best + self.tol else 0
            if merit > best:
                best = merit
                best_network = self.network_ if held is None else deepcopy(self.network_)
            if history.diverged_at is not None:
                warnings.warn(
                    f"training diverged in epoch {self.n_iter_}, step {history.diverged_at}: a "
                    "value was not finite. The network is the one before it; raise lr_shift",
                    ConvergenceWarning,
                    stacklevel=3,
                )
            ended = stalled > self.n_iter_no_change or history.diverged_at is not None
            if ended:
                break
        self._warn_of_overflows()
        self.network_ = best_network
        self.best_loss_ = min(self.loss_curve_) if held is None else None
        self.best_validation_score_ = None if held is None else best
        return ended

    def _warn_of_overflows(self) -> None:
        """Warn where many values of an epoch lay outside of their format."""
        many = [
            f"{share:.1%} of {tensor} of layer {layer}"
            for (layer, tensor), share in self.overflows_.items()
            if share > _MANY
        ]
        if many and self.overflow == "warn":
            warnings.warn(
                f"values of an epoch lay outside of their formats: {', '.join(many)}. Raise "
                "lr_shift, scale X, or choose wider formats",
                OverflowWarning,
                stacklevel=4,
            )

    def _lr_shift(self) -> int:
        """Return the shift of the next epoch: of a sequence its last entry stands for all later."""
        shifts = self.lr_shift
        if not np.iterable(shifts):
            return shifts
        if len(shifts) == 0:
            raise ValueError("lr_shift must have at least 1 entry, got none")
        return shifts[min(len(self.loss_curve_), len(shifts) - 1)]

    # Outputs ----------------------------------------------------------------------------------

    @property
    def coefs_(self) -> list[Array]:
        """Weights as real values, (n_in, n_out) a layer."""
        return [weight.T for weight in self._values("weights")]

    @property
    def intercepts_(self) -> list[Array]:
        """Biases as real values, (n_out,) a layer; empty for a network without."""
        return self._values("biases")

    def _values(self, name: str) -> list[Array]:
        """Return weights or biases as float64."""
        network = self.network_.network
        if network.parts.update == "float":
            return [array.copy() for array in getattr(self.network_, f"master_{name}")]
        return [
            dequantize(raw, layer.formats.weight)
            for raw, layer in zip(getattr(self.network_, name), network.layers, strict=False)
        ]

    def _outputs(self, X: Array) -> Array:
        """Return the outputs (n, n_outputs) of the network as real values."""
        network = self.network_.network
        stream = Stream(network.rounding_seed, self.network_.steps)
        outputs = self.network_.forward(X, stream=stream)
        if network.parts.forward == "float":
            return outputs
        return dequantize(outputs, network.layers[-1].formats.activation)

    def _outputs_of_new(self, X: ArrayLike) -> Array:
        """Return the outputs for `X` as a caller gave it."""
        check_is_fitted(self)
        inputs = validate_data(self, X, dtype=_FLOATS, reset=False)
        self._warn_of_range("X", inputs)
        return self._outputs(inputs)

    def _warn_of_range(self, name: str, values: Array) -> None:
        """Warn where many inputs, or targets, lie outside of their format."""
        network = self.network_.network
        fmt = network.input if name == "X" else network.layers[-1].formats.activation
        low, high = (raw * 2.0**-fmt.frac for raw in (fmt.raw_min, fmt.raw_max))
        unit = 2.0**-fmt.frac  # a target 1 may saturate to the value next to it
        share = ((values < low - unit) | (values > high + unit)).mean()
        if share > _MANY and "fixed" in (network.parts.forward, network.parts.backward):
            warnings.warn(
                f"{share:.1%} of the values of {name} lie outside of {low}..{high} and "
                f"{fmt.overflow} when they enter {fmt}: scale {name}, or choose a wider format",
                OverflowWarning,
                stacklevel=4,
            )


class FixedPointMLPClassifier(ClassifierMixin, _FixedPointMLP):
    """A classifier whose network trains and predicts in exact fixed-point arithmetic.

    Parameters that `MLP` has mean here what they mean there, and those of scikit-learn's
    `MLPClassifier` what they mean there.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers; empty for none.
    activation : {"relu", "identity", "logistic", "tanh", "hard_sigmoid", "hard_tanh"} or Activation
        Of the hidden layers; the outputs are linear.
    formats : QFormat, LayerFormats, or a sequence with one LayerFormats a layer, optional
        Default: `DEFAULT_FORMATS`, 16 bits, for inputs and outputs within -32..32 and weights
        within -8..8.
    input_format : QFormat, optional
        Of the inputs; default: the activation format of the first layer.
    bias : bool
        Whether the layers have biases.
    loss : {"cross_entropy", "half_sse", "sse"}, optional
        Default: cross_entropy, which needs an activation format of at most 16 bits for the outputs;
        for the regressor, which cannot take it, half_sse.
    update : {"fused", "two_step"}
        Whether a step shifts the exact product sum, or the stored gradient.
    average : bool
        Whether a batch's gradient is its mean, so that `lr_shift` means the same for all batch
        sizes, which then must be powers of two; else it is the sum.
    accumulator : Accumulator, optional
        The register that sums products; default: exact sums.
    parts : Parts, optional
        Which parts of training compute in float64; default: none.
    init : Initialisation, optional
        Of the weights; default: ``uniform()``.
    lr_shift : int or sequence of int
        The learning rate is ``2**-lr_shift``. A sequence has one shift for each epoch, and its last
        one stands for all epochs after it.
    momentum_shift : int, optional
        With it, velocities keep the share ``1 - 2**-momentum_shift`` of themselves in a step, which
        sums up to ``2**momentum_shift`` times as large steps.
    decay_shift : int, optional
        With it, a step draws weights to zero by ``2**-decay_shift`` times the learning rate.
    overflow : {"warn", "count", "raise", "ignore"}
        What to do about values of the training that lie outside their format. "warn" looks at some
        steps of each epoch, and warns after the last one where it were more than 1 % of a tensor.
        "count" looks at all steps and does not warn. "raise" does not do a step in which a value
        overflows, but raises. "ignore" looks at none.
    batch_size : int or "auto"
        Samples a step; "auto" is 32, or the largest power of two that the samples fill.
    max_iter : int
        Most epochs of a `fit`.
    shuffle : bool
        Whether each epoch takes the samples in a new order.
    random_state : int, RandomState or None
        Of stochastic rounding, initial weights, the samples held back, and sample orders.
    tol : float
        An epoch counts as better where it gains at least this over the best one before.
    verbose : bool
        Whether to print a line for each epoch.
    warm_start : bool
        Whether `fit` goes on with the network of the last one.
    early_stopping : bool
        Whether to hold back samples, and end with the network that scored best on them.
    validation_fraction : float
        Share of the samples that `early_stopping` holds back, in 0..1.
    n_iter_no_change : int or inf
        Training stops after more than so many epochs in a row that were not better, by the loss or,
        with `early_stopping`, by the score.

    Attributes
    ----------
    network_ : MLP
        The trained network: raw weights, formats; its outputs are those of the classes.
    classes_ : ndarray, shape (n_classes,)
        The labels, sorted.
    loss_curve_ : list of float
        Mean loss of a sample in each epoch since the network was made, before each update.
    loss_, best_loss_ : float
        The last of them and the least; `best_loss_` is None with `early_stopping`.
    validation_scores_ : list of float or None
        Accuracy on the samples held back after each epoch with `early_stopping`.
    best_validation_score_ : float or None
        The best of the last `fit`, that of `network_`.
    n_iter_ : int
        Epochs of the last call.
    overflows_ : dict
        The largest share in an epoch of the last call of values that lay outside their format, by
        (layer, tensor): as `History.overflows` of `MLP.train`; empty where overflow is ignored.
    t_ : int
        Samples seen since the network was made.
    coefs_, intercepts_ : list of ndarray of float64
        Weights (n_in, n_out) and biases (n_out,) of each layer as real values.
    n_features_in_, n_layers_, n_outputs_ : int
        Number of features, of layers with that of the inputs, and of outputs.
    feature_names_in_ : ndarray of str
        Where `X` had names.
    out_activation_ : str
        "softmax" with the loss cross_entropy, else "identity".

    Notes
    -----
    Fixed-point numbers have a range: scale the inputs, as with a `StandardScaler`. Where many
    lie outside of it, `fit` and `predict` warn.

    The same data and `random_state` give the same integers, whatever computes them. Where an
    activation format rounds stochastically, what is predicted for a sample depends on its row, too.

    Targets are 1 for the class of a sample and 0 for the others. Only outputs trained by
    cross_entropy stand for probabilities, those of their softmax; with a squared loss there is no
    `predict_proba`.

    There are no sample weights: the batch is summed before it is rounded once.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from intmlp import QFormat
    >>> from intmlp.estimators import FixedPointMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = FixedPointMLPClassifier((16,), formats=QFormat(12, 7), tol=0.001, random_state=0)
    >>> model = make_pipeline(StandardScaler(), net).fit(X, y)
    >>> bool(model.score(X, y) > 0.95)
    True
    >>> net.network_.weights[0].dtype
    dtype('int32')
    """

    _losses: tuple[Loss, ...] = ("cross_entropy", "half_sse", "sse")

    def _check(
        self, X: Any, y: Any, new: bool, classes: ArrayLike | None
    ) -> tuple[Array, Array, int]:
        X, y = validate_data(self, X, y, dtype=_FLOATS, reset=new)
        check_classification_targets(y)
        seen = unique_labels(y)
        if new:
            self.classes_ = seen if classes is None else unique_labels(classes)
            if len(self.classes_) < 2:
                raise ValueError(f"y must have at least 2 classes, got 1 class: {self.classes_}")
        unknown = np.setdiff1d(seen, self.classes_)
        if len(unknown):
            raise ValueError(f"y must hold classes in {self.classes_}, got {unknown}")
        return X, y, len(self.classes_)

    def _targets(self, y: Array, new: bool) -> Array:
        """Return 1 for a sample's class and 0 for the others."""
        return (y[:, None] == self.classes_).astype(np.float64)

    def _score(self, outputs: Array, y: Array) -> float:
        return accuracy_score(y, self.classes_[outputs.argmax(axis=1)])

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Any:
        """Train for one epoch on these samples.

        Parameters
        ----------
        X : array_like, shape (n, n_features)
        y : array_like, shape (n,)
        classes : array_like, shape (n_classes,)
            All labels there will be; due at the first call, may be absent later.

        Returns
        -------
        self
        """
        if classes is None and not hasattr(self, "network_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if hasattr(self, "network_") and not (
            classes is None or np.array_equal(unique_labels(classes), self.classes_)
        ):
            raise ValueError(f"classes must stay {self.classes_}, got {classes}")
        return self._go_on(X, y, classes)

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the outputs of the network; of `cross_entropy` they are logarithms of odds.

        Parameters
        ----------
        X : array_like, shape (n, n_features)

        Returns
        -------
        ndarray of float64, shape (n, n_classes)
            For two classes of shape (n,): the second output less the first.
        """
        outputs = self._outputs_of_new(X)
        return outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs

    def _has_probabilities(self) -> bool:
        """Return whether outputs stand for probabilities."""
        if self.loss not in (None, "cross_entropy"):
            raise AttributeError(f"probabilities need loss='cross_entropy', got {self.loss!r}")
        return True

    @available_if(_has_probabilities)
    def predict_proba(self, X: ArrayLike) -> Array:
        """Return the probabilities of the classes: the softmax of the outputs, in float64.

        Parameters
        ----------
        X : array_like, shape (n, n_features)

        Returns
        -------
        ndarray of float64, shape (n, n_classes)

        Raises
        ------
        AttributeError
            With another loss than cross_entropy.
        """
        return softmax(self._outputs_of_new(X), axis=1)

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: ArrayLike) -> Array:
        """Return the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array_like, shape (n, n_features)

        Returns
        -------
        ndarray of float64, shape (n, n_classes)

        Raises
        ------
        AttributeError
            With another loss than cross_entropy.
        """
        return log_softmax(self._outputs_of_new(X), axis=1)

    def predict(self, X: ArrayLike) -> Array:
        """Return the class of the largest output, the first one of equals.

        Parameters
        ----------
        X : array_like, shape (n, n_features)

        Returns
        -------
        ndarray, shape (n,)
        """
        outputs = self._outputs_of_new(X)
        return self.classes_[outputs.argmax(axis=1)]


class FixedPointMLPRegressor(RegressorMixin, _FixedPointMLP):
    """A regressor whose network trains and predicts in exact fixed-point arithmetic.

    Parameters
    ----------
    hidden_layer_sizes, ... , n_iter_no_change
        Those of `FixedPointMLPClassifier`.

    Attributes
    ----------
    y_exponents_ : ndarray of int, shape (n_outputs,)
        The network's targets are ``y * 2**-y_exponents_``, and `predict` gives its outputs times
        ``2**y_exponents_``; both are exact.
    network_, ... , out_activation_
        As of `FixedPointMLPClassifier`, without `classes_`. Losses are those of the scaled targets;
        the score is R2, of `y` itself.

    Notes
    -----
    The first `y` sets the exponents: its largest magnitude becomes a target in 2..4, or a quarter
    to a half of the range of a format that ends at less than 8. A later `partial_fit` keeps them,
    and warns where many targets lie outside of the format. Where `y` is far from zero compared with
    how it varies, take its mean away first, as with a `TransformedTargetRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> from intmlp.estimators import FixedPointMLPRegressor
    >>> X = np.random.RandomState(0).uniform(-1, 1, (500, 2))
    >>> y = 1000 * X[:, 0] * X[:, 1]
    >>> net = FixedPointMLPRegressor((32,), random_state=0).fit(X, y)
    >>> bool(net.score(X, y) > 0.95)
    True
    >>> net.y_exponents_                     # targets are y / 256
    array([8], dtype=int32)
    """

    _losses: tuple[Loss, ...] = ("half_sse", "sse")

    def _check(
        self, X: Any, y: Any, new: bool, classes: ArrayLike | None
    ) -> tuple[Array, Array, int]:
        X, y = validate_data(
            self, X, y, dtype=_FLOATS, multi_output=True, y_numeric=True, reset=new
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y.astype(np.float64), y.shape[1] if y.ndim == 2 else 1

    def _targets(self, y: Array, new: bool) -> Array:
        """Return `y` times a power of two of each output."""
        y = y.reshape(len(y), -1)
        if new:
            fmt = self.network_.network.layers[-1].formats.activation
            self.y_exponents_ = np.frexp(abs(y).max(axis=0))[1] - min(2, fmt.bits - 2 - fmt.frac)
        return np.ldexp(y, -self.y_exponents_)

    def _values_of(self, outputs: Array) -> Array:
        """Return what was `y` for outputs of the network."""
        values = np.ldexp(outputs, self.y_exponents_)
        return values.ravel() if self.n_outputs_ == 1 else values

    def _score(self, outputs: Array, y: Array) -> float:
        return r2_score(y, self._values_of(outputs))

    def partial_fit(self, X: ArrayLike, y: ArrayLike) -> Any:
        """Train for one epoch on these samples.

        Parameters
        ----------
        X : array_like, shape (n, n_features)
        y : array_like, shape (n,) or (n, n_outputs)

        Returns
        -------
        self
        """
        return self._go_on(X, y)

    def predict(self, X: ArrayLike) -> Array:
        """Return the predicted values.

        Parameters
        ----------
        X : array_like, shape (n, n_features)

        Returns
        -------
        ndarray of float64, shape (n,) or (n, n_outputs)
        """
        outputs = self._outputs_of_new(X)
        return self._values_of(outputs)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
