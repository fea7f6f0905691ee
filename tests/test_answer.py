"""The lowest widths and the verdict, on tables whose answer is known."""

import json

import numpy as np
import pandas as pd
import pytest

from intmlp.io.samples import samples_of
from intmlp.study import Grid, Result, Task, answer
from tables import PARTS, VARIANTS, frame, table


def points(accuracies, float_accuracies, widths):
    """Return a table of "fixed" with `accuracies[seed][width]`, and all float."""
    rows = [
        ("fixed", width, 5, seed, accuracy, None)
        for seed, of_seed in enumerate(accuracies)
        for width, accuracy in zip(widths, of_seed, strict=True)
    ]
    return frame([*rows, *(("float", None, 5, i, a, None) for i, a in enumerate(float_accuracies))])


def judged(*lowest, **how):
    return answer.find(table(*lowest, **how)).verdict


# --- Lowest widths ----------------------------------------------------------------------------


def test_lowest_widths():
    found = answer.find(table(9, 9, 8, 4, 2, 6, 9))
    assert list(found.variants) == list(VARIANTS[:-1])
    assert [need.lowest for need in found.variants.values()] == [9, 9, 8, 4, 2, 6, 9]
    assert found.reference == answer.Best(0.9, (0.9,), (8,))
    assert (found.fractions, found.lr_shifts) == (tuple(range(1, 13)), (7, 8))
    assert (found.seeds, found.cells_left_out) == ((0,), 0)
    curve = found.variants["fixed"].curve
    assert [point.fraction for point in curve] == list(range(1, 13))
    assert [point.mean for point in curve] == [0.1] * 8 + [0.9] * 4
    assert [point.lr_shifts for point in curve] == [(7,)] * 8 + [(8,)] * 4  # ties: the fastest


def test_a_wider_width_that_fails_is_named():
    found = answer.find(points([[0.1, 0.9, 0.1, 0.9, 0.3]], [0.9], [3, 4, 6, 7, 9]))
    need = found.variants["fixed"]
    assert (need.lowest, need.failing_above) == (4, (6, 9))


def test_never():
    need = answer.find(points([[0.1, 0.2]], [0.9], [3, 4])).variants["fixed"]
    assert (need.lowest, need.interval, need.of_seeds) == (None, (None, None), (None,))
    assert need.failing_above == ()


@pytest.mark.parametrize(
    ("accuracy", "reference", "tolerance", "serves"),
    [
        (0.90, 0.91, 0.01, True),
        (0.06, 0.07, 0.01, True),  # in float64, 0.06 is less than 0.07 - 0.01
        (0.8999, 0.91, 0.01, False),
        (0.91, 0.91, 0.0, True),
        (0.9099, 0.91, 0.0, False),
        (0.95, 0.91, 0.0, True),
        (0.0, 1.0, 1.0, True),
    ],
)
def test_the_tolerance_itself_serves(accuracy, reference, tolerance, serves):
    found = answer.find(points([[accuracy]], [reference], [5]), tolerance)
    assert found.variants["fixed"].curve[0].serves is serves
    assert found.variants["fixed"].lowest == (5 if serves else None)


def test_seeds_are_paired_and_averaged():
    """Seed 1 is harder for all float too, so that what is lacking counts against its own."""
    found = answer.find(
        points(
            [[0.50, 0.90, 0.90, 0.90], [0.50, 0.70, 0.79, 0.80], [0.50, 0.885, 0.897, 0.9]],
            [0.9, 0.8, 0.9],
            [2, 3, 4, 5],
        )
    )
    need = found.variants["fixed"]
    assert need.of_seeds == (3, 4, 4)
    assert need.interval == (3, 4)
    assert need.lowest == 4  # at 3 the mean lacks (0 + 0.1 + 0.015) / 3, at 4 (0.01 + 0.003) / 3
    assert found.reference.accuracies == (0.9, 0.8, 0.9)
    assert found.reference.mean == pytest.approx(2.6 / 3)


def test_a_seed_that_never_serves_is_the_upper_end():
    found = answer.find(points([[0.1, 0.9], [0.1, 0.2]], [0.9, 0.9], [2, 3]))
    need = found.variants["fixed"]
    assert (need.of_seeds, need.interval, need.lowest) == ((3, None), (3, None), None)


def test_diverged_networks_count_nothing():
    rows = [("fixed", 4, 5, 0, 0.95, 17), ("fixed", 4, 6, 0, 0.4, None)]
    found = answer.find(frame([*rows, *(("float", None, s, 0, 0.9, None) for s in (5, 6))]))
    assert found.variants["fixed"].curve[0].accuracies == (0.4,)
    assert found.variants["fixed"].curve[0].lr_shifts == (6,)


def test_smoothing_carries_nothing_beyond_1():
    found = answer.find(points([[-0.01, 1.1]], [1.02], [2, 3]), chance=1.0)
    assert [point.mean for point in found.variants["fixed"].curve] == [0, 1]
    assert found.reference.mean == 1
    assert found.verdict.finding == "nothing trains"


