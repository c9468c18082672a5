"""What commands write: whole or not at all, never onto what they read, never a line of somebody else's."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kvcalc.cli import output
from kvcalc.errors import FileError
from tests.scratch import run, small

# What transformers' LlamaConfig needs; everything else has its default.
CONFIG = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "vocab_size": 1000,
}  # fmt: skip
COMMAND = "::error file=README.md::text"


def test_a_full_disk_costs_nobody_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    page = tmp_path / "page.html"
    page.write_bytes(b"good")
    page.chmod(0o640)
    monkeypatch.setattr(output.os, "fsync", full)
    with pytest.raises(FileError, match="No space left on device"):
        output.write_file(page, b"new", force=True)
    assert page.read_bytes() == b"good"
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
    monkeypatch.undo()
    link = tmp_path / "link.html"
    link.symlink_to(page)
    output.write_file(link, b"new", force=True)
    assert (page.read_bytes(), page.stat().st_mode & 0o777, link.is_symlink()) == (
        b"new",
        0o640,
        True,
    )
    output.write_file(Path(os.devnull), b"new", force=True)
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("source", ["", "config.json", "link.json"])
def test_no_command_writes_onto_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG), "utf-8")
    (tmp_path / "link.json").symlink_to(config)
    status, _, err = run(capsys, "import", tmp_path / source, "-o", config, "--force")
    assert (status, err) == (2, f"kvcalc: {config} is what is read: name another file to write\n")
    assert json.loads(config.read_text("utf-8")) == CONFIG
    spec = tmp_path / "small.yaml"
    assert run(capsys, "import", tmp_path / source, "-o", spec)[0] == 0
    status, _, err = run(capsys, "report", spec, "-o", spec, "--force")
    assert (status, err) == (2, f"kvcalc: {spec} is what is read: name another file to write\n")


def test_names_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "small.yaml"
    spec.write_text(small(f'"small\\n{COMMAND}"'), "utf-8")
    status, out, _ = run(capsys, "check", spec, "--format", "github")
    assert status == 1
    assert "name: expected one line, found a line break in" in out
    assert [line for line in out.splitlines() if line.startswith("::")] == out.splitlines()[:1]


def test_a_folders_name_is_no_workflow_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / f"a\n{COMMAND.replace('/', '')}"
    folder.mkdir()
    (folder / "kvcalc.yaml").write_text("budgets: []\n", "utf-8")
    (folder / "small.yaml").write_text(small("small"), "utf-8")
    _, out, _ = run(capsys, "check", folder, "--format", "github")
    assert not [line for line in out.splitlines() if line.startswith("::error file=README.md")]
    for command in (("check", folder, "--format", "text"), ("estimate", folder / "none.yaml")):
        _, out, err = run(capsys, *command)
        assert not [line for line in (out + err).splitlines() if line.startswith("::")]
    _, out, _ = run(capsys, "check", folder, "--format", "github")
    # The warning about the spec, and the line that ends the answer.
    assert [line[:10] for line in out.splitlines()] == ["::warning ", "checked 1 "]


@pytest.mark.parametrize("stdin", ["-", "0"])
def test_lengths_from_a_closed_stdin(stdin: str) -> None:
    done = subprocess.run(
        ("sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "kvcalc", "estimate",
         "llama-3-8b", "--lengths", stdin),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "internal error" not in done.stderr


def test_an_interrupt_while_modules_are_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        "import os\nos.kill(os.getpid(), 2)\nimport time\ntime.sleep(9)\n"
    )
    done = subprocess.run(
        (sys.executable, "-m", "kvcalc", "estimate", "llama-3-8b"),
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "kvcalc: interrupted\n")


def test_a_folder_is_no_file_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for force in ((), ("--force",)):
        status, _, err = run(capsys, "report", "llama-3-8b", "-o", str(tmp_path), *force)
        assert (status, f"{tmp_path} is a folder: name a file to write" in err) == (2, True)


def test_no_name_is_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    """``kvcalc estimate "$MODEL"`` of a variable that is not set is not the current folder."""
    for command in ("estimate", "compare", "explain", "import"):
        status, _, err = run(capsys, command, "")
        assert (status, "empty" in err) == (2, True), command


STEERING = "\x1b[2J\r\x9b1m\nkvcalc: all is well"


def test_no_message_steers_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, lengths, name = tmp_path / "config.json", tmp_path / "lengths.csv", tmp_path / "n.yaml"
    config.write_text(json.dumps(CONFIG | {"model_type": STEERING}), "utf-8")
    lengths.write_text("prompt\n\x1b[2J5\n", "utf-8")
    name.write_text(small("small").replace("gqa", json.dumps(STEERING)), "utf-8")
    for command in (
        ("estimate", config),
        ("import", config),
        ("check", config),
        ("estimate", name),
        ("traffic", "llama-3-8b", "--lengths", lengths),
        ("estimate", STEERING),
        ("estimate", "llama-3-8b", "--dtype", STEERING),
        ("fit", "llama-3-8b", "--gpu", STEERING),
        ("explain", STEERING),
        ("models", STEERING),
        (STEERING,),
        ("estimate", "llama-3-8b", f"--{STEERING}"),
    ):
        status, out, err = run(capsys, *command)
        assert status, command
        said = out + err
        assert not {"\x1b", "\r", "\x9b"} & set(said), command
        assert "kvcalc: all is well" not in said.splitlines(), command
