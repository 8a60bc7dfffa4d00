"""Files in other encodings are read as the same text, or give an error with a remedy."""

import bz2
import gzip
import lzma
import random
import zipfile
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load import text_files
from llmlocust.load.encodings import encoding_of
from llmlocust.load.text_files import plain_suffix, read_utf8, text_of, utf8_file

CHINESE = "什么是潮汐池？请用两句话介绍一下。\n北京的秋天为什么好看？\n"
RUSSIAN = "Что такое приливный бассейн?\nОпишите его в двух строках.\n"
FRENCH = "Décrivez une mare résiduelle.\nOù est-elle créée ?\n"
JAPANESE = "潮だまりとは何ですか。\n二行で説明してください。\n"
KOREAN = "조수 웅덩이는 무엇입니까?\n두 줄로 설명해 주세요.\n"
TRADITIONAL = "什麼是潮池？請用兩句話介紹一下。\n為什麼海水會漲退？\n"
ENGLISH = "What is a tide pool?\nWhy is the sky blue?\n"
TEXTS = [CHINESE, RUSSIAN, FRENCH, JAPANESE, KOREAN, TRADITIONAL, ENGLISH]


@pytest.fixture
def write_file(tmp_path):
    def write(data: bytes, name: str = "prompts.txt") -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_of_unicode_is_read_with_and_without_a_byte_order_mark(write_file, text, encoding, end):
    text = text.replace("\n", end)
    assert text_of(write_file(text.encode(encoding))) == text


@pytest.mark.parametrize("mark, encoding", [(b"\xfe\xff", "utf-16-be"), (b"\x84\x31\x95\x33", "gb18030")])
def test_byte_order_marks_are_no_part_of_the_text(write_file, mark, encoding):
    assert text_of(write_file(mark + CHINESE.encode(encoding))) == CHINESE


@pytest.mark.parametrize(
    "text", [CHINESE, "你好\n", "prompt,max_tokens\n请介绍一下 GPU 的工作原理,20\n", CHINESE * 5000]
)
@pytest.mark.parametrize("encoding", ["gbk", "gb18030"])
def test_chinese_in_gbk_is_read(write_file, text, encoding):
    assert text_of(write_file(text.encode(encoding))) == text


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gbk"])
def test_a_compressed_file_is_read_with_any_name(write_file, pack, encoding):
    assert text_of(write_file(pack(CHINESE.encode(encoding)))) == CHINESE


def test_a_file_of_utf8_is_opened_without_a_copy(write_file):
    path = write_file(b"\xef\xbb\xbf" + CHINESE.encode())
    with utf8_file(path) as file:
        assert (file.name, file.tell()) == (path, 3)


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
def test_bytes_after_the_beginning_decide_too(write_file, encoding):
    text = ENGLISH * 40_000 + CHINESE
    assert text_of(write_file(text.encode(encoding))) == text


