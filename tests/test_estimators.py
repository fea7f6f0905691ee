"""Estimators keep scikit-learn's conventions, and train what `MLP` trains."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from intmlp import (
    MLP,
    Accumulator,
    LayerFormats,
    OverflowWarning,
    Parts,
    QFormat,
    Stream,
    dequantize,
    hard_sigmoid,
    hard_tanh,
    leaky_relu,
    linear,
    relu,
    sigmoid,
    tanh,
)
from intmlp.estimators import DEFAULT_FORMATS, FixedPointMLPClassifier, FixedPointMLPRegressor
from support import run_python

ALL_FLOAT = Parts("float", "float", "float")
EACH = pytest.mark.parametrize("kind", [FixedPointMLPClassifier, FixedPointMLPRegressor])

state = np.random.RandomState(7)
X = state.uniform(-1, 1, (40, 3))
NUMBERS = 6 * X[:, 0] * X[:, 1] - 2 * X[:, 2]
LABELS = np.array(["no", "perhaps", "yes"])[np.digitize(NUMBERS, [-1, 1])]
ONE_HOT = (LABELS[:, None] == ["no", "perhaps", "yes"]).astype(float)


def y_of(kind):
    return LABELS if kind is FixedPointMLPClassifier else NUMBERS


def small(kind, epochs=3, **parameters):
    """Return an estimator that trains for so many epochs."""
    asked = {"hidden_layer_sizes": (4,), "max_iter": epochs, "n_iter_no_change": np.inf}
    return kind(**{**asked, "random_state": 5, **parameters})


def fit(estimator, *data):
    """Fit an estimator that cannot converge in its few epochs."""
    with pytest.warns(ConvergenceWarning, match=f"max_iter={estimator.max_iter} epochs"):
        return estimator.fit(*data)


def raw(estimator):
    """Return the integers of an estimator's network."""
    net = estimator.network_
    return [tensor.tolist() for tensor in (*net.weights, *net.biases)]


CHECKS = """
import warnings
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator
from intmlp.estimators import FixedPointMLPClassifier, FixedPointMLPRegressor
warnings.simplefilter("ignore", ConvergenceWarning)
warnings.simplefilter("ignore", RuntimeWarning)  # some checks have inputs up to some 100
for kind in FixedPointMLPClassifier, FixedPointMLPRegressor:
    results = check_estimator(kind(), on_skip=None, on_fail=None)
    assert len(results) > 40
    for result in results:
        if result["status"] != "passed":
            print(kind.__name__, result["check_name"], result["status"], result["exception"])
"""


def test_every_check_of_scikit_learn_passes():
    done = run_python("SCIPY_ARRAY_API", CHECKS, SCIPY_ARRAY_API="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_scikit_learn_is_not_imported_before_it_is_asked_for():
    done = run_python("NONE", "import sys, intmlp, intmlp.nn; print('sklearn' in sys.modules)")
    assert done.stdout == "False\n"


# The same integers ----------------------------------------------------------------------------


def test_a_classifier_trains_what_its_network_trains(backend):
    seed = np.random.RandomState(5)
    rounding_seed = int.from_bytes(seed.bytes(8), "little")
    net = MLP(
        [3, 4, 3],
        DEFAULT_FORMATS,
        activation=[relu(), linear()],
        loss="cross_entropy",
        average=True,
        seed=seed,
        rounding_seed=rounding_seed,
    )
    history = net.train(X, ONE_HOT, 3, epochs=3, batch_size=32, seed=seed, overflow="ignore")
    model = fit(small(FixedPointMLPClassifier), X, LABELS)
    assert raw(model) == [tensor.tolist() for tensor in (*net.weights, *net.biases)]
    assert model.loss_curve_ == (history.loss.reshape(3, 2).sum(axis=1) / 40).tolist()
    assert model.loss_ == model.loss_curve_[-1]
    assert model.best_loss_ == min(model.loss_curve_)
    outputs = dequantize(net.forward(X), QFormat(16, 10))
    assert model.decision_function(X).tolist() == outputs.tolist()
    assert model.predict(X).tolist() == model.classes_[outputs.argmax(axis=1)].tolist()
    assert (model.n_iter_, model.n_layers_, model.n_outputs_, model.t_) == (3, 3, 3, 120)
    powers = np.exp(outputs)
    wanted = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), wanted, rtol=1e-12)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(wanted), rtol=1e-12)
    assert model.out_activation_ == "softmax"


