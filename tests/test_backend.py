"""Which backend serves: by default, by name, and where the core is missing or broken."""

import ast
import inspect
import os
import platform
from functools import partial
from pathlib import Path

import pytest

import intmlp
from intmlp import _backend
from intmlp._backend import fallback
from support import BACKENDS, PURE, run_python

CORE = "intmlp._backend._core"


run = partial(run_python, "INTMLP_BACKEND")


SHOW = "import intmlp; print(intmlp.show_config()['backend'])"
MISSING = f"import sys; sys.modules[{CORE!r}] = None\n"  # as if it was not built


def broken(error):
    """Return code after which the core is there, and raises an error when it is imported."""
    return f"""
import sys
class Broken:
    def find_spec(self, name, path, target=None):
        if name == {CORE!r}:
            raise {error}
sys.meta_path.insert(0, Broken())
"""


QUIET = "import warnings; warnings.simplefilter('default')\n"


def test_the_best_serves_by_default():
    if PURE:
        pytest.skip("a pure wheel is under test: the default is its fallback, with a warning")
    done = run(SHOW)
    assert done.stdout.split() == [_backend.available()[0]], done.stderr
    assert done.stdout.startswith("c:")


@pytest.mark.parametrize("name", BACKENDS)
def test_the_environment_forces_a_backend(name):
    done = run(SHOW, INTMLP_BACKEND=name)
    assert done.stdout.split() == [name], done.stderr


@pytest.mark.skipif(PURE, reason="a pure wheel is under test")
def test_c_is_the_best_compiled():
    done = run(SHOW, INTMLP_BACKEND="c")
    assert done.stdout.split() == [_backend.available()[0]], done.stderr


@pytest.mark.parametrize("name", ["c:sse9", "C", "Python", "c:", "fallback", "c:python", " python"])
def test_an_unknown_name_is_an_error(name):
    done = run(SHOW, INTMLP_BACKEND=name)
    assert done.returncode != 0 and done.stdout == ""
    assert "ValueError: INTMLP_BACKEND must be one of" in done.stderr and repr(name) in done.stderr
    before = _backend.active_name()
    with pytest.raises(ValueError, match="INTMLP_BACKEND must be one of"):
        _backend.use(name)
    assert _backend.active_name() == before


def test_an_empty_name_is_none():
    assert run(QUIET + SHOW, INTMLP_BACKEND="").stdout == run(QUIET + SHOW).stdout


def test_without_the_core_the_fallback_serves_and_says_so():
    done = run(MISSING + QUIET + SHOW)
    assert done.stdout.split() == ["python"]
    assert done.stderr.count("RuntimeWarning: intmlp runs on its Python fallback") == 1


def test_chosen_by_name_the_fallback_serves_in_silence():
    done = run(MISSING + SHOW, INTMLP_BACKEND="python")
    assert (done.stdout.split(), done.stderr) == (["python"], "")


@pytest.mark.parametrize("name", ["c", "c:scalar"])
def test_without_the_core_its_name_is_an_error(name):
    done = run(MISSING + QUIET + SHOW, INTMLP_BACKEND=name)
    assert done.returncode != 0 and done.stdout == ""
    assert "the compiled core is not built" in done.stderr


@pytest.mark.parametrize("name", ["", "c"])
@pytest.mark.parametrize(
    "error",
    [
        "ImportError('undefined symbol: im_matmul', name=name)",
        "ModuleNotFoundError('no module that the core needs', name='numpy.gone')",
        "SystemError('not a core of this Python')",
    ],
)
def test_a_core_that_cannot_be_loaded_is_an_error(name, error):
    done = run(broken(error) + QUIET + SHOW, INTMLP_BACKEND=name)
    assert done.returncode != 0 and done.stdout == ""
    assert error.split("'")[1] in done.stderr


def test_available():
    names = _backend.available()
    assert names[-1] == "python" and len(set(names)) == len(names)
    assert all(name.startswith("c:") for name in names[:-1])
    if not PURE:
        assert names[-2] == "c:scalar"  # every build and every processor has it


def test_the_forced_backend_computes(backend, monkeypatch):
    """Public calls and networks reach the module that is active, and no other."""

    class Marked(Exception):
        pass

    def mark(*args, **kwargs):
        raise Marked

    for name in ("quantize", "dequantize", "requantize", "matmul", "Net"):
        monkeypatch.setattr(_backend.active(), name, mark)
    fmt = intmlp.QFormat(8, 4)
    for call in (
        lambda: intmlp.quantize([0.5], fmt),
        lambda: intmlp.dequantize([1], fmt),
        lambda: intmlp.requantize([1], 4, fmt),
        lambda: intmlp.matmul([[1]], [[1]], 4, fmt),
        lambda: intmlp.MLP([1, 1], fmt, init=intmlp.uniform()),
    ):
        with pytest.raises(Marked):
            call()


def test_the_fallback_is_an_instruction_set_of_its_own():
    assert fallback.instruction_sets() == ("python",)
    fallback.use_instruction_set("python")
    with pytest.raises(ValueError, match="name must be one of python; got 'avx2'"):
        fallback.use_instruction_set("avx2")


def test_threads_where_affinities_are_unknown(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delenv("INTMLP_NUM_THREADS", raising=False)
    for cores, wanted in ((3, 3), (None, 1), (10**6, _backend.MOST_THREADS)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert _backend._default_threads() == wanted


def test_a_backend_that_serves_is_not_chosen_again(backend):
    _backend._start()  # as of a thread that comes second
    assert _backend.active_name() == backend


def test_the_processor_has_a_name_everywhere(monkeypatch):
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert intmlp.show_config()["cpu"] == platform.machine()


def test_show_config(backend):
    here = intmlp.show_config()
    assert here["backend"] == backend == _backend.active_name()
    assert here["backends"].split() == list(_backend.available())
    assert here["version"] == intmlp.__version__
    assert here["arithmetic_version"] == str(intmlp.arithmetic_version) == "1"
    assert Path(here["path"]) == Path(intmlp.__file__).parent
    assert all(isinstance(value, str) and value for value in here.values())


def test_every_backend_offers_the_whole_interface(backend):
    """The names of the stub, and their parameters as far as a compiled function shows them."""
    stub = ast.parse(Path(_backend.__file__).with_name("_core.pyi").read_text())
    functions = [node for node in stub.body if isinstance(node, ast.FunctionDef)]
    (net,) = [node for node in stub.body if isinstance(node, ast.ClassDef)]
    methods = [node for node in net.body if isinstance(node, ast.FunctionDef)]
    pairs = [(_backend.active(), node) for node in functions]
    pairs += [(_backend.active().Net, node) for node in methods if node.name != "__init__"]
    assert len(pairs) > 10
    for owner, node in pairs:
        function = getattr(owner, node.name)
        assert callable(function)
        try:
            signature = inspect.signature(function)
        except ValueError:
            continue  # Cython embeds none
        assert list(signature.parameters) == [argument.arg for argument in node.args.args]
