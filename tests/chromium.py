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
"""Milliseconds that a page may take to show something, on a machine that does other things too."""


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Debian's Chromium, or Playwright's own: `make test` gets one where it can."""
    expect.set_options(timeout=SLOW)
    with sync_playwright() as started:
        try:
            opened = started.chromium.launch(
                executable_path=shutil.which("chromium"), args=[*ARGUMENTS, *arguments], timeout=SLOW
            )
        except Error as problem:
            said = problem.message.splitlines()[0]
            pytest.skip(f"no Chromium that starts: install Debian's package chromium ({said})")
        yield opened
        opened.close()
