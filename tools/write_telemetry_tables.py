"""Writes the tables of docs/telemetry.md from the code: `python tools/write_telemetry_tables.py`. A test compares them."""

import re
from collections.abc import Iterator
from pathlib import Path

from llmlocust.metrics.telemetry import PER_SECOND, SHARE, VOCABULARY
from llmlocust.observe.engines import ENGINES, HINTS
from llmlocust.observe.rules import Engine, Labels, Rule

PAGE = Path(__file__).parent.parent / "docs" / "telemetry.md"
BEGIN, END = "<!-- tables: tools/write_telemetry_tables.py writes them -->", "<!-- end of tables -->"
UNITS = {SHARE: "share", PER_SECOND: "per second", "": "count"}


def tables() -> Iterator[str]:
    yield from vocabulary()
    yield ""
    yield "## Names by exporter"
    for engine in ENGINES:
        yield ""
        yield from names(engine)


def vocabulary() -> Iterator[str]:
    yield "| key | meaning | unit | over engines | exporters |"
    yield "|---|---|---|---|---|"
    for metric in VOCABULARY.values():
        exporters = ", ".join(engine.name for engine in ENGINES if metric.key in engine.exposes)
        yield f"| `{metric.key}` | {metric.name} | {UNITS.get(metric.unit, metric.unit)} | {metric.over} | {exporters} |"


def names(engine: Engine) -> Iterator[str]:
    yield f"### {engine.name}"
    if hint := HINTS.get(engine.name):
        yield ""
        yield hint
    yield ""
    yield "| key | computed from |"
    yield "|---|---|"
    for key in dict.fromkeys(rule.key for rule in engine.rules):
        yield f"| `{key}` | {'<br>otherwise '.join(formula(rule) for rule in engine.rules if rule.key == key)} |"


def formula(rule: Rule) -> str:
    """Return a rule as text: Δ is the increase."""
    text = terms(rule.names, rule.where, rule)
    text += "".join(f" − `{name}`" for name in rule.minus)
    if rule.product:
        text = " × ".join(f"label `{label}`" for label in rule.product) + f" of {text}"
    match rule.kind:
        case "counter" | "rate":
            text = f"Δ {text} per second"
        case "ratio":
            text = f"Δ {text} / Δ {terms(rule.per, rule.per_where, rule)}"
        case "gauge" if rule.per:
            text = f"{text} / {terms(rule.per, rule.per_where, rule)}"
        case "histogram":
            text = f"mean of {text}"
        case "changes":
            text = f"changes of {text} per second"
    text = f"1 − {text}" if rule.complement else text
    text += f" × {rule.scale:g}" if rule.scale != 1 else ""
    text += f", by {', '.join(f'`{label}`' for label in rule.by)}" if rule.by else ""
    return text + (", 0 if absent" if rule.absent_is_zero else "")


def terms(metrics: tuple[str, ...], where: Labels, rule: Rule) -> str:
    texts = [f"`{name}{selector(where)}`" for name in metrics]
    text = (" + " if rule.adds else " or ").join(texts)
    return f"({text})" if len(texts) > 1 and rule.kind != "histogram" else text


def selector(where: Labels) -> str:
    """Return labels as PromQL would write them."""
    parts = []
    for label, accepted in where.items():
        values = (accepted,) if isinstance(accepted, str) else accepted
        sign = ("!" if values[0].startswith("!") else "=") + ("~" if len(values) > 1 else "=")
        bar = "\\|"  # a bar alone would end the cell of the table
        parts.append(f'{label}{sign.replace("==", "=")}"{bar.join(value.removeprefix("!") for value in values)}"')
    return f"{{{', '.join(parts)}}}" if parts else ""


def page(text: str) -> str:
    """Return the page with its tables anew."""
    return re.sub(f"(?<={BEGIN}\n).*(?={END})", lambda _: "\n".join(("", *tables(), "", "")), text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
