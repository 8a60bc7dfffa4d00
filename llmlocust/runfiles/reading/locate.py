"""Find the files of a run by a prefix, a folder or one of the files, and read the run.

llmlocust's own files are read where they exist, else Locust's CSV files of any test. Notes say what is missing or damaged.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmlocust.runfiles import formats
from llmlocust.runfiles.reading import locust_files
from llmlocust.runfiles.reading.errors import RunError
from llmlocust.runfiles.reading.locust_files import HISTORY, STATS
from llmlocust.runfiles.reading.locust_run import load_locust
from llmlocust.runfiles.reading.own_files import load_ours
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.text.message import message

Files = dict[str, Path]
"""Files by their kind, which is the end of their name: llmlocust's own, or that of --csv."""


def load_run(prefix: str | Path) -> RunData:
    """Read the run that a prefix, a folder with one run in it, or one of the run's files names. Raises RunError."""
    path = Path(prefix)
    try:
        path, locust = _locate(path)
        return _load(path, locust)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, LookupError, ArithmeticError, csv.Error) as problem:
        # damage that no reader checks for; UnicodeError and pandas' errors are ValueErrors
        reason = " ".join(str(problem).split())[:160]
        raise RunError(f"{path}: its files are damaged ({reason}); llmlocust cannot read them as a run") from problem


def _load(path: Path, locust: Files) -> RunData:
    ours = _existing(path, {name: (name,) for name in formats.files()})
    if formats.LEVELS in ours or formats.REQUESTS in ours:
        run = load_ours(path, ours)
        if run.levels:
            return run
        if HISTORY not in locust:
            raise RunError(f"{path}: no level of this run has a request yet; let it run until a level is measured")
        fallback = load_locust(path, locust)
        fallback.notes[:0] = [
            *run.notes,
            message("llmlocust's own files contain no level, so Locust's files were read."),
        ]
        return fallback
    if HISTORY in locust or STATS in locust:
        return load_locust(path, locust)
    if locust:
        kind, file = next(iter(locust.items()))
        raise RunError(f"{file}: {locust_files.why_not_alone(kind)}")
    raise RunError(_nothing_found(path))


_RENAMED = r"\.\d+$"
"""The end of the prefix of an earlier run whose files a later run renamed. A folder refers to its newest run."""


def _existing(prefix: Path, names: Mapping[str, Sequence[str]]) -> Files:
    """Return the files of a prefix by kind; of several names of one kind the first that exists."""
    paths = {kind: [prefix.with_name(f"{prefix.name}_{end}") for end in ends] for kind, ends in names.items()}
    files = {kind: next((path for path in candidates if path.is_file()), None) for kind, candidates in paths.items()}
    return {kind: path for kind, path in files.items() if path is not None}


def _locate(path: Path) -> tuple[Path, Files]:
    """Return the prefix that a path names, and Locust's files of that prefix."""
    if path.is_dir():
        every = _prefixes_in(path)
        prefixes = [name for name in every if re.sub(_RENAMED, "", name) not in {*every} - {name}]
        if not prefixes:
            return _locate_by_content(path)
        if len(prefixes) > 1:
            raise RunError(f"{path}: {len(prefixes)} runs in this folder, name one: {_some(path, prefixes)}")
        path = path / prefixes[0]
    elif path.is_file():
        end = _end_of(path)
        if not end:
            return path.with_suffix(""), {_locust_kind(path): path}
        path = path.with_name(path.name.removesuffix(f"_{end}"))
    return path, _existing(path, locust_files.NAMES)


def _locust_kind(path: Path) -> str:
    """Return the kind of a file of Locust whose name does not show it."""
    if kind := _kind_of(path):
        return kind
    raise RunError(
        f"{path}: not a file of llmlocust or Locust; give the prefix that was given to --csv, or a table of levels with "
        f"--table"
    )


def _locate_by_content(folder: Path) -> tuple[Path, Files]:
    """Return the files of the only Locust test in a folder, whatever their names."""
    kinds = {
        path: _kind_of(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in (".csv", ".html", ".gz")
    }
    by_kind = {kind: [path for path, other in kinds.items() if other == kind] for kind in kinds.values() if kind}
    runs = by_kind.get(STATS) or by_kind.get(HISTORY) or []
    if len(runs) > 1:
        names = [path.name for path in runs]
        raise RunError(f"{folder}: {len(runs)} runs in this folder, name one: {_some(folder, names)}")
    if not by_kind:
        raise RunError(f"{folder}: no run in this folder; a run leaves PREFIX_{formats.LEVELS} or PREFIX_{HISTORY}")
    files = {kind: paths[0] for kind, paths in by_kind.items() if len(paths) == 1 or not runs}
    return (runs or next(iter(by_kind.values())))[0].with_suffix(""), files


def names_a_run(path: Path) -> bool:
    """Return whether a file belongs to a run: by its name or, for Locust's files, by its content."""
    return bool(_end_of(path) or _kind_of(path))


def _end_of(path: Path) -> str:
    """Return the name of a run's file without its prefix; empty for other files."""
    ends = sorted((*formats.files(), *formats.LOCUST_FILES), key=len, reverse=True)
    end = next((end for end in ends if path.name.endswith(f"_{end}")), "")
    if end:
        return end
    others = [end for names in locust_files.NAMES.values() for end in names if path.name.endswith(f"_{end}")]
    return max(others, key=len) if others and _kind_of(path) else ""


def _kind_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return locust_files.kind_of_file(file.read(_HEAD))
    except OSError:
        return ""


_HEAD = 2**16
"""Bytes at the beginning of a file that show its kind."""


def _prefixes_in(folder: Path) -> list[str]:
    names = (formats.LEVELS, formats.REQUESTS, HISTORY, STATS)
    prefixes = {path.name.removesuffix(f"_{name}") for name in names for path in folder.glob(f"*_{name}")}
    others = [end for kind in (STATS, HISTORY) for end in locust_files.NAMES[kind][1:]]
    downloads = [(path, end) for end in others for path in folder.glob(f"*_{end}")]
    ours = tuple(f"_{name}" for name in formats.files())
    prefixes |= {
        path.name.removesuffix(f"_{end}") for path, end in downloads if not path.name.endswith(ours) and _kind_of(path)
    }
    return sorted(prefixes)


def _some(folder: Path, names: Sequence[str]) -> str:
    listed = ", ".join(str(folder / name) for name in names[:5])
    return listed + (", …" if len(names) > 5 else "")


def _nothing_found(prefix: Path) -> str:
    if not prefix.parent.is_dir():
        return f"{prefix}: no such folder as {prefix.parent}; give the prefix that was given to --csv"
    others = _prefixes_in(prefix.parent)
    hint = f"; there are: {_some(prefix.parent, others)}" if others else ""
    return (
        f"{prefix}: no run has this prefix (neither {prefix.name}_{formats.LEVELS} nor {prefix.name}_{HISTORY}){hint}"
    )
