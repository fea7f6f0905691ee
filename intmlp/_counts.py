"""The counts of observed training, as every backend adds to them (docs/numerics.md, section 9)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# A row of 64-bit words, lowest first where a count has more than one; the order of the fields is
# that of im_count in src/intmlp.h.
FIELDS = {
    "entries": 1,
    "exact_zeros": 1,
    "lost_steps": 1,
    "artefact_steps": 1,
    "overflows": 1,
    "widest_bits": 1,
    "inactive": 1,
    "step_sum": 3,
    "error_sum": 3,
}
WORDS = sum(FIELDS.values())

# The rows of a layer, in the order of im_tensor; those of what a layer does not have stay zero.
TENSORS = ("Z", "E", "D", "VW", "Vb", "W", "b")

Words = NDArray[np.uint64]


def new_rows(depth: int) -> Words:
    """Return the counts of a network of so many layers, all zero."""
    return np.zeros((depth * len(TENSORS), WORDS), np.uint64)


def unpack(row: Words) -> dict[str, int]:
    """Return the counts of a row by name."""
    words = [int(word) for word in row]
    counts = {}
    for name, size in FIELDS.items():
        counts[name] = sum(word << 64 * i for i, word in enumerate(words[:size]))
        words = words[size:]
    return counts


def pack(counts: dict[str, int]) -> list[int]:
    """Return the words of the counts, where those that are missing are zero."""
    words = []
    for name, size in FIELDS.items():
        value = counts.get(name, 0)
        words += [value >> 64 * i & (2**64 - 1) for i in range(size)]
    return words


def joined(row: Words, counts: dict[str, int]) -> list[Any]:
    """Return the words of a row to which `counts` are added."""
    before = unpack(row)
    both = {name: before[name] + counts.get(name, 0) for name in FIELDS}
    both["widest_bits"] = max(before["widest_bits"], counts.get("widest_bits", 0))
    return pack(both)
