"""Text files in any encoding, opened as UTF-8.

Most files are UTF-8 and are opened unchanged. A file that is compressed, that begins with the byte order mark of another
encoding, or that is certainly UTF-16, UTF-32 or GBK is converted once, into a temporary file without a name. For other
files, the error message names the probable encoding and how to save the file as UTF-8.

    with utf8_file("prompts.txt") as file:      # opened for reading bytes, after a byte order mark
        lines = file.readlines()
    text = text_of("table.csv")                 # a small file as a whole
    rows = read_utf8("prompts.txt", parse)      # a large file: calls `parse` with the file
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import shlex
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from typing import IO, NoReturn, Protocol, TypeVar

from llmlocust.load.encodings import BOMS, decoded, encoding_of, is_mostly_utf8, probable_encoding

__all__ = ["UTF8_BOM", "encoding_of", "plain_suffix", "read_utf8", "text_of", "utf8_file"]

T = TypeVar("T")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


UTF8_BOM = codecs.BOM_UTF8
_ASCII = bytes(range(0x80))
_SAMPLE, _PIECE = 1 << 16, 1 << 20
"""Bytes from which the encoding is detected, and bytes that are converted at a time."""
_UNPACKERS: tuple[tuple[re.Pattern[bytes], Callable[[IO[bytes]], _Readable]], ...] = (
    (re.compile(rb"\x1f\x8b\x08"), lambda file: gzip.GzipFile(fileobj=file)),
    (re.compile(rb"BZh[1-9]1AY&SY"), bz2.BZ2File),
    (re.compile(rb"\xfd7zXZ\x00"), lzma.LZMAFile),
)
_PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
_NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook: unpack it, or save the table as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save the table as CSV in UTF-8",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it first (zstd -d)",
    b"PAR1": "a Parquet file: give it a name that ends in .parquet",
}


def utf8_file(path: str | Path) -> IO[bytes]:
    """Open a text file for reading its bytes as UTF-8, positioned after a byte order mark.

    The encoding is detected from the first 64 kB. Raises ValueError with a one-line message if it is not certain, and
    OSError like `open`.
    """
    file = Path(path).open("rb")  # noqa: SIM115  # the caller closes it
    try:
        return _as_utf8(file, str(path))
    except BaseException:
        file.close()
        raise


def read_utf8(path: str | Path, read: Callable[[IO[bytes]], T]) -> T:
    """Open a text file with `utf8_file` and return the result of `read`, which keeps or closes the file.

    If `read` raises UnicodeDecodeError, the file has bytes after its first 64 kB that are not UTF-8. The encoding is
    detected from these, and `read` is called again with the converted file.
    """
    try:
        return _closed_on_error(utf8_file(path), read)
    except UnicodeDecodeError:
        return _closed_on_error(_converted_later(path), read)


def text_of(path: str | Path) -> str:
    """Return the text of a small file in any encoding. Raises ValueError with a one-line message if it is not certain."""

    def read(file: IO[bytes]) -> str:
        with file:
            return file.read().decode()

    return read_utf8(path, read)


def plain_suffix(path: str | Path) -> str:
    """Return the suffix of a file's content: .csv for prompts.CSV and for prompts.csv.gz."""
    name = PurePath(path)
    return (name.with_suffix("") if name.suffix.lower() in _PACKED_SUFFIXES else name).suffix.lower()


# ── opening ──


def _closed_on_error(file: IO[bytes], read: Callable[[IO[bytes]], T]) -> T:
    try:
        return read(file)
    except BaseException:
        file.close()
        raise


def _as_utf8(file: IO[bytes], path: str) -> IO[bytes]:
    sample = file.read(_SAMPLE)
    file.seek(0)
    unpack = next((unpack for magic, unpack in _UNPACKERS if magic.match(sample)), None)
    if unpack:
        with file:
            return _as_utf8(_temporary(_unpacked(unpack(file), path)), path)
    encoding = encoding_of(sample)
    if not encoding:
        _refuse(path, sample, _odd_line(sample))
    file.seek(len(_mark(sample, encoding)))
    if encoding in ("utf-8", "utf-8-sig"):
        return file
    with file:
        return _temporary(_converted(file, path, encoding))


