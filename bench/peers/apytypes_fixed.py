"""APyTypes: fixed-point arrays of any width, exact products, compiled."""

from apytypes import APyFixedArray, OverflowMode, QuantizationMode

RULES = dict(quantization=QuantizationMode.TIES_POS, overflow=OverflowMode.SAT)


def array(values, bits, frac):
    return APyFixedArray(values.ravel().tolist(), bits=bits, frac_bits=frac).reshape(values.shape)


def product(a, b, shift, bits):
    """Return a function that multiplies, rounds half up and saturates."""
    # As with all peers, integers at `shift` fraction bits in all, of which the result keeps none.
    left, right = array(a, bits, shift), array(b, bits, 0)
    return lambda: (left @ right).cast(bits=bits, frac_bits=0, **RULES)


def integers(result):
    return result.to_numpy()