def test_a_squared_loss_gives_no_probabilities():
    model = fit(small(FixedPointMLPClassifier, loss="half_sse"), X, LABELS)
    assert model.out_activation_ == "identity"
    assert not hasattr(model, "predict_proba") and not hasattr(model, "predict_log_proba")
    assert model.decision_function(X).shape == (40, 3)
    two = fit(clone(model), X, X[:, 0] > 0)
    first, second = dequantize(two.network_.forward(X), QFormat(16, 10)).T
    assert two.decision_function(X).tolist() == (second - first).tolist()
    assert two.predict(X).tolist() == (second > first).tolist()


@pytest.mark.parametrize(
    "name, activation",
    [
        ("identity", linear()),
        ("relu", relu()),
        ("logistic", sigmoid()),
        ("tanh", tanh()),
        ("hard_sigmoid", hard_sigmoid()),
        ("hard_tanh", hard_tanh()),
    ],
)
def test_names_of_activations(name, activation):
    model = fit(small(FixedPointMLPRegressor, 1, activation=name), X, NUMBERS)
    other = fit(small(FixedPointMLPRegressor, 1, activation=activation), X, NUMBERS)
    assert raw(model) == raw(other)
    assert model.network_.network.layers[0].activation == activation
    assert model.network_.network.layers[1].activation == linear()


def test_a_regressor_trains_what_its_network_trains(backend):
    stochastic = QFormat(14, 10, "stochastic")
    formats = LayerFormats(QFormat(12, 8, "stochastic"), stochastic, QFormat(20, 14), stochastic)
    seed = np.random.RandomState(5)
    rounding_seed = int.from_bytes(seed.bytes(8), "little")
    more = {
        "loss": "sse",
        "momentum_shift": 2,
        "decay_shift": 5,
        "accumulator": Accumulator(22, "saturate"),
    }
    net = MLP(
        [3, 4, 2],
        formats,
        activation=[leaky_relu(2), linear()],
        seed=seed,
        rounding_seed=rounding_seed,
        **more,
    )
    y = np.stack([NUMBERS, 1000 * NUMBERS], axis=1)
    assert [np.frexp(abs(column).max())[1] for column in y.T] == [3, 13]
    net.train(X, y * [2.0**-1, 2.0**-11], 6, epochs=3, batch_size=10, seed=seed, overflow="ignore")
    model = small(
        FixedPointMLPRegressor,
        activation=leaky_relu(2),
        formats=formats,
        average=False,
        lr_shift=6,
        batch_size=10,
        overflow="ignore",
        **more,
    )
    assert raw(fit(model, X, y)) == [tensor.tolist() for tensor in (*net.weights, *net.biases)]
    assert model.y_exponents_.tolist() == [1, 11]
    outputs = dequantize(net.forward(X, stream=Stream(rounding_seed, 12)), QFormat(12, 8))
    assert model.predict(X).tolist() == (outputs * [2.0**1, 2.0**11]).tolist()


@EACH
def test_calls_add_up(kind, backend):
    y = y_of(kind)
    formats = LayerFormats(QFormat(12, 8), *[QFormat(12, 8, "stochastic")] * 3)
    whole = fit(small(kind, epochs=5, formats=formats), X, y)
    steps = small(kind, formats=formats)
    for i in range(5):
        if kind is FixedPointMLPClassifier and i == 0:
            steps.partial_fit(X, y, classes=["yes", "no", "perhaps"])
        else:
            steps.partial_fit(X, y)
        if i == 2:
            steps = pickle.loads(pickle.dumps(steps))
    warm = fit(small(kind, epochs=3, formats=formats, warm_start=True), X, y).set_params(max_iter=2)
    fit(warm, X, y)
    assert raw(whole) == raw(steps) == raw(warm)
    assert whole.loss_curve_ == steps.loss_curve_ == warm.loss_curve_
    assert (whole.n_iter_, steps.n_iter_, warm.n_iter_) == (5, 1, 2)
    assert whole.predict(X).tolist() == steps.predict(X).tolist()


