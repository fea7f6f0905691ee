"""fxpmath: fixed-point arrays over NumPy."""

import numpy as np
from fxpmath import Fxp


def product(a, b, shift, bits):
    """Return a function that multiplies, rounds half up and saturates."""
    # As with all peers, integers at `shift` fraction bits in all, of which the result keeps none.
    left = Fxp(a.astype(np.int64), n_word=bits, n_frac=shift, raw=True)
    right = Fxp(b.astype(np.int64), n_word=bits, n_frac=0, raw=True)
    rules = dict(n_word=bits, n_frac=0, rounding="nearest_posinf", overflow="saturate")
    return lambda: Fxp(left.dot(right), **rules)


def integers(result):
    return result.val
