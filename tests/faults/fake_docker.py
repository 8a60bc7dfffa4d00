"""Programs that behave like docker and kubectl as far as faults use them; the state is a file."""

import json
import os
import sys
from pathlib import Path

DOCKER = """#!{python}
import json, sys, time
from pathlib import Path
log, path = Path({folder!r}) / "calls", Path({folder!r}) / "state.json"
words = sys.argv[1:]
with log.open("a") as file:
    file.write(" ".join(words) + chr(10))
if words[:2] == ["context", "inspect"]:
    print("unix:///var/run/docker.sock")
    sys.exit()
state = json.loads(path.read_text())
if words[-1] != "llm":
    sys.exit(f"Error: No such object: {{words[-1]}}")
match words[0]:
    case "inspect":
        print(state["Pid"] if "{{{{.State.Pid}}}}" in words else json.dumps(state))
        sys.exit()
    case "pause":
        state |= {{"Paused": True, "Status": "paused"}}
    case "unpause":
        if not state["Paused"]:
            sys.exit("Error response from daemon: Container llm is not paused")
        state |= {{"Paused": False, "Status": "running"}}
    case "stop" | "kill":
        state |= {{"Running": False, "Status": "exited"}}
    case "start" | "restart":
        state |= {{"Running": True, "Status": "running", "StartedAt": str(time.time())}}
path.write_text(json.dumps(state))
"""

KUBECTL = """#!{python}
import sys
from pathlib import Path
words = sys.argv[1:]
if words[:2] == ["config", "view"]:
    print({server!r})
    sys.exit()
with (Path({folder!r}) / "calls").open("a") as file:
    file.write(" ".join(words) + chr(10))
"""


class Fakes:
    """The programs, first on PATH."""

    def __init__(self, folder: Path, monkeypatch, server: str = "https://127.0.0.1:6443") -> None:
        self.folder = folder
        self.set(Running=True, Paused=False, Status="running", StartedAt="0", Pid=0)
        for name, text in (("docker", DOCKER), ("kubectl", KUBECTL)):
            program = folder / name
            program.write_text(text.format(python=sys.executable, folder=str(folder), server=server))
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.delenv("DOCKER_HOST", raising=False)

    def set(self, **state: object) -> None:
        (self.folder / "state.json").write_text(json.dumps(state))

    @property
    def state(self) -> dict[str, object]:
        return json.loads((self.folder / "state.json").read_text())

    def calls(self, without: str = "inspect") -> list[str]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if without not in line]
