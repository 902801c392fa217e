import threading
import time

import pytest


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Fail a test whose threads go on after it."""
    before = set(threading.enumerate())
    yield
    limit = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < limit:
        time.sleep(0.01)
    assert left == set()
