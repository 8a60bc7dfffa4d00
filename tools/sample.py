"""Recreate reports/sample: a run of `llmlocust demo`, its report in three formats, and the README's picture.

`python tools/sample.py again` recreates only the reports of the existing run.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
SAMPLE = Path("reports/sample")


def main() -> None:
    os.chdir(ROOT)  # the report shows paths as they are given
    shutil.rmtree(SAMPLE, ignore_errors=True)
    llmlocust("demo", "--out", str(SAMPLE))
    again()


def again() -> None:
    """Recreate the reports and the picture of the existing run."""
    llmlocust("report", str(SAMPLE), "--markdown", "--json", str(SAMPLE / "run_report.json"))
    picture((SAMPLE / "run_report.html").absolute(), SAMPLE / "run_report.png")


def llmlocust(*args: str) -> None:
    subprocess.run([sys.executable, "-m", "llmlocust.cli", *args], check=True)


def picture(page: Path, target: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        tab = browser.new_page(viewport={"width": 1120, "height": 960}, device_scale_factor=1.5, color_scheme="light")
        tab.goto(page.as_uri())
        tab.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    again() if sys.argv[1:] == ["again"] else main()
