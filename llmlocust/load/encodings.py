"""Detect the encoding of a text from a sample of its bytes. Pure."""

from __future__ import annotations

import codecs
import re
import unicodedata

BOMS = {
    "utf-8-sig": codecs.BOM_UTF8,
    "utf-32-le": codecs.BOM_UTF32_LE,  # before UTF-16's, which it begins with
    "utf-32-be": codecs.BOM_UTF32_BE,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "gb18030": b"\x84\x31\x95\x33",
}
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
"""Encodings in which ASCII has NUL bytes."""


def encoding_of(sample: bytes) -> str:
    """Return Python's name of the encoding of a file's beginning; "" if it is not certain."""
    marked = next((name for name, mark in BOMS.items() if sample.startswith(mark)), "")
    if marked:
        return marked
    text = decoded(sample, "utf-8")
    if b"\0" in sample and (text is None or _odd_share(text) > 0.2):
        return _wide_encoding(sample)
    if text is not None:
        return "utf-8"
    return "gb18030" if _is_certainly_gbk(sample) else ""


def probable_encoding(sample: bytes) -> tuple[str, str, str]:
    """Return the probable encoding of a text: its common, iconv's and Python's name; all "" for none."""
    for name, iconv, codec, (needed, usual) in _PROBABLE:
        text = decoded(sample, codec) or ""
        non_ascii = [character for character in text if not character.isascii()]
        if needed.search(text) and sum(_is_usual(character, usual, codec) for character in non_ascii) >= 0.9 * len(
            non_ascii
        ):
            return name, iconv, codec
    return "", "", ""


def is_mostly_utf8(sample: bytes) -> bool:
    """Return whether more than 80 % of the non-ASCII bytes are UTF-8 characters."""
    high = len(sample) - len(sample.translate(None, _HIGH))
    return sum(map(len, _MULTIBYTE.findall(sample))) > 0.8 * high


def decoded(sample: bytes, encoding: str) -> str | None:
    """Decode a sample, whose last character may be incomplete; None if it is not in this encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return None


# ── UTF-16 and UTF-32 ──


def _wide_encoding(sample: bytes) -> str:
    """Return the UTF-16 or UTF-32 encoding in which the sample is text. Ties: the one with more ASCII characters."""
    texts = {name: text for name in _WIDE if (text := decoded(sample, name))}
    odd = {name: _odd_share(text) for name, text in texts.items()}
    likely = [name for name in texts if odd[name] <= 0.01]
    return min(likely, key=lambda name: (odd[name], -sum(map(str.isascii, texts[name]))), default="")


def _odd_share(text: str) -> float:
    return sum(map(_is_odd, text)) / len(text)


def _is_odd(character: str) -> bool:
    """Return whether a character is rare in texts: a control, private or unassigned one."""
    return unicodedata.category(character) in ("Cc", "Co", "Cn", "Cs") and character not in "\t\n\r\f"


# ── GBK ──


def _is_certainly_gbk(sample: bytes) -> bool:
    """Return whether 90 % of the non-ASCII characters are frequent Chinese ones: those of GB 2312 whose two bytes are both
    0xA1 or above, up to 0xD7. Korean in EUC-KR looks similar, but its first bytes end at 0xC8.
    """
    text = decoded(sample, "gb18030")
    codes = [character.encode("gb18030") for character in text or "" if not character.isascii()]
    frequent = [code for code in codes if len(code) == 2 and min(code) >= 0xA1 and _is_frequent(code)]
    first = [code[0] for code in frequent if code[0] >= 0xB0]
    is_korean = len(first) >= 8 and sum(byte > 0xC8 for byte in first) < 0.1 * len(first)
    return bool(first) and len(frequent) >= 0.9 * len(codes) and not is_korean


def _is_frequent(code: bytes) -> bool:
    return code[0] <= 0xA3 or 0xB0 <= code[0] <= 0xD7


# ── other encodings, which are only guessed ──

_HAN, _MARKS = "一-鿿", "\u2010-\u203f\u3000-\u303f\uff00-\uffef"
"""Chinese characters, and punctuation that any text may have."""
_KANA = re.compile("[ぁ-ヿ].*[ぁ-ヿ]", re.DOTALL), re.compile(f"[ぁ-ヿ{_HAN}{_MARKS}]")
_HANGUL = re.compile("[가-힣]{2}"), re.compile(f"[가-힣{_MARKS}]")
_CHINESE = re.compile(f"[{_HAN}]{{2}}"), re.compile(f"[{_HAN}{_MARKS}]")
_CYRILLIC = re.compile("[А-Яа-яё][а-яё]{2}"), re.compile(f"[а-яёА-Я«»№{_MARKS}]")
_LATIN = re.compile("[À-ÿ€µ°±²³\u2010-\u203f]"), re.compile(f"[À-ÿŒœŠšŽžŸ€™¡¿«»µ°±²³§·\u00a0{_MARKS}]")
_PROBABLE = (
    ("Shift JIS", "shift_jis", "cp932", _KANA),
    ("EUC-JP", "euc-jp", "euc_jp", _KANA),
    ("EUC-KR", "euc-kr", "cp949", _HANGUL),
    ("Big5", "big5", "big5", _CHINESE),
    ("GBK", "gbk", "gb18030", _CHINESE),
    ("Windows-1251", "windows-1251", "cp1251", _CYRILLIC),
    ("KOI8-R", "koi8-r", "koi8_r", _CYRILLIC),
    ("Windows-1252", "windows-1252", "cp1252", _LATIN),
)
"""Encodings: common name, iconv's name, Python's name, and patterns of required and of usual characters."""


def _is_usual(character: str, usual: re.Pattern[str], codec: str) -> bool:
    """Return whether a character is usual in a text. In Big5, frequent Chinese characters have low first bytes."""
    return bool(usual.match(character)) and (codec != "big5" or character.encode(codec)[0] <= 0xC6)


_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = bytes(range(0x80, 0x100))
