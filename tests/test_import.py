"""What `import intmlp` loads, and the public names that it leaves for later."""

import subprocess
import sys
from pathlib import Path

import pytest

import intmlp


def run(script):
    """Run Python code in a new process and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=Path(__file__).parent,  # where no package lies that would be imported instead
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_networks_and_backends_are_imported_at_their_first_use():
    loaded = run("import sys, intmlp; print(*(m for m in sys.modules if m.startswith('intmlp')))")
    assert "intmlp.ops" in loaded
    assert not any(m.startswith(("intmlp.nn", "intmlp._backend.")) for m in loaded)


@pytest.mark.parametrize("name", [*sorted(intmlp.__all__), "nn"])
def test_every_name_may_be_the_first(name):
    assert run(f"import intmlp; print(intmlp.{name} is intmlp.{name})") == ["True"]


def test_all_names_at_once():
    assert run("from intmlp import *; print(MLP.__name__, QFormat.__name__)") == ["MLP", "QFormat"]
    assert set(intmlp.__all__) <= set(dir(intmlp))


def test_other_names_are_errors():
    with pytest.raises(AttributeError, match="module 'intmlp' has no attribute 'Network'"):
        _ = intmlp.Network
    with pytest.raises(ImportError):
        from intmlp import Network  # noqa: F401
