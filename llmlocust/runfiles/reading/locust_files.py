"""Locust's own CSV files: those of --csv and the downloads of its web UI, of Locust 0.9 to 2.x. Pure.

Old versions use other column names, the web UI other file names, and spreadsheets other delimiters and encodings. The
functions here turn them into what Locust 2 writes.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zlib
from collections.abc import Collection, Iterable

from llmlocust.runfiles.formats import LOCUST_FILES
from llmlocust.runfiles.reading.table_text import decode

_GZIP = b"\x1f\x8b"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

STATS, HISTORY, FAILURES, EXCEPTIONS = LOCUST_FILES
DISTRIBUTION, REPORT = "distribution.csv", "report"
NAMES = {
    HISTORY: (HISTORY, "requests_full_history.csv"),
    STATS: (STATS, "requests.csv"),
    FAILURES: (FAILURES,),
    EXCEPTIONS: (EXCEPTIONS,),
    DISTRIBUTION: (DISTRIBUTION,),
}
"""Ends of file names by kind: those of --csv first, then those of the web UI and of old versions."""
_WHAT = {
    HISTORY: "Locust's history of a test",
    STATS: "Locust's summary of a test",
    FAILURES: "Locust's list of failures",
    EXCEPTIONS: "Locust's list of exceptions",
    DISTRIBUTION: "Locust's list of percentiles",
    REPORT: "Locust's HTML report",
}
_RENAMED = {
    "# requests": "request count",
    "# reqs": "request count",
    "# failures": "failure count",
    "# fails": "failure count",
    "requests failed/s": "failures/s",
    "method": "type",
}
"""Column names of versions before 1.0."""
_COLUMNS = (
    "Timestamp",
    "User Count",
    "Type",
    "Name",
    "Requests/s",
    "Failures/s",
    "Error",
    "Occurrences",
    "First Seen",
    "Last Seen",
)
_TOTALS = (
    "Request Count",
    "Failure Count",
    "Median Response Time",
    "Average Response Time",
    "Min Response Time",
    "Max Response Time",
    "Average Content Size",
)
"""Columns whose names begin with Total in a history."""
_WRITTEN = {name.lower(): name for name in (*_COLUMNS, *_TOTALS, *(f"Total {name}" for name in _TOTALS))}
_LOADS = {"user count", "users", "concurrency"}
"""Columns of loads. A summary that has one is a table of several tests."""


def columns_of(header: Iterable[str]) -> list[str]:
    """Return the names that Locust 2 gives to the columns of one of its files; other names stay as they are."""
    # a spreadsheet makes 99.90% or 99,9% of 99.9%
    names = [re.sub(r"(\d)[.,](\d+?)0*%", r"\1.\2%", " ".join(name.split())) for name in header]
    small = [_RENAMED.get(name.lower(), name.lower()) for name in names]
    if "timestamp" in small:
        totals = {total.lower() for total in _TOTALS}
        small = [f"total {name}" if name in totals else name for name in small]
    written = [_WRITTEN.get(name, original) for name, original in zip(small, names, strict=True)]
    # columns of the same name stay as they are
    return [name if written.count(name) == 1 else original for name, original in zip(written, names, strict=True)]


def kind_of(header: Iterable[str]) -> str:
    """Return the kind of Locust's file with this header: a key of NAMES, or an empty string for other files."""
    columns = set(columns_of(header))
    for kind, needed in (
        (HISTORY, {"Timestamp", "Name", "Total Request Count"}),
        (STATS, {"Name", "Request Count", "Average Response Time"}),
        (DISTRIBUTION, {"Name", "Request Count", "50%"}),
        (FAILURES, {"Name", "Error", "Occurrences"}),
        (EXCEPTIONS, {"Count", "Message", "Traceback"}),
    ):
        if needed <= columns and (kind == HISTORY or not _LOADS & {name.lower() for name in columns}):
            return kind
    return ""


def kind_of_file(head: bytes) -> str:
    """Return the kind of Locust's file that begins with these bytes: a key of NAMES, REPORT, or an empty string."""
    try:
        if head.startswith(_GZIP):
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head)
        text, _ = decode(head)
        return REPORT if is_report(text) else kind_of(_header(text)[0])
    except (ValueError, csv.Error, zlib.error):
        return ""


def _header(text: str) -> tuple[list[str], str]:
    """Return the cells of the first line, and the delimiter between them."""
    line = text.lstrip("\r\n").split("\n", 1)[0].rstrip("\r")
    delimiter = max(",;\t", key=line.count)
    return next(csv.reader([line], delimiter=delimiter), []), delimiter


def is_report(text: str) -> bool:
    """Return whether a text is the HTML page that Locust makes of a test."""
    return (
        text.lstrip()[:1] == "<"
        and re.search(r"<title>\s*Locust|Locust Test Report|window\.templateArgs", text) is not None
    )


def why_not_alone(kind: str) -> str:
    """Name a file of Locust that is not enough for a report, and the file to give instead."""
    return (
        f"this is {_WHAT[kind]}, which is not enough for a report; give the requests of the same test: …_stats.csv "
        f"of --csv, or …_requests.csv, which Locust's web UI offers under Download Data"
    )


def why_no_table(kind: str) -> str:
    """Name a file of Locust that was given as a table of levels, and what to do."""
    if kind in (HISTORY, STATS):
        return f"this is {_WHAT[kind]}, not a table of levels; give it without --table"
    return why_not_alone(kind)


def as_locust_writes(data: bytes) -> bytes:
    """Convert a CSV from a spreadsheet or another tool into Locust's format: UTF-8 with commas."""
    header = data[:4096].split(b"\n", 1)[0]
    is_plain = not data.startswith((_GZIP, *_UTF16)) and b"\0" not in header
    if is_plain and header.count(b",") >= max(header.count(b";"), header.count(b"\t")):
        return data
    text, _ = decode(data)
    delimiter = _header(text)[1]
    file = io.StringIO(newline="")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    csv.writer(file).writerows([_with_point(cell, delimiter) for cell in row] for row in rows)
    written = file.getvalue().encode()
    return written if text.endswith(("\n", "\r")) else written.rstrip(b"\r\n")


def _with_point(cell: str, delimiter: str) -> str:
    is_fraction = delimiter != "," and re.fullmatch(r"-?\d+,\d+", cell)
    return cell.replace(",", ".") if is_fraction else cell


def total_name(names: Collection[str]) -> str:
    """Return the name of the row of all requests: Aggregated, or Total before Locust 0.12."""
    return "Total" if "Total" in names and "Aggregated" not in names else "Aggregated"
