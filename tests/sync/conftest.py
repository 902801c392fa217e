import threading

import pytest
from sync_ends import until


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Fail a test whose threads go on after it."""
    before = set(threading.enumerate())
    yield
    until(lambda: set(threading.enumerate()) <= before)
