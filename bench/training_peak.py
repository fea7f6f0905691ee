"""Train in a process of its own and print by how many bytes its memory has grown at most.

    python training_peak.py SAMPLES SIZE...

Linux only: the kernel keeps the peak, and forgets it when it is told to.
"""

import re
import sys
from pathlib import Path

import numpy as np

from intmlp import MLP, QFormat


def status(field):
    """Return a field of the process's status in bytes."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s*(\d+) kB", text)[1])


def main(samples, *sizes):
    state = np.random.RandomState(0)
    x = np.empty((samples, sizes[0]), np.float32)
    for row in x:  # no temporary of the size of the data, which would hide a copy of it
        row[:] = state.random_sample(sizes[0])
    y = np.zeros((samples, sizes[-1]), np.float32)
    y[:, 0] = 1
    MLP([2, 2], QFormat(24, 16)).train(x[:2, :2], y[:2, :2], 8)  # imports, the core's own tables
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    net = MLP(sizes, QFormat(24, 16))
    net.train(x, y, 10, batch_size=64, overflow="ignore")
    print(status("VmHWM") - before)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
