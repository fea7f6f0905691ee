"""A plugin of pytest: tests in a random order, and none is begun after FUZZ_UNTIL, in seconds."""

import os
import random
import time

import pytest


def pytest_collection_modifyitems(config, items):
    """Shuffle the tests by the seed of hypothesis."""
    random.Random(config.option.hypothesis_seed).shuffle(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol():
    """Pass over a test where the time is up."""
    return True if time.time() > float(os.environ["FUZZ_UNTIL"]) else None
