"""A folder that a command writes: what is somebody else's stays, and what it wrote itself is renewed."""

from pathlib import Path

import pytest

from kvcalc.cli.folder import LIST, write_folder
from kvcalc.errors import UsageError

FILES = (("index.html", b"one"), ("models/a.html", b"two"))


def content(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_it_writes_and_renews_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "site"
    assert write_folder(folder, FILES, False) == (3, 6)
    first = content(folder)
    assert set(first) == {"index.html", "models/a.html", LIST}
    write_folder(folder, FILES, False)
    assert content(folder) == first
    # What is no more goes, and nothing is left beside.
    write_folder(folder, FILES[:1], False)
    assert set(content(folder)) == {"index.html", LIST}
    assert [path.name for path in folder.parent.iterdir()] == ["site"]


@pytest.mark.parametrize("what", ["foreign", "changed", "no list", "a link"])
def test_what_somebody_put_there_is_spared(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "site"
    write_folder(folder, FILES, False)
    if what == "foreign":
        (folder / "notes.txt").write_bytes(b"mine")
    elif what == "changed":
        (folder / "index.html").write_bytes(b"mine")
    elif what == "no list":
        (folder / LIST).unlink()
    else:
        (folder / "models" / "b.html").symlink_to(tmp_path / "elsewhere")
    before = content(folder)
    with pytest.raises(UsageError, match=r"did not write .*--force"):
        write_folder(folder, FILES, False)
    assert content(folder) == before


def test_forced_it_leaves_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "notes.txt").write_bytes(b"mine")
    write_folder(folder, FILES, True)
    assert content(folder)["notes.txt"] == b"mine"
    assert content(folder)["index.html"] == b"one"


def test_a_link_does_not_lead_out(tmp_path: Path) -> None:
    folder, other = tmp_path / "site", tmp_path / "other"
    other.mkdir()
    folder.mkdir()
    (folder / "models").symlink_to(other)
    with pytest.raises(UsageError, match="leads out"):
        write_folder(folder, FILES, True)
    assert not content(other)


def test_an_answer_that_fails_costs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    write_folder(folder, FILES, False)
    before = content(folder)

    def failing():  # type: ignore[no-untyped-def]
        yield "index.html", b"other"
        raise UsageError("no answer")

    with pytest.raises(UsageError, match="no answer"):
        write_folder(folder, failing(), False)
    assert content(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize("what", ["file", "link"])
def test_it_must_be_a_folder(tmp_path: Path, what: str) -> None:
    place = tmp_path / "site"
    if what == "file":
        place.write_bytes(b"mine")
    else:
        place.symlink_to(tmp_path / "nothing")
    with pytest.raises(UsageError, match=what):
        write_folder(place, FILES, True)
