"""A scratch git repository with specs, and the command line run inside it."""

import os
import subprocess
from pathlib import Path

import pytest

from kvcalc.cli.app import main
from kvcalc.spec import catalog

# A small spec whose numbers a person can check: 2 layers, 4 heads of 16, K and V in bf16.
# Parameters: 2 * (4 * 64 * 64 + 3 * 64 * 128 + 2 * 64) + 64 + 1000 * 64 = 146240 (tied table).
# Cache a token: 2 layers * 2 (K and V) * 4 heads * 16 * 2 bytes = 512.
SMALL = """\
name: {name}
source: made up
hidden_size: 64
vocab_size: 1000
tie_word_embeddings: true
blocks:
  decoder:
    attention: {{kind: gqa, num_attention_heads: 4, num_key_value_heads: {kv}, head_dim: 16}}
    ffn: {{kind: gated, intermediate_size: 128}}
layers:
  - {{repeat: {repeat}, blocks: [decoder]}}
"""


def small(name: str, kv: int = 4, repeat: int = 2, more: str = "") -> str:
    """The text of a small spec."""
    return SMALL.format(name=name, kv=kv, repeat=repeat) + more


class Scratch:
    """A repository in a folder; every command is git's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def git(self, *arguments: str) -> str:
        """Run git, apart from the settings of whoever runs the tests."""
        settings = {
            "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
        }  # fmt: skip
        done = subprocess.run(
            ("git", *arguments), cwd=self.folder, env={**os.environ, **settings},
            capture_output=True, check=True,
        )  # fmt: skip
        return done.stdout.decode().strip()

    def init(self) -> "Scratch":
        self.git("init", "-q", "-b", "main", ".")
        return self

    def clone(self, folder: Path, *options: str) -> "Scratch":
        """A clone over the file protocol, so that --depth counts."""
        self.git("clone", "-q", *options, self.folder.as_uri(), str(folder))
        return Scratch(folder)

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def ship(self, *names: str) -> None:
        """Copy shipped specs into serving/."""
        for name in names:
            self.write(f"serving/{name}.yaml", catalog.find(name).read_text("utf-8"))

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text("utf-8")
        assert old in text, (path, old)
        file.write_text(text.replace(old, new), encoding="utf-8")

    def commit(self, message: str = "change") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of one command in the current folder."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err