def _mark(sample: bytes, encoding: str) -> bytes:
    mark = BOMS.get(encoding, b"")
    return mark if sample.startswith(mark) else b""


def _temporary(pieces: Iterable[bytes]) -> IO[bytes]:
    """Return a file without a name, which is deleted when it is closed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    file.writelines(pieces)
    file.seek(0)
    return file


def _pieces(file: _Readable) -> Iterator[bytes]:
    return iter(lambda: file.read(_PIECE), b"")


def _unpacked(file: _Readable, path: str) -> Iterator[bytes]:
    try:
        yield from _pieces(file)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as problem:
        raise ValueError(f"{path}: the compressed file is damaged or cut off ({problem})") from None


def _converted(file: IO[bytes], path: str, encoding: str) -> Iterator[bytes]:
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    try:
        for piece in _pieces(file):
            text = decoder.decode(piece)
            line += text.count("\n")
            yield text.encode()
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as problem:
        line += (decoded(problem.object[: problem.start], encoding) or "").count("\n")
        raise ValueError(
            f"{path}:{line}: the file begins as {encoding.upper()}, but this line has another encoding ({problem.reason})"
        ) from None


def _converted_later(path: str | Path) -> IO[bytes]:
    """Convert a file that begins as UTF-8 and has other bytes later."""
    with utf8_file(path) as file:
        line, sample = _first_odd_line(file)
        encoding = encoding_of(sample)
        if encoding == "utf-8":
            _refuse_damage(str(path), line)
        if encoding != "gb18030":  # other encodings are detected at the beginning of a file
            _refuse(str(path), sample, line)
        file.seek(0)
        return _temporary(_converted(file, str(path), encoding))


def _first_odd_line(file: IO[bytes]) -> tuple[int, bytes]:
    """Return the number of the first line that is not UTF-8, and a sample from the first non-ASCII byte on."""
    decoder, line, sample = codecs.getincrementaldecoder("utf-8")(), 1, b""
    for piece in _pieces(file):
        sample += piece[: _SAMPLE - len(sample)] if sample else piece.lstrip(_ASCII)[:_SAMPLE]
        try:
            line += decoder.decode(piece).count("\n")
        except UnicodeDecodeError as problem:
            return line + problem.object[: problem.start].count(b"\n"), sample
    return line, sample


# ── refusing ──


def _refuse(path: str, sample: bytes, line: int) -> NoReturn:
    """Raise ValueError with advice for a file of uncertain encoding. `line` is its first line that is not UTF-8."""
    for magic, kind in _NO_TEXT.items():
        if sample.startswith(magic):
            raise ValueError(f"{path}: the file is not text but {kind}")
    if b"\0" in sample:
        raise ValueError(f"{path}: the file is not text: it contains NUL bytes")
    if is_mostly_utf8(sample):
        _refuse_damage(path, line)
    name, iconv, _ = probable_encoding(sample)
    if not name:
        raise ValueError(f"{path}:{line}: the text is not UTF-8, and its encoding is not known: save the file as UTF-8")
    raise ValueError(
        f"{path}:{line}: the text is not UTF-8, but probably {name}. Save the file as UTF-8: "
        f"`iconv -f {iconv} -t utf-8 {_new_name(path)}`"
    )


def _refuse_damage(path: str, line: int) -> NoReturn:
    raise ValueError(
        f"{path}:{line}: the line has bytes that are not UTF-8, though the rest of the file is. Correct it, or remove "
        f"these bytes: `iconv -c -f utf-8 -t utf-8 {_new_name(path)}`"
    )


def _new_name(path: str) -> str:
    old = PurePath(path)
    return f"{shlex.quote(path)} > {shlex.quote(old.stem + '-utf8' + old.suffix)}"


def _odd_line(sample: bytes) -> int:
    """Return the number of the first line that is not UTF-8."""
    try:
        sample.decode()
    except UnicodeDecodeError as problem:
        return 1 + sample[: problem.start].count(b"\n")
    return 1
