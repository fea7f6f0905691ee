"""What every backend offers: the compiled `_core` and the Python `fallback` alike.

Callers have checked everything: arrays are aligned, in native byte order, of the dtypes
named here, with values inside their formats. Backends compute; they do not check again.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nn.network import Network
from ..qformat import Accumulator, QFormat
from ..stream import Stream

Raw = NDArray[np.int32] | NDArray[np.int64]
Source = Raw | NDArray[np.float32] | NDArray[np.float64]

def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets that this build and this processor have, best first."""

def use_instruction_set(name: str) -> None:
    """Make one of `instruction_sets` serve every later call."""

def build_info() -> dict[str, str]:
    """Return what the backend was built with."""

def matmul_kernels() -> tuple[str, ...]:
    """Return the names of the matrix product kernels, the cheapest first."""

def set_threads(n: int) -> None:
    """Set how many threads a call may use, 1..1024; no result depends on it."""

def limit_threads(n: int) -> None:
    """Let calls from the calling thread use at most `n` threads; 0 ends that."""

def threads() -> int:
    """Return how many threads a call from the calling thread may use."""

# Random words come from `stream`: None where no format is stochastic.

def quantize(
    v: NDArray[np.float32] | NDArray[np.float64], fmt: QFormat, stream: Stream | None = None
) -> Raw:
    """Quantize finite float32 or float64 values; `v` is C-contiguous, of any shape."""

def dequantize(raw: Raw, fmt: QFormat) -> NDArray[np.float64]:
    """Dequantize; `raw` is C-contiguous, of any shape."""

def requantize(s: Raw, frac_in: int, fmt: QFormat, stream: Stream | None = None) -> Raw:
    """Requantize; `s` is C-contiguous, of any shape, `frac_in` in -4096..4096."""

def matmul(
    a: Raw,
    b: Raw,
    bias: Raw | None,
    bias_shift: int,
    frac_in: int,
    fmt: QFormat,
    kernel: str | None = None,
    accumulator: Accumulator | None = None,
    stream: Stream | None = None,
) -> Raw:
    """Multiply `a` (m, k) and `b` (k, n), of any strides; `bias` (n,) is contiguous.

    `bias_shift` is in 0..126 and `frac_in` in -4096..4096. `kernel` forces one of
    `matmul_kernels`; ValueError where its proof of exactness does not hold. Sums are added up in
    the `accumulator`, and are exact without one.
    """

def explain_matmul(
    a: Raw, b: Raw, bias: Raw | None, bias_shift: int, accumulator: Accumulator | None
) -> tuple[str, str, tuple[int, int], tuple[int, int], int]:
    """Return kernel, accumulator, ranges of `a` and `b`, steps of a block."""

# The same for plain arguments of the public functions, which need no check and no conversion:
# arrays of the core's own dtypes, aligned, in native byte order, with values in their range.
# None where an argument is not plain, and nothing is computed; the checked way says why, and
# the fallback leaves everything to it.

def plain_quantize(v: object, fmt: object, stream: object) -> Raw | None:
    """Quantize, or return None."""

def plain_dequantize(raw: object, fmt: object) -> NDArray[np.float64] | None:
    """Dequantize, or return None."""

def plain_requantize(s: object, frac_in: object, fmt: object, stream: object) -> Raw | None:
    """Requantize, or return None."""

def plain_matmul(
    a: object,
    b: object,
    frac_in: object,
    fmt: object,
    bias: object,
    bias_frac: object,
    accumulator: object,
    stream: object,
) -> Raw | None:
    """Multiply, or return None."""

class Net:
    """A network on this backend; it reads and writes the arrays that it is given.

    `weights` and `biases` are raw (None where all parts are float), `master_weights` and
    `master_biases` are float64 (None where the update is fixed); each is a list with one
    C-contiguous array a layer. The biases are None where the network has none. `velocities` and
    `bias_velocities`, of the shapes of weights and biases, are raw in the velocity format where the
    update is fixed, else float64; None without momentum. `steps` (1,) is how many
    updates are done: `train` reads and counts it. Calls of `forward`, `gradient` and
    `train` take turns.
    """

    def __init__(
        self,
        network: Network,
        weights: list[Any] | None,
        biases: list[Any] | None,
        master_weights: list[Any] | None,
        master_biases: list[Any] | None,
        velocities: list[Any] | None,
        bias_velocities: list[Any] | None,
        steps: NDArray[np.uint64],
    ) -> None: ...
    def weights_changed(self) -> None:
        """Forget what is kept of the weights; whoever writes into them calls this."""

    def takes_inputs(self, x: object) -> bool:
        """Return whether `x` is plain: an (n, n_in) array that needs no check; see above."""
    def takes_targets(self, y: object) -> bool:
        """Return whether `y` is plain: an (n, n_out) array that needs no check; see above."""
    def forward(self, x: Source, stream: Stream | None = None) -> NDArray[Any]:
        """Return the output of the last layer, shape (n, n_out).

        It is raw where the forward pass is fixed, else float64; values that are not
        finite stay in it. `x` is of any strides.
        """
    def gradient(
        self, x: Source, y: Source, average_shift: int, stream: Stream | None = None
    ) -> tuple[tuple[NDArray[Any], ...], tuple[NDArray[Any], ...]]:
        """Return (gW, gb) a layer: raw where the backward pass is fixed, else float64.

        gb is empty where there are no biases. FloatingPointError where a value that has
        to be stored or quantized is not finite.
        """
    def trains_online(self, batch_size: int, count: int, shift: int) -> bool:
        """Return whether such a call of `train` takes the path of online training.

        `shift` is the sum of `lr_shift` and `average_shift`. The numbers are the same either way.
        """
    def train(
        self,
        x: Source,
        y: Source,
        order: NDArray[np.int64],
        batch_size: int,
        first: int,
        count: int,
        lr_shift: int,
        average_shift: int,
        right: NDArray[np.int32] | None,
        loss: NDArray[np.float64] | None,
        counts: NDArray[np.uint64] | None = None,
        idle: NDArray[np.int64] | None = None,
        every: int = 1,
        before: int = 0,
        stop_on_overflow: bool = False,
        only_overflows: bool = False,
    ) -> int:
        """Do the steps ``first .. first + count - 1`` and return how many were done.

        Step ``s`` uses the rows ``order[s * batch_size : (s + 1) * batch_size]`` of `x` and
        `y`, the last of them may be fewer. Fewer than `count` steps were done where the
        next one diverged, which changes nothing. `right[s]` gets the number of right
        samples and `loss[s]` the loss of each step done. `lr_shift` is in -4096..4096.

        Where `counts` and `idle` are given, the steps done are added to them. `counts` has the
        rows and words of `_counts.py`. `idle` has an entry for each unit of each layer: for a
        relu unit the number of steps, up to the last, in which it was never active. Of all steps
        only those are counted whose number in the training is a multiple of `every`; `before` is
        how many it had done at step 0 of this `order`. With `stop_on_overflow` a step in which a
        value overflows is counted, but not done, and fewer than `count` steps were done. With
        `only_overflows`, no more of a row need be true than its entries and overflows.
        """
