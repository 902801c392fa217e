import pytest
from browsers import chromium


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    with chromium("the chat page in a browser") as browser:
        yield browser
