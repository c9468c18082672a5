"""``kvcalc check`` and ``kvcalc schema``: what is printed, where, and with which exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvcalc.cli.app import main
from kvcalc.spec import catalog
from kvcalc.spec.problems import RULES
from kvcalc.spec.schema import schema

TEXT = catalog.find("llama-3-8b").read_text("utf-8")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A spec with an unknown key and no expected values."""
    path = tmp_path / "llama-3-8b.yaml"
    text = TEXT.partition("expect:")[0].replace("model_type", "model_typ")
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def unexpecting(tmp_path: Path) -> Path:
    """A sound spec without expected values."""
    path = tmp_path / "llama-3-8b.yaml"
    path.write_text(TEXT.partition("expect:")[0], encoding="utf-8")
    return path


def test_good_specs(capsys: pytest.CaptureFixture[str]) -> None:
    path = catalog.find("llama-3-8b")
    assert run(capsys, "check", path) == (0, "checked 1 spec: no problems\n", "")


def test_findings_go_to_stdout_with_status_1(
    capsys: pytest.CaptureFixture[str], bad: Path
) -> None:  # fmt: skip
    status, out, err = run(capsys, "check", bad, catalog.find("gemma-3-1b"))
    assert (status, err) == (1, "")
    assert out == (
        f"{bad}:5:1: KV102 model_typ: unknown key 'model_typ' (did you mean 'model_type'?)\n"
        "checked 2 specs: 1 problem\n"
    )


def test_as_json(capsys: pytest.CaptureFixture[str], bad: Path) -> None:
    status, out, err = run(capsys, "check", bad, "--format", "json")
    assert (status, err) == (1, "")
    assert json.loads(out) == {
        "schema_version": 2,
        "files": [{"path": str(bad), "name": None, "num_errors": 1, "num_warnings": 0}],
        "problems": [
            {
                "path": str(bad),
                "line": 5,
                "column": 1,
                "field": "model_typ",
                "message": "unknown key 'model_typ' (did you mean 'model_type'?)",
                "code": "KV102",
                "severity": "error",
            }
        ],
        "num_errors": 1,
        "num_warnings": 0,
    }


def test_a_warning_fails_only_when_strict(
    capsys: pytest.CaptureFixture[str], unexpecting: Path
) -> None:
    status, out, _ = run(capsys, "check", unexpecting)
    assert status == 0
    assert out == (
        f"{unexpecting}:2:1: KV302 expect: state what is known to be true; this spec gives "
        "expect: {parameters: 8030261248, cache_bytes_per_token: 131072}, which proves nothing until "
        "it is checked against a source (warning)\nchecked 1 spec: no problems, 1 warning\n"
    )
    assert run(capsys, "check", "--strict", unexpecting)[0] == 1


@pytest.mark.parametrize("format", ["text", "json"])
def test_what_cannot_be_checked_has_status_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, format: str
) -> None:
    for path, kind in ((tmp_path, "not_found"), (tmp_path / "none.yaml", "not_found")):
        status, out, err = run(capsys, "check", path, "--format", format)
        assert status == 2
        if format == "json":
            assert json.loads(out)["error"]["kind"] == kind
            assert err == ""
        else:
            assert out == ""
            assert err.startswith("kvcalc: no s")


def test_without_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "check")
    assert (status, out) == (2, "")
    assert "name the specs to check" in err


def test_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "check", "--rules")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == list(RULES)
    assert "KV302  warning  no expected values are stated" in out
    status, out, _ = run(capsys, "check", "--rules", "--format", "json")
    assert [rule["code"] for rule in json.loads(out)["rules"]] == list(RULES)


def test_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "schema")
    assert (status, err) == (0, "")
    assert json.loads(out) == schema()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_path_that_the_terminal_cannot_spell(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "modèle.yaml"
    path.write_text("name: é\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "kvcalc", "check", str(path)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"checked 1 spec" in done.stdout


@pytest.mark.parametrize("command", [["check", ""], ["diff", "--base", "HEAD", ""]])
def test_an_empty_path_is_not_the_current_folder(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2
    assert "a path is empty" in capsys.readouterr().err


def test_rules_in_a_format_that_has_none_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "check", "--rules", "--format", "csv")[1].startswith(
        "code,severity,summary\n"
    )
    status, out, err = run(capsys, "check", "--rules", "--format", "sarif")
    assert (status, out) == (2, "")
    assert "a table of rules is no sarif" in err