@pytest.mark.parametrize(
    "data, says",
    [
        (
            FRENCH.encode("cp1252"),
            ":1: the text is not UTF-8, but probably Windows-1252. Save the file as UTF-8: `iconv",
        ),
        ("créée\n".encode("cp1252"), "probably Windows-1252"),
        ("It’s “naïve”\n".encode("cp1252"), "probably Windows-1252"),
        (RUSSIAN.encode("cp1251"), "probably Windows-1251"),
        (RUSSIAN.encode("koi8-r"), "iconv -f koi8-r -t utf-8 "),
        (JAPANESE.encode("cp932"), "iconv -f shift_jis -t utf-8 "),
        (JAPANESE.encode("euc-jp"), "probably EUC-JP"),
        (KOREAN.encode("cp949"), "probably EUC-KR"),
        (TRADITIONAL.encode("big5"), "probably Big5"),
        (TRADITIONAL.encode("gbk"), "probably GBK"),
        (
            ENGLISH.encode() * 40_000 + FRENCH.encode("cp1252"),
            ":80001: the text is not UTF-8, but probably Windows-1252",
        ),
        ("zażółć gęślą jaźń\n".encode("cp1250"), "its encoding is not known: save the file as UTF-8"),
        (CHINESE.encode() + b"caf\xe9\n", ":3: the line has bytes that are not UTF-8, though the rest of the file is"),
        (CHINESE.encode() * 4000 + b"\xff\n", ":8001: the line has bytes that are not UTF-8, though the rest"),
        (ENGLISH.encode() + CHINESE.encode()[:-2], ":4: the line has bytes that are not UTF-8"),
        (ENGLISH.encode("utf-16") + b"x", "UTF-16-LE, but this line has another encoding (truncated data)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "the file is not text: it contains NUL bytes"),
        (random.Random(1).randbytes(5000), "the file is not text: it contains NUL bytes"),
        (b"PAR1" + random.Random(1).randbytes(5000), "the file is not text but a Parquet file"),
        (gzip.compress(CHINESE.encode(), mtime=0)[:-9], "the compressed file is damaged or cut off"),
        (gzip.compress(FRENCH.encode("cp1252"), mtime=0), "probably Windows-1252"),
    ],
)
def test_an_uncertain_encoding_gives_a_one_line_error_with_a_remedy(write_file, data, says):
    path = write_file(data)
    with pytest.raises(ValueError) as error:
        text_of(path)
    assert says in str(error.value)
    assert path in str(error.value)
    assert "\n" not in str(error.value)


def test_a_workbook_is_no_text(write_file):
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("xl/sheet1.xml", str([random.Random(1).random() for _ in range(100)]))
    with pytest.raises(
        ValueError, match="not text but a ZIP archive or an Excel workbook: unpack it, or save the table as"
    ):
        utf8_file(write_file(packed.getvalue(), "prompts.csv"))


def test_the_command_in_the_error_writes_another_file_and_quotes_names(write_file):
    with pytest.raises(ValueError, match=r"iconv -f windows-1252 -t utf-8 '.*my file.txt' > 'my file-utf8.txt'`"):
        text_of(write_file(FRENCH.encode("cp1252"), "my file.txt"))


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), min_size=1), st.booleans())
def test_the_encoding_of_any_text_with_a_byte_order_mark_is_known(text, is_little):
    data = ("\ufeff" + text).encode("utf-16-le" if is_little else "utf-16-be")
    assert encoding_of(data) == ("utf-16-le" if is_little else "utf-16-be")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_text_in_utf8_is_utf8(text):
    assert encoding_of(text.encode()).startswith("utf-8")


@given(st.binary(max_size=300))
def test_any_bytes_give_a_text_or_a_one_line_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(data)
    try:
        assert text_of(path) == read_utf8(path, lambda file: file.read().decode())
    except ValueError:
        with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
            text_of(path)


def test_a_file_is_closed_if_reading_fails(write_file):
    opened = []

    def fail(file):
        opened.append(file)
        raise ValueError

    for data in (CHINESE.encode(), CHINESE.encode("utf-16")):
        with pytest.raises(ValueError):
            read_utf8(write_file(data), fail)
    assert all(file.closed for file in opened)


def test_a_character_may_be_across_two_pieces_of_a_conversion(write_file, monkeypatch):
    monkeypatch.setattr(text_files, "_PIECE", 7)
    for encoding in ("utf-16", "gbk"):
        assert text_of(write_file(CHINESE.encode(encoding))) == CHINESE
    monkeypatch.setattr(text_files, "_SAMPLE", 40)
    assert text_of(write_file(ENGLISH.encode() + CHINESE.encode("gbk"))) == ENGLISH + CHINESE


@pytest.mark.parametrize(
    "name, suffix",
    [("a.csv", ".csv"), ("a.CSV", ".csv"), ("a.jsonl.gz", ".jsonl"), ("a.b.json.XZ", ".json"), ("a", "")],
)
def test_the_suffix_of_a_compressed_file_is_that_of_its_content(name, suffix):
    assert plain_suffix(name) == suffix
