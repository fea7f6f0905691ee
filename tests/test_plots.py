"""The figures show the numbers that they are given, at their places."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from intmlp.study import answer, mnist2017, plots
from tables import VARIANTS, causes, frame, table

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.fixture(scope="module")
def whole():
    """Return a table of all variants, narrow and quick, and its answer."""
    cells = table(5, 5, 4, 3, 2, 3, 5, seeds=2, widths=range(2, 7), shifts=range(-2, 3))
    return cells, answer.find(cells)


def ticks(axis):
    return [int(label.get_text().replace("\N{MINUS SIGN}", "-")) for label in axis.get_ticklabels()]


def test_heat_map(ax):
    grid = mnist2017.published()
    plots.heat_map(ax, mnist2017.table(grid), "fixed")
    [mesh] = ax.collections
    assert mesh.get_array().shape == (15, 16)
    assert mesh.get_array()[3, 8] == grid[8, 16]
    assert ax.get_xlabel() == "Fraction width (bits)"
    assert ax.get_ylabel() == "Learning rate shift s (rate $2^{-s}$)"
    assert ticks(ax.xaxis) == list(range(8, 24))
    assert ticks(ax.yaxis) == list(range(5, 20))
    # Cell (3, 8) lies around fraction 16 and learning rate shift 8.
    corners = mesh.get_coordinates()[3:5, 8:10].reshape(-1, 2)
    assert corners.mean(axis=0).tolist() == [16, 8]


def test_heat_map_of_all_float_has_each_rate_at_its_place(ax):
    cells = frame([("float", None, shift, 0, shift / 100, None) for shift in range(-2, 20)])
    plots.heat_map(ax, cells, "float")
    [mesh] = ax.collections
    assert mesh.get_array().tolist() == [[shift / 100] for shift in range(-2, 20)]
    assert ticks(ax.yaxis) == list(range(-2, 20))
    assert ticks(ax.xaxis) == []
    assert mesh.get_coordinates()[:, 0, 1].tolist() == [shift - 0.5 for shift in range(-2, 21)]


def test_heat_map_is_the_mean_over_seeds_and_marks_what_diverged(ax):
    rows = [("fixed", 4, 5, 0, 0.2, None), ("fixed", 4, 5, 1, 0.6, None)]
    rows += [("fixed", 6, 5, 0, 0.1, 3), ("fixed", 6, 5, 1, 0.3, None)]
    plots.heat_map(ax, frame(rows), "fixed", lowest=6)
    [mesh] = ax.collections
    assert mesh.get_array().tolist() == [[0.4, 0.2]]
    assert mesh.get_coordinates()[0, :, 0].tolist() == [3, 5, 7]  # around 4 and 6
    crosses, *lines = ax.lines
    assert crosses.get_xydata().tolist() == [[6, 5]]
    assert {x for line in lines for x in line.get_xdata()} == {5.5}


@pytest.mark.parametrize("values", [[3], [3, 4, 5], [-2, 0, 4]])
def test_cells_end_half_way_between(values):
    edges = plots._edges(values)
    assert len(edges) == len(values) + 1
    assert all(a < value < b for a, value, b in zip(edges, values, edges[1:], strict=False))
    assert edges[1:-1].tolist() == [(a + b) / 2 for a, b in pairwise(values)]


def test_surface():
    grid = mnist2017.published()
    ax = Figure().add_subplot(projection="3d")
    plots.surface(ax, mnist2017.table(grid), "fixed")
    assert ax.get_xlabel() == plots.LR_LABEL
    assert ax.get_ylabel() == plots.FRACTION_LABEL
    assert ax.get_zlabel() == "Accuracy"
    [sheet] = ax.collections
    assert len(sheet.get_array()) == 14 * 15  # every cell is a corner of the mesh
    assert (sheet.norm.vmin, sheet.norm.vmax) == (0, 1)


def test_surface_of_all_float_is_a_ribbon():
    ax = Figure().add_subplot(projection="3d")
    cells = frame([("float", None, shift, 0, shift / 10, None) for shift in range(-2, 5)])
    plots.surface(ax, cells, "float")
    assert len(ax.collections[0].get_array()) == 6
    assert (ax.get_ylabel(), ax.get_yticks().tolist()) == ("No width", [])


def test_curves(ax, whole):
    _, found = whole
    plots.curves(ax, found, ["fixed", "float-update", "not there"])
    drawn = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    low, high = [[2, 0.1], [3, 0.1], [4, 0.1]], [[5, 0.9], [6, 0.9]]
    assert drawn["All fixed"] == low + high
    assert drawn["Update in float"] == [[2, 0.1], [3, 0.9], [4, 0.9], *high]
    marked = [line.get_xydata().tolist() for line in ax.lines if line.get_markersize() == 8]
    assert marked == [[[5, 0.9]], [[3, 0.9]]]
    assert ticks(ax.xaxis) == [2, 3, 4, 5, 6]
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == ["All fixed", "Update in float", "All float"]


def test_bands_reach_from_the_worst_to_the_best_seed(ax):
    rows = [("fixed", f, 5, seed, 0.1 * f + 0.2 * seed, None) for f in (1, 2) for seed in (0, 1, 2)]
    found = answer.find(frame([*rows, *(("float", None, 5, s, 0.9, None) for s in (0, 1, 2))]))
    plots.curves(ax, found, ["fixed"])
    band = ax.collections[0].get_paths()[0].vertices
    for width in (1, 2):
        heights = band[band[:, 0] == width, 1]
        assert [heights.min(), heights.max()] == pytest.approx([0.1 * width, 0.1 * width + 0.4])


def test_rates(ax):
    cells = frame(
        [("float", None, s, seed, 0.4 + 0.2 * seed, None) for s in (-2, 5) for seed in (0, 1)]
    )
    plots.rates(ax, cells)
    assert ax.lines[0].get_xydata().tolist() == [[-2, 0.5], [5, 0.5]]
    assert ticks(ax.xaxis) == [-2, 5]


def test_cause_maps(ax, whole):
    counted = causes(whole[0])
    plots.cause_map(ax, counted, "fixed", "lost")
    [mesh] = ax.collections
    # Fraction 4, shift 1: of 2 * 90 steps 10 + 20 are lost, in the weights alone.
    assert mesh.get_array()[3, 2] == 30 / 180
    assert ticks(ax.xaxis) == [2, 3, 4, 5, 6]
    assert ticks(ax.yaxis) == [-2, -1, 0, 1, 2]
    for cause, expected in {
        "artefact": 10 / 180,
        "error": (3 / 16) / (3 / 8 / 2),
        "overflow": 2 / (4 * 90 + 2 * 500),
        "widest": 6,
        "dead": 4 / 16,
    }.items():
        assert plots._cause_matrix(counted, "fixed", cause)[2][3, 2] == expected, cause


def test_cause_scales(whole):
    counted = causes(whole[0])
    limits = {
        cause: (scale.vmin, scale.vmax)
        for cause in plots.CAUSES
        for scale in [plots.cause_scale(counted, "fixed", cause)]
    }
    assert limits["lost"] == limits["artefact"] == limits["dead"] == (0, 1)
    assert limits["widest"] == (0, 8)
    nothing = plots.cause_scale(counted.assign(overflows=0), "fixed", "overflow")
    assert (nothing.vmin, nothing.vmax) == (0, 1)


def test_where_nothing_was_counted_nothing_is_drawn(ax, whole):
    nothing = causes(whole[0]).assign(entries=0, exact_zeros=0, lost_steps=0)
    plots.cause_map(ax, nothing, "fixed", "lost")
    assert np.ma.getmaskarray(ax.collections[0].get_array()).all()
    assert plots.cause_scale(nothing, "fixed", "widest").vmax == 8


def test_figures_have_all_panels_and_one_scale(whole):
    cells, found = whole
    figure = plots.heat_map_figure(cells, found)
    *panels, _bar = figure.axes
    assert [ax.get_title(loc="left") for ax in panels] == [
        "All fixed",
        "Forward pass in float",
        "Backward pass in float",
        "Update in float",
        "All float",
        "Only forward pass fixed",
        "Only backward pass fixed",
        "Only update fixed",
    ]
    assert {ax.collections[0].norm for ax in panels} == {plots.ACCURACIES}
    assert set(plots.LABELS) == set(VARIANTS)
    assert len(plots.surface_figure(cells).axes) == 8 + 1
    assert len(plots.curve_figure(found).axes) == 2
    assert len(plots.cause_figure(causes(cells), "fixed").axes) == 2 * len(plots.CAUSES)


@pytest.mark.parametrize("figure", ["heat_map_figure", "surface_figure"])
def test_save_replaces_the_file(tmp_path, figure):
    path = tmp_path / "figure.png"
    path.write_text("old")
    cells = table(5, *["absent"] * 6, widths=range(2, 7), shifts=range(3))
    plots.save(getattr(plots, figure)(cells), path)
    content = path.read_bytes()
    assert content.startswith(PNG)
    assert list(tmp_path.iterdir()) == [path]
    plots.save(getattr(plots, figure)(cells), path)
    assert path.read_bytes() == content
