"""`python -m llmlocust.faults.proxy OPTIONS`: a proxy as a child process, controlled by its standard input.

OPTIONS is a JSON document: `url`, `host`, `port`, `seed`, `verify`, `parent` (the process id), and
`faults`, a list of texts.
"""

import json
import sys

from llmlocust.faults.proxy.faults import parse
from llmlocust.faults.proxy.running import STDIN, serve
from llmlocust.faults.proxy.settings import Settings

if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    faults = [parse(text) for text in options.pop("faults", ())]
    parent = options.pop("parent")
    try:
        serve(Settings.of_url(options.pop("url"), **options), faults, STDIN, parent=parent)
    except (OSError, ValueError) as problem:
        sys.stdout.write(json.dumps({"ok": False, "error": str(problem)}) + "\n")
        sys.exit(2)
