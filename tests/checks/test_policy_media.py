"""Budgets may state images, sound and video: their places join the context."""

from pathlib import Path

import pytest

from kvcalc.cli.app import main
from kvcalc.spec.catalog import shipped


def checked(
    capsys: pytest.CaptureFixture[str], folder: Path, model: str, budget: str
) -> tuple[int, str]:
    (folder / "kvcalc.yaml").write_text(f"budgets:\n  - {{models: '*', {budget}}}\n")
    (folder / f"{model}.yaml").write_text(shipped()[model].read_text("utf-8"))
    with pytest.raises(SystemExit) as stopped:
        main(["check", str(folder)])
    return int(stopped.value.code or 0), capsys.readouterr().out


def test_images_join_the_context(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    # Gemma 3 4B: 5 full layers of 8,192 + 4 * 260 tokens, 29 windows of 1,024; 4 heads * 2 * 256 * 2 bytes.
    needed = (5 * (8192 + 4 * 260) + 29 * 1024) * 4096
    for limit, status in ((needed, 0), (needed - 1, 1)):
        budget = f"context: 8k, images: 4x1920x1080, cache: {limit}"
        assert checked(capsys, tmp_path, "gemma-3-4b", budget)[0] == status


def test_a_model_that_sees_nothing_cannot_be_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out = checked(capsys, tmp_path, "llama-3.2-1b", "context: 8k, images: '3', cache: 1GiB")
    assert status == 1
    assert "KV402" in out
    assert "no tower for images" in out


def test_a_word_that_says_nothing_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out = checked(capsys, tmp_path, "gemma-3-4b", "context: 8k, images: many, cache: 1GiB")
    assert status == 1
    assert "NUMBERxWIDTHxHEIGHT" in out
