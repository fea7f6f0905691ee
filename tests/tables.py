"""Result tables and causes tables of studies that nobody ran, whose answers are known."""

import itertools

import pandas as pd

PARTS = ("forward", "backward", "update")
SWAPS = tuple(f"float-{part}" for part in PARTS)
ALONE = tuple(f"fixed-{part}" for part in PARTS)
VARIANTS = ("fixed", *SWAPS, *ALONE, "float")
COLUMNS = ["variant", "fraction", "lr_shift", "seed", "accuracy", "diverged_at"]


def frame(rows):
    return pd.DataFrame(rows, columns=COLUMNS).astype({"fraction": "Int64", "diverged_at": "Int64"})


def table(*lowest, seeds=1, widths=range(1, 13), shifts=(7, 8), high=0.9, low=0.1):
    """Return a table of the variants in order, each of which trains from its lowest width on.

    A lowest width may be a tuple of one a seed; None never trains, and "absent" is left out.
    """
    rows = []
    for variant, least in zip(VARIANTS, [*lowest, 0], strict=True):
        if least == "absent":
            continue
        by_seed = least if isinstance(least, tuple) else (least,) * seeds
        for fraction, shift, seed in itertools.product(
            [None] if variant == "float" else widths, shifts, range(seeds)
        ):
            serves = by_seed[seed] is not None and (fraction or 0) >= by_seed[seed]
            accuracy = high if serves and shift == shifts[-1] else low
            rows.append((variant, fraction, shift, seed, accuracy, None))
    return frame(rows)


def causes(of):
    """Return a causes table of the cells of a result table, two layers each.

    Layer l of fraction width f and learning rate shift s loses l / (f + s + 4) of the steps that
    are not 0, `widest_bits` is f + l, and its steps sum up to l / 8 before the shift by the
    learning rate, their errors to l / 16.
    """
    rows = []
    for cell in of[of["variant"] != "float"].itertuples():
        place = (cell.variant, cell.fraction, cell.lr_shift, cell.seed)
        for layer, (tensor, exact_zeros) in itertools.product((1, 2), (("Z", 0), ("W", 500))):
            entries = exact_zeros + 10 * (cell.fraction + cell.lr_shift + 4)
            lost = artefact = 0
            if tensor == "W":
                lost, artefact = 10 * layer, 5
            counts = (entries, exact_zeros, lost, artefact, layer - 1, cell.fraction + layer)
            steps = (layer << 97, 100, layer << 60, 64) if tensor == "W" else (0, 0, 0, 0)
            rows.append((*place, layer, tensor, *counts, *steps, 3, 8, 2))
    columns = ["variant", "fraction", "lr_shift", "seed", "layer", "tensor", "entries"]
    columns += ["exact_zeros", "lost_steps", "artefact_steps", "overflows", "widest_bits"]
    columns += ["step_sum", "step_frac", "error_sum", "error_frac", "inactive", "units"]
    return pd.DataFrame(rows, columns=[*columns, "dead_units"])
