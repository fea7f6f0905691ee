"""Make the packaged images of the 2017 experiment from MNIST's four IDX files.

    python tools/make_stream.py FOLDER

FOLDER holds the files, plain or with .gz. The result is intmlp/data/mnist_2017.npz; its SHA-256,
which is printed, stands in intmlp/io/datasets.py. The same files give the same bytes wherever
zlib is the same.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

from intmlp.io.datasets import load_mnist
from intmlp.io.files import atomic
from intmlp.study.mnist2017 import stream

DESTINATION = Path(__file__).parents[1] / "intmlp" / "data" / "mnist_2017.npz"


def main() -> None:
    """Write the file and print its SHA-256."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="MNIST's four IDX files")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, default=DESTINATION, help="default: %(default)s"
    )
    arguments = parser.parse_args()
    samples = stream(load_mnist(arguments.folder))
    with atomic(arguments.out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, images=samples.images, labels=samples.labels)
    print(hashlib.sha256(arguments.out.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