def test_only_the_shared_grid_is_judged():
    """Outside of it all float has a better rate, and a swap a narrower width."""
    whole = table(5, 5, 5, 2, 2, 2, 5)
    of_fixed = whole["variant"] == "fixed"
    narrow = whole[~of_fixed | (whole["fraction"] >= 4)]
    better = frame([("float", None, 9, 0, 0.99, None)])
    found = answer.find(pd.concat([narrow, better], ignore_index=True))
    assert found.fractions == tuple(range(4, 13))
    assert found.lr_shifts == (7, 8)
    assert found.reference.mean == 0.9
    assert found.cells_left_out == 6 * 3 * 2 + 1
    assert found.variants["float-update"].lowest == 4
    assert "with the update in float 4 or fewer serve" in found.verdict.sentence


def test_order_of_rows_and_their_index_do_not_matter():
    ordered = table(9, 9, 8, 4, 2, 6, 9, seeds=2)
    by_variant = dict.fromkeys(ordered["variant"])
    shuffled = ordered.sample(frac=1, random_state=3)
    shuffled = shuffled.sort_values(
        "variant", key=lambda names: names.map(list(by_variant).index), kind="stable"
    )
    assert answer.find(shuffled) == answer.find(shuffled.reset_index()) == answer.find(ordered)


# --- The verdict ------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(3))
def test_each_part_may_be_the_bottleneck(part):
    swaps, alone = [9, 9, 9], [2, 2, 2]
    swaps[part], alone[part] = 4, 9
    verdict = judged(9, *swaps, *alone, seeds=3)
    assert (verdict.finding, verdict.bottleneck) == ("bottleneck", PARTS[part])
    assert verdict.agreeing_seeds == 3
    assert verdict.saves == {p: 5 if p == PARTS[part] else 0 for p in PARTS}


def test_the_sentence():
    assert judged(9, 9, 8, 4, 2, 6, 9, seeds=3).sentence == (
        "The update is the bottleneck: all fixed needs 9 fraction bits to come within "
        "1 percentage point of all float (90.0%), but with the update in float 4 serve, fewer "
        "than with any other part in float (3 of 3 seeds agree); alone in fixed point they need "
        "2 (forward pass), 6 (backward pass) and 9 (update)."
    )


@pytest.mark.parametrize(
    ("lowest", "finding", "bottleneck", "says"),
    [
        ((9, 9, 9, 4, 9, 9, 9), "bottleneck", "update", "9 (forward pass), 9 (backward pass) and"),
        ((9, 8, 7, 9, 2, 9, 3), "bottleneck", "backward", "with the backward pass in float 7 "),
        ((None, 9, None, None, 9, 2, 2), "bottleneck", "forward", "at no width up to 12 fraction"),
        ((None, 1, 9, 9, None, 2, 2), "bottleneck", "forward", "in float 1 or fewer serve"),
        ((9, 7, 7, 9, 6, 6, 6), "shared", None, "7 serve with the forward pass as with the back"),
        ((9, 7, 7, 7, 6, 6, 6), "shared", None, "forward pass as with the backward pass as with"),
        ((9, 9, 9, 9, 2, 3, 4), "no swap helps", None, "2 (forward pass), 3 (backward pass) and"),
        ((9, 10, None, 9, 2, 3, 4), "no swap helps", None, "all fixed needs 9 fraction bits"),
        ((None, None, None, None, 1, None, 4), "no swap helps", None, "1 or fewer (forward pass),"),
        ((None, None, None, None, 1, None, 4), "no swap helps", None, "more than 12 (backward"),
        ((9, 4, 8, 9, 3, 6, 3), "parts interact", None, "the backward pass needs more than the"),
        ((1, 1, 1, 1, 1, 1, 1), "narrowest serves", None, "at its narrowest width, 1 fraction bit"),
        (
            (9, 9, 8, 4, "absent", "absent", "absent"),
            "bottleneck",
            "update",
            "other part in float (one seed).",
        ),
        ((9, 9, "absent", 4, 2, 2, 9), "variants missing", None, "'float-backward' was not run"),
        (("absent", 9, "absent", 4, 2, 2, 9), "variants missing", None, "'fixed' and 'float-backw"),
        (("absent",) * 7, "variants missing", None, "'fixed', 'float-forward', 'float-backward' "),
    ],
)
def test_findings(lowest, finding, bottleneck, says):
    verdict = judged(*lowest)
    assert (verdict.finding, verdict.bottleneck) == (finding, bottleneck)
    assert says in verdict.sentence
    assert verdict.sentence.endswith(".")
    assert set(verdict.saves) == set(PARTS)


def test_one_width():
    assert judged(5, 5, 5, 5, 5, 5, 5, widths=[5]).finding == "narrowest serves"
    verdict = judged(None, None, None, 5, 5, 5, None, widths=[5])
    assert (verdict.finding, verdict.bottleneck) == ("bottleneck", "update")
    assert verdict.saves == dict.fromkeys(PARTS)


