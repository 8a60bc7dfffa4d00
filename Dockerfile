# docker build -t llmlocust . && docker run --rm llmlocust          see docs/docker.md
ARG BASE=python:3.12.12-slim-bookworm

FROM ${BASE} AS build
# for the native reader; without a compiler, the event loop reads answers
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
 || echo "no C compiler: the event loop will read answers, at more CPU time"
RUN python3 -m venv /opt/llmlocust
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY llmlocust llmlocust
RUN /opt/llmlocust/bin/pip install --no-cache-dir --disable-pip-version-check '.[otel]' \
 && /opt/llmlocust/bin/pip uninstall --yes --quiet pip \
 && find /opt/llmlocust -name tests -type d -prune -exec rm -r {} +

FROM ${BASE}
COPY --from=build /opt/llmlocust /opt/llmlocust
COPY tools/docker-entrypoint.sh /usr/local/bin/llmlocust-entrypoint
RUN useradd --uid 1000 --create-home llmlocust && install -d -o llmlocust -g llmlocust /load /load/reports
# matplotlib and Locust need a home folder, which users that are given by number do not have
ENV PATH=/opt/llmlocust/bin:$PATH HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
WORKDIR /load
COPY locustfiles locustfiles
USER llmlocust
EXPOSE 8000 8089 5557
ENTRYPOINT ["llmlocust-entrypoint"]
CMD ["--help"]
