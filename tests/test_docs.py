"""The examples of the documentation and of every docstring give what they say."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import intmlp

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = sorted([CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md")])
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(intmlp.__path__, "intmlp.")
    if module.name not in ("intmlp.__main__", "intmlp._backend._core")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page, backend):
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert result.failed == 0
    if page.name in ("README.md", "numerics.md", "model_files.md"):
        assert result.attempted > 0


@pytest.mark.parametrize("module", MODULES)
def test_module(module, backend):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize(
    "name", sorted(set(intmlp.__all__) - {"__version__", "arithmetic_version"})
)
def test_every_public_object_has_a_docstring(name):
    thing = getattr(intmlp, name)
    assert thing.__doc__
    returned = {"Activation", "FormatSuggestion", "Gradient", "History", "Initialisation", "Step"}
    if name not in returned | {"TensorRange"}:  # by others, whose examples show them
        assert ">>>" in thing.__doc__, f"{name} has no example"


def test_the_contract_is_the_one_that_the_package_names():
    text = (CHECKOUT / "docs" / "numerics.md").read_text(encoding="utf-8")
    assert f"`arithmetic_version` {intmlp.arithmetic_version}." in text
