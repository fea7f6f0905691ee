"""One suite for every backend: each test that computes takes the fixture `backend`.

Where what is wanted takes long to compute, the test does so once, and loops over the backends.
"""

import random
from pathlib import Path

import hypothesis
import pytest

import intmlp
from intmlp import _backend
from support import BACKENDS, EFFORT, PURE

hypothesis.settings.register_profile(
    "intmlp",
    deadline=None,
    max_examples=round(100 * EFFORT),
    database=None,  # a failure is repeated by its seed
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate, hypothesis.Phase.shrink],
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,  # `backend` is the same for all examples
        hypothesis.HealthCheck.too_slow,
    ],
)
hypothesis.settings.load_profile("intmlp")


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Name the backend that serves the test; it is proved to be the one that serves."""
    before = _backend.active_name()
    _backend.use(request.param)
    assert _backend.active_name() == intmlp.show_config()["backend"] == request.param
    module = "fallback" if request.param == "python" else "_core"
    assert _backend.active().__name__ == f"intmlp._backend.{module}"
    yield request.param
    assert _backend.active_name() == request.param
    _backend.use(before)


@pytest.fixture
def restored():
    """Let the backend that served before the test serve after it."""
    before = _backend.active_name()
    yield
    _backend.use(before)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Give hypothesis a seed that can be printed; --hypothesis-seed sets it."""
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(2**32))


def pytest_sessionstart(session):
    """Refuse to test the checkout in place of what was installed, or Python alone."""
    tested = Path(intmlp.__file__).resolve().parent
    if tested == Path(__file__).resolve().parents[1] / "intmlp":
        pytest.exit(f"the tests must import the installed package, not {tested}", returncode=1)
    if not PURE and "c:scalar" not in BACKENDS:
        pytest.exit(
            f"the compiled core is not built (backends: {', '.join(BACKENDS)}); "
            "INTMLP_BACKEND=python tests the Python fallback alone",
            returncode=1,
        )


def pytest_report_header(config):
    """Say what is tested, where, and with which seed."""
    here = intmlp.show_config()
    return [
        f"intmlp: {here['version']}, arithmetic {here['arithmetic_version']}, {here['path']}",
        f"backends: {', '.join(BACKENDS)}; build: {here['build']}",
        f"cpu: {here['cpu']}; numpy {here['numpy']}",
        f"seed: --hypothesis-seed={config.option.hypothesis_seed}",
    ]
