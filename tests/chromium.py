"""A Chromium for tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Error, expect, sync_playwright

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SLOW = 120_000.0
"""Time-out in milliseconds for a page on a busy machine."""


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Start Debian's Chromium, or Playwright's own, which `make test` installs if it can; skip the test without one."""
    expect.set_options(timeout=SLOW)
    with sync_playwright() as started:
        try:
            browser = started.chromium.launch(
                executable_path=shutil.which("chromium"), args=[*ARGUMENTS, *arguments], timeout=SLOW
            )
        except Error as problem:
            message = problem.message.splitlines()[0]
            pytest.skip(f"no Chromium that starts: install Debian's package chromium ({message})")
        yield browser
        browser.close()
