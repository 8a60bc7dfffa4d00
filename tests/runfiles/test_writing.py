import os

import pytest

from llmlocust.runfiles.writing import create, replacing


@pytest.fixture
def victim(tmp_path):
    """Create the target of a planted link and check that its content does not change."""
    path = tmp_path / "victim"
    path.write_text("precious")
    yield path
    assert path.read_text() == "precious"


def write(path, text="new"):
    with replacing(path) as file:
        file.write(text)


def fails(path):
    with replacing(path) as file:
        file.write("half")
        raise OSError("full")


def grow(path):
    with os.fdopen(create(path), "w") as file:
        file.write("new")


@pytest.mark.parametrize("writes", [write, grow])
@pytest.mark.parametrize("planted", ["run.csv", "run.csv.part"])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_no_planted_link_is_followed(victim, tmp_path, writes, planted, link):
    link(victim, tmp_path / planted)
    writes(tmp_path / "run.csv")

    assert (tmp_path / "run.csv").read_text() == "new"
    assert not (tmp_path / "run.csv").is_symlink()


def test_a_broken_link_does_not_create_its_target(tmp_path):
    (tmp_path / "run.csv.part").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "run.csv")
    assert not (tmp_path / "elsewhere").exists()


def test_a_failed_write_keeps_the_previous_file(tmp_path):
    path = tmp_path / "run.csv"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write(path, "half \ud800")
    with pytest.raises(OSError, match="full"):
        fails(path)
    assert {path_.name: path_.read_text() for path_ in tmp_path.iterdir()} == {"run.csv": "old"}
