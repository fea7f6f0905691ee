"""The random words of stochastic rounding: Philox4x32-10; docs/numerics.md, section 6."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...qformat import QFormat
from ...stream import Stream

Array = NDArray[Any]

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(2**32 - 1), np.uint64(32)
_ROUNDS = 10


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> tuple[Array, ...]:
    """Return the four words of each block; uint64 arrays, and a key, that hold 32 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (p1 >> _HALF) ^ c1 ^ np.uint64(k0), p1 & _LOW
        c2, c3 = (p0 >> _HALF) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) % 2**32, (k1 + _KEY_STEPS[1]) % 2**32
    return c0, c1, c2, c3


class Words(NamedTuple):
    """The random words of the elements of a tensor, from `first` on."""

    stream: Stream
    first: int = 0

    def of(self, shape: tuple[int, ...], fmt: QFormat) -> Array:
        """Return the words of an array of `shape`, in C order, of which `fmt` keeps some bits."""
        n, skipped = math.prod(shape), self.first % 4
        blocks = np.uint64(self.first // 4) + np.arange((skipped + n + 3) // 4, dtype=np.uint64)
        step, tensor = (
            np.full_like(blocks, value) for value in (self.stream.step, self.stream.tensor)
        )
        key = self.stream.seed % 2**32, self.stream.seed >> 32
        words = np.stack(philox((blocks & _LOW, blocks >> _HALF, step, tensor), key), axis=1)
        kept = words.ravel()[skipped : skipped + n] & np.uint64(2**32 - 2 ** (32 - fmt.random_bits))
        return kept.astype(np.int64).reshape(shape)


# Where no format is stochastic.
WORDLESS = Words(Stream(0))


def words_of(stream: Stream | None) -> Words:
    """Return the words of a whole array; any where there is no stream, as none are read."""
    return WORDLESS if stream is None else Words(stream)
