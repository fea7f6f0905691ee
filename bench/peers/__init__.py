"""What users have instead of intmlp, a module each; not one of them shares code with it.

A module offers what its library can: `product` (a matrix product of raw integers, rounded half
up and saturated), `Trainer` (an epoch of mini-batches), and the like. `load` skips the
benchmark where the library is not installed.
"""

import importlib
from importlib import metadata

import pytest

# What each module needs, by the names under which it is installed.
PACKAGES = {
    "numpy_object": "numpy",
    "numpy_int64": "numpy",
    "numpy_float32": "numpy",
    "numpy_float64": "numpy",
    "openblas": "numpy",
    "published": "numpy",
    "torch_int64": "torch",
    "torch_float32": "torch",
    "jax_float32": "jax",
    "sklearn_float32": "scikit-learn",
    "numba_online": "numba",
    "autograd_float64": "autograd",
    "apytypes_fixed": "apytypes",
    "fxpmath_fixed": "fxpmath",
}


def load(name):
    """Return the peer `name`, or skip the benchmark and say why."""
    try:
        metadata.version(PACKAGES[name])
    except metadata.PackageNotFoundError:
        pytest.skip(f"needs {PACKAGES[name]}: pip install 'intmlp[bench]'")
    return importlib.import_module(f"peers.{name}")


def versions():
    """Return the version of each library, or that it is not installed."""
    found = {}
    for package in dict.fromkeys(PACKAGES.values()):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
