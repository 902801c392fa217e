"""A headless Chromium, driven by Playwright."""

import shutil
from contextlib import contextmanager

from backends import skip_unless

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium(subject):
    """Launch a browser; the test of `subject` is skipped, or fails, if none is installed."""
    skip_unless("" if CHROMIUM else "chromium", subject)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()
