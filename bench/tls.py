"""The cost of TLS: the same runs of Locust without it and with it, in turn, with the same C server.

    python bench/tls.py [STREAMS ...]          100 and 300 by default; needs the requirements of floor.py, openssl and
                                               its headers (Debian's packages openssl and libssl-dev)

The server is that of floor.py, with TLS and a certificate that this script creates. The column "of the floor's" is relative
to the run without TLS just before.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import truth
from floor import heading, locust, row

ROUNDS = 3


def main(streams: list[int]) -> None:
    heading()
    ratios = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        for number in streams:
            costs = [pair(folder, number) for _ in range(ROUNDS)]
            plain, tls = (median(seconds) for seconds in zip(*costs, strict=True))
            ratios[number] = tls / plain
    for number, ratio in ratios.items():
        print(f"\n{number} streams: TLS costs {ratio:.2f} times as much CPU per token (medians of {ROUNDS} runs)")


def pair(folder: Path, streams: int) -> tuple[float, float]:
    """Return the CPU seconds per token, without TLS and with it."""
    plain = locust(folder, streams, 10.0)
    print(row(f"{streams}", "llmlocust", plain, plain), flush=True)
    tls = locust(folder, streams, 10.0, tls=True)
    print(row(f"{streams}", "llmlocust, TLS", tls, plain), flush=True)
    return plain.cpu / plain.tokens_per_s, tls.cpu / tls.tokens_per_s


def build(folder: Path) -> None:
    """Build the server without and with TLS, and create a file with a key and its certificate."""
    truth.build(folder)
    pem = folder / "truth.pem"
    source = truth.HERE / "truth_server.c"
    subprocess.run(["gcc", "-O2", "-DTLS", "-o", folder / "truth_server_tls", source, "-lssl", "-lcrypto"], check=True)
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*request, "-subj", "/CN=localhost", "-keyout", pem, "-out", pem], check=True, capture_output=True)
    os.environ["TRUTH_PEM"] = str(pem)


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])) or [100, 300])
