"""Extensions of Locust's web UI: the tab LLM with the live page, downloads, /metrics for Prometheus, and checks of the
start form.

All routes are below Locust's own base path and behind its login. `access` protects them and Locust's own routes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
from flask import Blueprint, Response, abort, jsonify, request, send_file, send_from_directory
from locust.env import Environment
from locust.runners import STATE_CLEANUP, STATE_RUNNING, STATE_STOPPING
from locust.web import WebUI
from prometheus_client.exposition import choose_encoder

from llmlocust.plugin.run.recorder import Recorder
from llmlocust.plugin.views.current_run import CurrentRun
from llmlocust.plugin.webui import access
from llmlocust.plugin.webui.form import check_form, check_workers
from llmlocust.plugin.webui.inputs import Inputs
from llmlocust.plugin.webui.report import ReportFailed, Reports
from llmlocust.runfiles import formats
from llmlocust.text.urls import shown

STATIC = Path(__file__).with_name("static")
_BEING_STOPPED = [f'"{state}"'.encode() for state in (STATE_STOPPING, STATE_CLEANUP)]
_TAB = "llm"
_SCRIPT = b'<script src="./llm/static/tab.js" defer></script></body>'
_OFFERED: dict[str, list[dict[str, Any]]] = {
    "extended_tabs": [{"title": "LLM", "key": _TAB}],
    "extended_tables": [{"key": _TAB, "structure": []}],
    "extended_csv_files": [
        {"href": "./llm/report", "title": "Download LLM report"},
        *({"href": f"./llm/files/{name}", "title": f"Download {name}"} for name in formats.expected_files()),
    ],
}
"""Extensions that Locust's page supports: a tab with an empty table, and files to download."""


class Runs(Protocol):
    """The part of a session that the pages show."""

    environment: Environment
    recorder: Recorder | None
    prefixes: list[str]
    refused: str

    @property
    def keeps_files(self) -> bool: ...


def add_to(web_ui: WebUI, runs: Runs, current_run: CurrentRun) -> None:
    """Add our routes and hooks. This must precede the web UI's first answer: Flask accepts no routes later."""
    app = web_ui.app
    assert app is not None
    pages = Pages(runs, current_run)
    access.guard(app, web_ui.host, runs.environment)
    app.register_blueprint(_blueprint(web_ui, app.blueprints["locust"].url_prefix or "", pages))
    app.before_request(lambda: _offer(web_ui.template_args))
    app.before_request(_checks(web_ui, pages))
    app.after_request(_add_tab_script)
    app.after_request(_keep_page_polling)
    # the form's fields keep the order of our options, and are not sorted by name
    app.jinja_env.policies["json.dumps_kwargs"] = {"sort_keys": False}


def _blueprint(web_ui: WebUI, base: str, pages: Pages) -> Blueprint:
    """Return the blueprint of all our routes. It requires the login and sets the headers, so that every route has them."""
    blueprint = Blueprint(
        "llmlocust", __name__, url_prefix=base, static_folder=str(STATIC), static_url_path=f"/{_TAB}/static"
    )
    views: dict[str, Callable[..., Response]] = {
        "/llm/": pages.page,
        "/llm/live.json": pages.live,
        "/llm/report": pages.report,
        "/llm/files/<name>": pages.file,
        "/metrics": pages.metrics,
    }
    for rule, view in views.items():
        blueprint.add_url_rule(rule, view.__name__, view)
    blueprint.before_request(_refuse_options)
    blueprint.before_request(web_ui.auth_required_if_enabled(lambda: None))
    blueprint.after_request(_protect)
    return blueprint


def _refuse_options() -> None:
    """Refuse OPTIONS: Flask answers it without calling a view, and Flask-Login lets it pass without a login."""
    if request.method == "OPTIONS":
        abort(405)


def _protect(response: Response) -> Response:
    """Set the Content-Security-Policy of our pages and files."""
    response.headers["Content-Security-Policy"] = access.PAGE_POLICY
    return response


def _checks(web_ui: WebUI, pages: Pages) -> Callable[[], Response | None]:
    """Return a hook that validates posts to Locust's own routes, after the login and before Locust's views."""
    checks = {
        "locust.swarm": web_ui.auth_required_if_enabled(pages.refuse_invalid_form),
        "locust.update_user": web_ui.auth_required_if_enabled(pages.refuse_invalid_class),
    }

    def check() -> Response | None:
        check_route = checks.get(request.endpoint or "")
        return check_route() if check_route and request.method == "POST" else None

    return check


def _offer(template_args: dict[str, Any]) -> None:
    """Add our extensions to those of a locustfile. This is repeated for each page: a locustfile may replace the list."""
    for place, added in _OFFERED.items():
        existing = template_args.get(place, [])
        template_args[place] = [*existing, *(entry for entry in added if entry not in existing)]


