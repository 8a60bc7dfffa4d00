"""Real engines as child processes: vLLM on the CPU, and llama.cpp's server, each with a tiny model of random weights."""

import os
import re
import signal
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.locusts import free_port
from tests.real.installed import python_of
from tests.simulators import wait_for

HERE = Path(__file__).parent
MODEL = "tiny"
WIDE, DEEP = (512, 8), (64, 240)
"""Models for llama.cpp. The computation of a wide one grows with the sequences in a step. A step of a deep and narrow one takes
nearly the same time for several sequences, as on a GPU.
"""
SLOW_TO_START = 900.0
"""vLLM starts in 2 minutes on a quiet machine of two cores."""
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
VLLM_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
}  # fmt: skip


@dataclass
class EngineProcess:
    """A server that can be stopped, killed and started again at the same port."""

    command: list[str]
    port: int
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with self.log.open("a") as log:
            # niced: the load generator must measure, also where both share the cores
            command = ["nice", "-n", "15", *self.command]
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        wait_for(lambda: self.process.poll() is not None or self._is_ready(), patience=SLOW_TO_START)
        assert self.process.poll() is None, self.log.read_text()[-2000:]

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(60)

    def signal(self, number: int) -> None:
        """Send a signal to the server and its children."""
        os.killpg(self.process.pid, number)

    def end(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as answer:
            return answer.read().decode()

    def counters(self) -> Counter[str]:
        """Return the sums of the samples of /metrics by name, read without llmlocust's own reader."""
        sums: Counter[str] = Counter()
        for line in self.metrics().splitlines():
            if sample := _SAMPLE.match(line):
                sums[sample[1]] += float(sample[3])
        return sums


@contextmanager
def vllm(folder: Path, *options: str) -> Iterator[EngineProcess]:
    python, port = python_of("vllm"), free_port()
    model = folder / "tiny"
    subprocess.run(
        [python, HERE / "tiny_hf_model.py", model],
        env={**os.environ, **VLLM_ENVIRONMENT}, check=True, capture_output=True,
    )  # fmt: skip
    command = [str(python.parent / "vllm"), "serve", str(model), "--served-model-name", MODEL, "--enforce-eager"]
    command += ["--host", "127.0.0.1", "--port", str(port), *options]
    with _started(EngineProcess(command, port, folder / "vllm.log", VLLM_ENVIRONMENT)) as server:
        yield server


@contextmanager
def llama_server(folder: Path, *options: str, files: int = 0, shape: tuple[int, int] = WIDE) -> Iterator[EngineProcess]:
    """Start llama.cpp's server. `files` is its maximum number of open files; `shape`: the model's width and blocks."""
    python, port = python_of("llama-server"), free_port()
    model = folder / f"{shape[0]}x{shape[1]}.gguf"
    if not model.exists():
        subprocess.run([python, HERE / "tiny_model.py", model, *map(str, shape), "8192"], check=True)
    limit = ["prlimit", f"--nofile={files}"] if files else []
    command = [*limit, str(python.parent / "llama-server"), "-m", str(model), "--alias", MODEL, "--no-warmup"]
    command += ["--host", "127.0.0.1", "--port", str(port), "-t", "1", "-tb", "1", *options]
    libraries = {"LD_LIBRARY_PATH": str(python.parent)}
    with _started(EngineProcess(command, port, folder / "llama-server.log", libraries)) as server:
        yield server


@contextmanager
def _started(server: EngineProcess) -> Iterator[EngineProcess]:
    server.start()
    try:
        yield server
    finally:
        server.end()