@EACH
def test_each_epoch_has_its_learning_rate(kind):
    y = y_of(kind)
    schedule = fit(small(kind, epochs=4, lr_shift=[3, 5, 4]), X, y)
    in_two = fit(small(kind, epochs=1, lr_shift=[3, 5, 4], warm_start=True), X, y)
    fit(in_two.set_params(max_iter=3), X, y)
    by_hand = small(kind, epochs=1, warm_start=True)
    for lr_shift in 3, 5, 4, 4:
        fit(by_hand.set_params(lr_shift=lr_shift), X, y)
    assert raw(schedule) == raw(in_two) == raw(by_hand)


def test_targets_are_scaled_by_powers_of_two_and_exactly():
    model = fit(small(FixedPointMLPRegressor), X, NUMBERS)
    for power in -1000, -3, 8, 1000:
        other = fit(small(FixedPointMLPRegressor), X, np.ldexp(NUMBERS, power))
        assert raw(other) == raw(model)
        assert other.predict(X).tolist() == np.ldexp(model.predict(X), power).tolist()
    for bits, frac, exponent in (16, 10, 1), (8, 5, 2), (8, 7, 4), (8, 9, 6):  # of 4 < y < 8
        model = small(FixedPointMLPRegressor, formats=QFormat(bits, frac), overflow="ignore")
        assert fit(model, X / 8, NUMBERS).y_exponents_ == exponent
    assert fit(small(FixedPointMLPRegressor), X, 0 * NUMBERS).predict(X).shape == (40,)


def test_real_values_of_the_weights():
    model = fit(small(FixedPointMLPClassifier), X, LABELS)
    assert [coef.shape for coef in model.coefs_] == [(3, 4), (4, 3)]
    assert (model.coefs_[0] * 2.0**12).T.tolist() == model.network_.weights[0].tolist()
    assert (model.intercepts_[1] * 2.0**12).tolist() == model.network_.biases[1].tolist()
    assert fit(small(FixedPointMLPClassifier, bias=False), X, LABELS).intercepts_ == []
    model = fit(small(FixedPointMLPClassifier, parts=ALL_FLOAT), X, LABELS)
    assert model.coefs_[0].T.tolist() == model.network_.master_weights[0].tolist()
    hidden = np.maximum(X @ model.coefs_[0] + model.intercepts_[0], 0)
    outputs = hidden @ model.coefs_[1] + model.intercepts_[1]
    np.testing.assert_allclose(model.decision_function(X), outputs)


# When training stops --------------------------------------------------------------------------


def test_defaults_train_and_stop():
    features, labels = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), FixedPointMLPClassifier(random_state=0))
    model.fit(features, labels)
    net = model[-1]
    assert model.score(features, labels) > 0.95
    assert 20 < net.n_iter_ < 200
    best = np.minimum.accumulate(net.loss_curve_)
    stalled = [now > before - 1e-4 for now, before in zip(net.loss_curve_[1:], best, strict=False)]
    assert all(stalled[-11:]) and not all(stalled[-12:])


@EACH
def test_early_stopping_keeps_the_best_network(kind, capsys):
    y = y_of(kind)
    model = small(kind, 80, early_stopping=True, validation_fraction=0.3, hidden_layer_sizes=16)
    model.set_params(verbose=True, lr_shift=0, tol=0.01, n_iter_no_change=20).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(model.validation_scores_) == model.n_iter_ < 80
    assert lines[1] == (
        f"Iteration 2, loss = {model.loss_curve_[1]:.8f}, "
        f"validation score = {model.validation_scores_[1]:.6f}"
    )
    assert model.best_loss_ is None
    scores = model.validation_scores_
    assert model.best_validation_score_ == max(scores) > scores[-1]
    # The same samples are held back after the same weights were drawn.
    seed = np.random.RandomState(5)
    seed.bytes(8)  # of stochastic rounding
    MLP([3, 16, model.n_outputs_], DEFAULT_FORMATS, seed=seed)
    labelled = y if kind is FixedPointMLPClassifier else None
    held = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=labelled)[1::2]
    score = accuracy_score if kind is FixedPointMLPClassifier else r2_score
    assert score(held[1], model.predict(held[0])) == max(scores)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        model.partial_fit(X, y)