def _add_tab_script(response: Response) -> Response:
    """Add the script that puts the live page into its tab: Locust's own tabs can contain only tables."""
    if request.endpoint == "locust.index" and response.status_code == 200:
        response.set_data(response.get_data().replace(b"</body>", _SCRIPT))
    return response


def _keep_page_polling(response: Response) -> Response:
    """Report a run that is stopping as running. Locust's page polls only while the run is running: after the state
    "stopping" it would never show the end of the run, nor offer to start another.
    """
    if request.endpoint == "locust.request_stats" and any(state in response.get_data() for state in _BEING_STOPPED):
        stats = response.get_json()
        if f'"{stats["state"]}"'.encode() in _BEING_STOPPED:
            response.set_data(json.dumps(stats | {"state": STATE_RUNNING}))
    return response


class Pages:
    """The views of our routes, and the checks of Locust's."""

    def __init__(self, runs: Runs, current_run: CurrentRun) -> None:
        self.runs, self.current_run = runs, current_run
        self.environment = runs.environment
        self._reports = Reports()
        self._inputs = Inputs(self.environment)

    # ── views ──

    def page(self) -> Response:
        return send_from_directory(STATIC, "live.html")

    def live(self) -> Response:
        query, runner = request.args, self.environment.runner
        assert runner is not None
        live = self.current_run.live()
        state = {
            "state": runner.state,
            "users": runner.user_count,
            "host": shown(self.environment.host or ""),
            "refused": self.runs.refused,
            "runs": [self._files(number) for number in range(1, len(self.runs.prefixes) + 1)],
            "kept": self.runs.keeps_files,
            "run": live
            and live.snapshot(query.get("name", ""), _number(query.get("changes")) or 0, _number(query.get("level"))),
        }
        headers = {"Cache-Control": "no-store"}
        return Response(msgspec.json.encode(state), mimetype="application/json", headers=headers)

    def metrics(self) -> Response:
        """Return the metrics for Prometheus, in the format that it requests."""
        text, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(text(self.current_run), content_type=content_type)

    def report(self) -> Response:
        """Return the report of the requested run; of the newest, with its figures so far."""
        prefix = self._prefix()
        if prefix is None or self.runs.recorder is None:
            return _text_response(404, "there is no such run yet")
        self.runs.recorder.bring_up_to_date()
        try:
            page = self._reports.make(prefix, "zh" if request.args.get("lang") == "zh" else "en")
        except ReportFailed as problem:
            return _text_response(500, str(problem))
        return send_file(page, as_attachment=True, download_name=f"{Path(prefix).name}_report.html", max_age=0)

    def file(self, name: str) -> Response:
        prefix = self._prefix()
        path = Path(f"{prefix}_{name}") if prefix and name in formats.files() else None
        if path is None or self.runs.recorder is None or not path.exists():
            return _text_response(404, f"there is no {name} yet")
        self.runs.recorder.bring_up_to_date()
        return send_file(path.absolute(), as_attachment=True, max_age=0)

    def _prefix(self) -> str | None:
        """Return the prefix of the files of the requested run, by default the newest; None if there is no such run."""
        prefixes = self.runs.prefixes
        number = _number(request.args.get("run", str(len(prefixes))))
        return prefixes[number - 1] if number and number <= len(prefixes) else None

    def _files(self, number: int) -> dict[str, Any]:
        """Return the existing and the missing files of a run. Optional files, such as telemetry, are never missing."""
        prefix = self.runs.prefixes[number - 1]
        existing = [name for name in formats.files() if Path(f"{prefix}_{name}").exists()]
        missing = [name for name in formats.expected_files() if name not in existing]
        return {"run": number, "files": existing, "missing": missing}

    # ── the form ──

    def refuse_invalid_form(self) -> Response | None:
        """Refuse a form with invalid values, with the reason. Locust would store the values that it can read, and answer
        500 to the others.
        """
        try:
            check_workers(self.environment)
            check_form(self.environment, request.form, self._inputs)
        except ValueError as problem:
            return jsonify({"success": False, "message": str(problem), "host": self.environment.host})
        request.form = self._inputs.fields(request.form)  # Locust would store any option, such as names of output files
        return None

    def refuse_invalid_class(self) -> Response | None:
        """Refuse settings of a user class that Locust's page does not offer: Locust would set any attribute."""
        try:
            self._inputs.check_user_class(request.get_json(force=True, silent=True))
        except ValueError as problem:
            return _text_response(400, str(problem))
        return None


def _text_response(status: int, words: str) -> Response:
    return Response(words + "\n", status, mimetype="text/plain")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