def test_seeds_that_disagree():
    """On average the update is to blame, for which one seed of three is responsible."""
    lowest = ((9, 9, 9), (9, 9, 9), (9, 8, 8), (4, 9, 9), (2, 2, 2), (2, 2, 2), (9, 9, 9))
    mixed = table(*lowest, seeds=3)
    # Between: the update in float is best on average.
    mixed.loc[
        (mixed["variant"] == "float-update") & (mixed["fraction"] >= 4) & (mixed["seed"] > 0),
        "accuracy",
    ] = 0.889
    verdict = answer.find(mixed).verdict
    assert (verdict.finding, verdict.bottleneck) == ("seeds disagree", None)
    assert verdict.agreeing_seeds == 1
    assert "only 1 of 3 seeds" in verdict.sentence


def test_half_of_the_seeds_are_not_enough():
    verdict = judged(9, (9, 4), 9, 4, 2, 2, 9, seeds=2)
    assert (verdict.finding, verdict.agreeing_seeds) == ("seeds disagree", 1)


def test_two_of_three_seeds_are_enough():
    verdict = judged(9, 9, (9, 9, 3), (4, 4, 4), 2, 2, 9, seeds=3)
    assert (verdict.finding, verdict.bottleneck, verdict.agreeing_seeds) == (
        "bottleneck",
        "update",
        2,
    )


@pytest.mark.parametrize(
    ("chance", "finding"),
    [(None, "bottleneck"), (0.1, "bottleneck"), (0.88, "bottleneck"), (0.89, "nothing trains")],
)
def test_a_constant_output(chance, finding):
    verdict = answer.find(table(9, 9, 8, 4, 2, 6, 9), chance=chance).verdict
    assert verdict.finding == finding
    if finding == "nothing trains":
        assert "all float reaches 90.0% and a constant output 89.0%" in verdict.sentence


@pytest.mark.parametrize(
    ("task", "chance"),
    [
        (Task(), 7 / 12),
        (Task(accuracy="test"), 0.75),
        (Task(order="given", window=5), 1.0),
        (Task(order="sorted", window=5), 1.0),
        (Task(order="sorted", window=11), 1.0),
        (Task(order="given", window=15), 3087 / 3315),
        (Task(order="given", window=5, epochs=5, batch_size=12), 7 / 12),
    ],
)
def test_chance(task, chance):
    """Of the training samples the last 4 of 12 are of class 2; 7 are of class 0."""
    labels = [0, 0, 1, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 0]
    held_back = 4 if task.accuracy == "test" else 0
    labels = labels if held_back else labels[:12]
    samples = samples_of(np.zeros((len(labels), 1)), labels, held_back=held_back)
    assert Result(task, samples, Grid(), {}).chance == pytest.approx(chance, abs=1e-12)


# --- Bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [-0.01, 1.01, float("nan")])
def test_bad_tolerance(tolerance):
    with pytest.raises(ValueError, match=r"tolerance must be in 0\.\.1, got "):
        answer.find(table(9, 9, 8, 4, 2, 6, 9), tolerance)


def without_overlap(column, wanted):
    """Return a table where `wanted` has values of `column` that no other variant has."""
    whole = table(9, 9, 8, 4, 2, 6, 9)
    whole.loc[whole["variant"] == wanted, column] += 100
    return whole


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (table(9, 9, 8, 4, 2, 6, 9).query("variant != 'float'"), "hold the variant 'float', got "),
        (table(9, 9, 8, 4, 2, 6, 9).drop(index=3), "'fixed' must .* 24 cells .* 23 rows with 23"),
        (
            pd.concat([table(9, 9, 8, 4, 2, 6, 9), table(9, 9, 8, 4, 2, 6, 9).iloc[:1]]),
            "24 cells .* got 25 rows with 24 cells",
        ),
        (without_overlap("seed", "fixed"), "the variants of the table share no seed"),
        (without_overlap("lr_shift", "float"), "the variants of the table share no lr_shift"),
        (without_overlap("fraction", "fixed"), "the variants of the table share no fraction"),
        (table(9, 9, 8, 4, 2, 6, 9, low=float("nan")), "every accuracy .* must be finite"),
    ],
)
def test_bad_tables(bad, message):
    with pytest.raises(ValueError, match=message):
        answer.find(bad)


# --- The file ---------------------------------------------------------------------------------


def test_file(tmp_path):
    path = tmp_path / "answer.json"
    found = answer.find(table(9, 9, 8, 4, 2, 6, 9, seeds=2), chance=0.25)
    answer.write(found, path)
    content = path.read_bytes()
    answer.write(found, path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    read = json.loads(content)
    assert read["schema"] == answer.SCHEMA == 1
    assert list(read)[1:] == list(answer.Answer.__dataclass_fields__)
    assert read["verdict"]["bottleneck"] == "update"
    assert read["verdict"]["saves"] == {"forward": 0, "backward": 1, "update": 5}
    assert read["chance"] == 0.25
    fixed = read["variants"]["fixed"]
    assert (fixed["lowest"], fixed["interval"], fixed["of_seeds"]) == (9, [9, 9], [9, 9])
    assert fixed["curve"][8] == {
        "mean": 0.9,
        "accuracies": [0.9, 0.9],
        "lr_shifts": [8, 8],
        "fraction": 9,
        "serves": True,
    }
