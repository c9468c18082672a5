"""The scripts of tests/examples run as they stand, and say what they said when they were read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "examples"


def said(name: str, *arguments: str) -> str:
    command = [sys.executable] if name.endswith(".py") else ["bash"]
    # Where the examples' kvcalc and python are: this environment's.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    as_in_a_pipe = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    done = subprocess.run(
        [*command, FOLDER / name, *arguments], capture_output=True, text=True, timeout=120,
        env={**as_in_a_pipe, "PATH": path, "GIT_CONFIG_GLOBAL": os.devnull},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_listed_and_tried_here() -> None:
    scripts = {path.name for path in FOLDER.iterdir() if path.suffix in (".py", ".sh")}
    listed = (FOLDER / "README.md").read_text("utf-8")
    own = Path(__file__).read_text("utf-8")
    assert all(f"({name})" in listed and f'"{name}"' in own for name in scripts)


@pytest.mark.slow
def test_sweep(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    out = said("sweep.py", str(tmp_path / "sweep.png"))
    # 128 KiB a token (Llama 3.1's config.json): 16 GiB at 128k.
    assert "131072                      3.80         8.31         16.00     18.00" in out
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_design_study() -> None:
    out = said("design_study.sh")
    # 4.5 * head_dim a layer instead of 2 * 8 * head_dim: 36 of 128 KiB.
    assert "planned-8b  mla            32k  15.35 GiB   18.00 GiB   36.00 KiB  0.56x" in out
    assert "planned-8b  sliding_window=4096  14.96 GiB    8.00 GiB         0 B" in out
    assert [line.split()[0] for line in out.splitlines()[-3:]] == ["gqa:4", "gqa:8", "mla"]


def test_ci_policy() -> None:
    out = said("ci_policy.sh")
    assert "vLLM on h100-80gb holds 6.59 sequences of 32k tokens, not 8" in out
    assert "blocks.decoder.attention.num_key_value_heads: 8 -> 16" in out
    assert (out.count("check: exit 1"), out.count("diff: exit 1")) == (1, 1)


def test_fleet() -> None:
    rows = said("fleet.py").splitlines()
    assert rows[2] == "| model | 4 x l40s | 2 x h100-80gb | 1 x h200 | 1 x mi300x |"
    assert [row.split(" | ")[0] for row in rows[4:]] == [
        "| qwen3-32b", "| gpt-oss-120b", "| llama-3.1-70b",
    ]  # fmt: skip
    # 131.42 GiB of weights are more than 0.9 of an H200.
    assert rows[6].split(" | ")[3] == "-"