def test_divergence_is_named():
    model = small(FixedPointMLPClassifier, 9, loss="half_sse", parts=ALL_FLOAT, lr_shift=-200)
    with pytest.warns(
        ConvergenceWarning, match=r"diverged in epoch \d, step \d: .* raise lr_shift"
    ):
        model.fit(X, LABELS)
    assert model.n_iter_ < 9 and np.isnan(model.loss_)
    assert np.isfinite(model.coefs_[0]).all()


# In company -----------------------------------------------------------------------------------


def test_grid_search_over_formats():
    grid = {
        "formats": [QFormat(4, 1), QFormat(16, 10), LayerFormats(*[QFormat(16, 10)] * 4)],
        "lr_shift": [2, [2, 3]],
        "activation": ["relu", leaky_relu(3)],
    }
    model = small(FixedPointMLPClassifier, 60, hidden_layer_sizes=16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", OverflowWarning)
        search = GridSearchCV(model, grid, cv=2).fit(X, LABELS)
    assert search.best_params_["formats"] != QFormat(4, 1)
    assert search.score(X, LABELS) > 0.6
    best = search.best_estimator_
    assert clone(best).get_params() == best.get_params()
    assert not hasattr(clone(best), "network_")


def test_names_of_features():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    model = fit(small(FixedPointMLPClassifier), frame, LABELS)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert model.predict(frame).tolist() == fit(clone(model), X, LABELS).predict(X).tolist()


# What is refused ------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize(
    "parameters, error, words",
    [
        (
            {"hidden_layer_sizes": (3, 0)},
            ValueError,
            r"hidden_layer_sizes\[1\] must be in 1.*got 0",
        ),
        ({"hidden_layer_sizes": 2.5}, TypeError, r"hidden_layer_sizes\[0\] must be an integer"),
        ({"activation": "swish"}, ValueError, "activation must be one of .*relu.*got 'swish'"),
        ({"formats": 16}, TypeError, "formats must be one LayerFormats or a sequence"),
        ({"formats": [DEFAULT_FORMATS]}, ValueError, "formats must have one entry per layer, 2"),
        ({"loss": "hinge"}, ValueError, "loss must be one of .*got 'hinge'"),
        ({"lr_shift": 0.1}, TypeError, "lr_shift must be an integer"),
        ({"lr_shift": []}, ValueError, "lr_shift must have at least 1 entry"),
        ({"batch_size": 12}, ValueError, "batch_size must be a power of two with average=True"),
        ({"batch_size": 0}, ValueError, "batch_size must be in 1.*got 0"),
        ({"max_iter": 0}, ValueError, "max_iter must be in 1.*got 0"),
        ({"n_iter_no_change": 0.5}, TypeError, "n_iter_no_change must be an integer"),
        ({"tol": -1}, ValueError, "tol must be a number in 0..inf, got -1"),
        ({"validation_fraction": "1"}, ValueError, "validation_fraction must be .*0..1, got '1'"),
        (
            {"validation_fraction": 0.02, "early_stopping": True},
            ValueError,
            "validation_fraction must leave at least 2 .*0.02 of 40 leaves 1|classes",
        ),
        ({"shuffle": 1}, TypeError, "shuffle must be a bool"),
        ({"random_state": "x"}, ValueError, "'x' cannot be used to seed"),
    ],
)
def test_parameters_are_refused(kind, parameters, error, words):
    with pytest.raises(error, match=words):
        small(kind, **parameters).fit(X, y_of(kind))


@EACH
def test_data_are_refused(kind):
    y, model = y_of(kind), small(kind)
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(X.max() == X, np.nan, X), y)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        model.fit(sparse.csr_array(X), y)
    with pytest.raises(ValueError, match="could not convert string to float: 'a'"):
        model.fit(np.full((40, 3), "a", object), y)
    with pytest.raises(TypeError, match="sample_weight"):
        model.fit(X, y, sample_weight=np.ones(40))
    fit(model, X, y)
    with pytest.raises(ValueError, match=r"X has 2 features, but .* is expecting 3"):
        model.predict(X[:, :2])
    with pytest.raises(ValueError, match=r"X has 2 features, but .* is expecting 3"):
        model.partial_fit(X[:, :2], y)
    model.set_params(warm_start=True, hidden_layer_sizes=(5,))
    with pytest.raises(ValueError, match=r"sizes must stay \[3, 4, .\] where .*got \[3, 5, .\]"):
        model.fit(X, y)


