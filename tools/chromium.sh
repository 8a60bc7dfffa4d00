#!/bin/sh
# Install a Chromium for the tests of pages if there is none: Debian's if run as root there, otherwise Playwright's own.
set -u
python=$1
# Playwright's driver is a Node that needs libatomic, which a minimal Debian lacks.
drives() { "$python" -m playwright --version >/dev/null 2>&1; }
has_one() {
  drives || return 1
  command -v chromium >/dev/null 2>&1 && return 0
  "$python" - <<'P'
import sys
from pathlib import Path
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    sys.exit(not Path(playwright.chromium.executable_path).exists())
P
}
has_one && exit 0
if [ "$(id -u)" = 0 ] && grep -q '^ID=debian' /etc/os-release 2>/dev/null; then
  { apt-get update -q && apt-get install -yq --no-install-recommends chromium fonts-dejavu-core libatomic1; } >/dev/null 2>&1
  has_one && exit 0
fi
drives && "$python" -m playwright install chromium >/dev/null 2>&1
has_one || echo "No Chromium: the tests of pages will be skipped. Install Debian's packages chromium and libatomic1 to run them."
exit 0
