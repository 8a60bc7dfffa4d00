"""The values of --llm-observe: what each names, and one line for each bad spelling."""

import pytest

from llmlocust.observe.sources.parse import source_of

SECRET = "sesame-77"


@pytest.mark.parametrize(
    "text, server",
    [
        ("http://127.0.0.1:8000", "localhost:8000"),
        (f"http://me:{SECRET}@localhost:8000/other", "localhost:8000"),
        ("slots:http://[::1]:8000", "localhost:8000"),
        ("port:8000", "localhost:8000"),
        ("http://localhost", "localhost:80"),
        (f"http://me:{SECRET}@gpu-box:8000/metrics", "gpu-box:8000"),
        ("loads:http://gpu-box:8000", "gpu-box:8000"),
        ("http://gpu-box:9400", "gpu-box:9400"),
        ("machine", ""),
        ("process:vllm", ""),
        ("prometheus:http://gpu-box:8000?query=up", ""),
    ],
)
def test_sources_of_one_address_describe_one_server(text, server):
    assert source_of(text).server == server


@pytest.mark.parametrize(
    "text, name, url",
    [
        ("http://gpu-box:9400", "gpu-box:9400", "http://gpu-box:9400/metrics"),
        ("http://gpu-box:9400/", "gpu-box:9400", "http://gpu-box:9400/metrics"),
        (" HTTP://gpu-box/metrics ", "gpu-box", "http://gpu-box/metrics"),
        ("https://[::1]:8000/a/metrics#x", "[::1]:8000/a/metrics", "https://[::1]:8000/a/metrics"),
        (f"http://me:{SECRET}@host/metrics?key={SECRET}", "host", "http://host/metrics?key"),
        (f"http://{SECRET}@host", "host", "http://host/metrics"),
        ("prometheus:http://p:9090?query=up", "prometheus p:9090 up", "prometheus:http://p:9090?query=up"),
        (f"prometheus:https://me:{SECRET}@p/x/?query=up", "prometheus p up", "prometheus:https://p/x/?query=up"),
        ("machine", "machine", "machine"),
        ("GPU", "gpu", "gpu"),
        ("pid:123", "pid 123", "pid:123"),
        ("port:8000", "port 8000", "port:8000"),
        ("process:vllm serve", "process vllm serve", "process:vllm serve"),
        ("docker:vllm", "docker vllm", "docker:vllm"),
        ("ollama:http://h:11434", "ollama h:11434", "ollama:http://h:11434"),
        (f"ollama:http://me:{SECRET}@h:11434/api/ps", "ollama h:11434", "ollama:http://h:11434"),
        ("gradio:https://h/app/", "gradio h/app", "gradio:https://h/app"),
        ("slots:http://h:8080", "slots h:8080", "slots:http://h:8080"),
        ("loads:http://h:30000/v1/loads", "loads h:30000", "loads:http://h:30000"),
    ],
)
def test_a_value_names_a_source(text, name, url):
    source = source_of(text)
    assert (source.name, source.url) == (name, url)
    source.close()


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "is no source of telemetry: write http://HOST:PORT/metrics"),
        ("gpu-box:9400", "'gpu-box:9400' is no source of telemetry"),
        ("gpus", "'gpus' is no source"),
        ("machine:x", "is no source"),
        (f"ftp://me:{SECRET}@host", "is no source"),
        (f"me:{SECRET}@host", "is no source"),
        ("http://", "is not a valid URL: write, for example, http://gpu-box:8000/metrics"),
        ("http:host", "http://gpu-box:8000/metrics"),
        ("http://host:port", "http://gpu-box:8000/metrics"),
        ("http://host:99999", "http://gpu-box:8000/metrics"),
        ("http://ho st/", "http://gpu-box:8000/metrics"),
        (f"http://me:{SECRET}@:80/", "http://gpu-box:8000/metrics"),
        ("prometheus:", "prometheus:http://prometheus:9090?query="),
        ("prometheus:http://p:9090", "needs an address and a query, such as"),
        ("prometheus:http://p:9090?query=", "needs an address and a query, such as"),
        ("prometheus:p:9090?query=up", "prometheus:http://prometheus:9090?query="),
        (f"prometheus:ftp://me:{SECRET}@p?query=up", "prometheus:http://prometheus:9090?query="),
        ("pid:", "pid: needs a whole number from 1 to 2147483647, such as pid:1234"),
        ("pid:-1", "such as pid:1234"),
        ("pid:٣", "such as pid:1234"),
        ("port:0", "port: needs a whole number from 1 to 65535, such as port:8000"),
        ("port:65536", "such as port:8000"),
        ("port:http", "such as port:8000"),
        ("process:", "process: needs a name, such as process:vllm"),
        ("process:a\x1bb", "such as process:vllm"),
        ("docker: ", "docker: needs a name, such as docker:vllm"),
        ("ollama:", "write, for example, ollama:http://gpu-box:8000"),
        ("slots:h:8080", "slots:http://gpu-box:8000"),
    ],
)
def test_a_bad_value_is_one_line_with_an_example(text, words):
    with pytest.raises(ValueError) as problem:
        source_of(text)
    line = str(problem.value)
    assert words in line
    assert line.isprintable()
    assert SECRET not in line


def test_a_proxy_that_cannot_be_used_is_one_line(monkeypatch):
    monkeypatch.setenv("http_proxy", f"socks5://me:{SECRET}@proxy:1080")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ValueError, match=r"only proxies with http:// can be used, not 'proxy:1080': set NO_PROXY"):
        source_of("http://gpu-box")
