"""``compare --plot``: three formats, the same bytes every time, every line told apart."""

from pathlib import Path

import pytest

from kvcalc.cli.app import main
from kvcalc.deployment.curves import Picture, picture
from kvcalc.errors import MissingExtraError, UsageError
from kvcalc.memory.grid import Variant
from kvcalc.report.drawings import plot
from kvcalc.spec.catalog import load

pytestmark = pytest.mark.slow


def some() -> Picture:
    variants = [Variant(load(name)) for name in ("llama-3-8b", "gemma-3-27b", "mamba-2.8b")]
    return picture(variants, contexts=[1024, 131072], batch=1, kv_dtypes=["bf16"])


def test_the_ending_names_the_format() -> None:
    pytest.importorskip("matplotlib")
    assert plot.check_format("a.SVG") == "svg"
    assert plot.check_format("b.pdf") == "pdf"


@pytest.mark.parametrize("name", ["plot", "plot.jpg", "plot.svg.txt", "svg"])
def test_another_ending_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"end the name in \.svg, \.png, \.pdf"):
        plot.check_format(name)


def test_without_matplotlib_the_install_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'kvcalc\[plot\]'"):
        plot.check_format("plot.svg")


@pytest.mark.parametrize(
    ("file_format", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")]
)
def test_the_same_question_gives_the_same_bytes(file_format: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    first = plot.render(some(), file_format)
    assert first.startswith(start)
    assert first == plot.render(some(), file_format)
    assert b"<dc:date>" not in first
    assert b"CreationDate" not in first


def test_lines_differ_in_more_than_colour() -> None:
    # Any two of the first 35 lines differ in dash or in colour, of the first 8 in marker alone.
    styles = {(i % len(plot.COLOURS), i % len(plot.DASHES)) for i in range(35)}
    assert len(styles) == 35
    assert len(set(plot.MARKERS)) == 8
    assert set(plot.PART_STYLES) == {*plot.PARTS, plot.CACHE}


def test_the_command_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "plot.svg"
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "compare",
                "llama-3-8b",
                "--attention",
                "mha,mla",
                "--context",
                "8k",
                "--plot",
                str(file),
            ]
        )
    assert stop.value.code == 0
    assert file.read_bytes().startswith(b"<?xml")
    captured = capsys.readouterr()
    assert f"wrote {file}" in captured.err
    assert "mla" in captured.out


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(SystemExit) as stop:
        main(["compare", "llama-3-8b", "--plot", str(tmp_path / "no" / "plot.svg")])
    assert stop.value.code == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_file_of_the_users_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "plot.svg"
    file.write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(["compare", "llama-3-8b", "--plot", str(file)])
    assert stop.value.code == 2
    assert f"{file} exists; --force overwrites it" in capsys.readouterr().err
    assert file.read_text() == "mine"
    with pytest.raises(SystemExit) as stop:
        main(["compare", "llama-3-8b", "--plot", str(file), "--force"])
    assert stop.value.code == 0
    assert file.read_bytes().startswith(b"<?xml")