def test_losses_are_refused():
    with pytest.raises(ValueError, match="loss must be one of half_sse, sse; got 'cross_entropy'"):
        small(FixedPointMLPRegressor, loss="cross_entropy").fit(X, NUMBERS)
    with pytest.raises(ValueError, match="at most 16 bits for cross_entropy"):
        small(FixedPointMLPClassifier, formats=QFormat(20, 10)).fit(X, LABELS)


def test_labels_are_refused():
    model = small(FixedPointMLPClassifier)
    with pytest.raises(ValueError, match=r"y must have at least 2 classes, got 1 class: .'yes'"):
        model.fit(X, ["yes"] * 40)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, LABELS)
    with pytest.raises(ValueError, match=r"y must hold classes in .'no' 'yes'., got .'perhaps'"):
        model.partial_fit(X, LABELS, classes=["no", "yes"])
    model.partial_fit(X[LABELS == "no"], LABELS[LABELS == "no"], classes=["no", "yes"])
    with pytest.raises(ValueError, match=r"y must hold classes in .'no' 'yes'., got .'perhaps'"):
        model.partial_fit(X, LABELS)
    with pytest.raises(ValueError, match=r"classes must stay .'no' 'yes'., got"):
        model.partial_fit(X[:1], ["no"], classes=["no", "perhaps"])
    with pytest.raises(ValueError, match="continuous"):
        model.fit(X, NUMBERS)


def test_outputs_of_a_regressor_are_of_one_kind():
    with pytest.warns(DataConversionWarning):
        model = small(FixedPointMLPRegressor, 1).partial_fit(X, NUMBERS[:, None])
    assert model.predict(X).shape == (40,)
    with pytest.raises(ValueError, match=r"sizes must stay \[3, 4, 1\] .*got \[3, 4, 2\]"):
        model.partial_fit(X, np.stack([NUMBERS, NUMBERS], axis=1))


@EACH
def test_overflow_in_training_is_named(kind):
    y, words = y_of(kind), r"outside of their formats: .*[\d.]+% of W of layer 1.*Raise lr_shift"
    model = small(kind, 20, hidden_layer_sizes=16, lr_shift=-5)
    with pytest.warns(OverflowWarning, match=words), pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert model.overflows_[1, "W"] > 0.01
    counted = fit(clone(model).set_params(overflow="count"), X, y)
    ignored = fit(clone(model).set_params(overflow="ignore"), X, y)
    assert raw(counted) == raw(ignored) == raw(model)
    assert counted.overflows_[1, "W"] > 0.01 and ignored.overflows_ == {}
    with pytest.raises(OverflowError, match=r"step \d+, layer \d"):
        clone(model).set_params(overflow="raise").fit(X, y)
    with pytest.raises(ValueError, match="overflow must be one of warn, count, raise, ignore"):
        clone(model).set_params(overflow="sample").fit(X, y)


@EACH
def test_values_out_of_range_are_named(kind):
    y = y_of(kind)
    model = small(kind, formats=QFormat(16, 10), overflow="ignore")
    far = np.where(np.arange(3) == 1, 100 * X, X)
    share = f"{(abs(far) > 32).mean():.1%}"
    words = rf"{share} of the values of X lie outside of -32.0..31.999\d+ and saturate .*scale X"
    with pytest.warns(OverflowWarning, match=words):
        model.partial_fit(far, y, *[["no", "perhaps", "yes"]][: kind is FixedPointMLPClassifier])
    with pytest.warns(OverflowWarning, match=words):
        model.predict(far)
    fit(small(kind, parts=ALL_FLOAT, lr_shift=20), far, y)
    if kind is FixedPointMLPRegressor:
        with pytest.warns(OverflowWarning, match=r"100.0% of the values of y lie outside"):
            model.partial_fit(X, 1e3 + y)
