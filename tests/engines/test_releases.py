"""The page of releases, and the command that says what one changed."""

from pathlib import Path

import pytest

from kvcalc.engines import ENGINES, engine_of
from tests.engines import releases

PAGE = Path(releases.__file__).parents[2] / "kvcalc" / "engines" / "RELEASES.md"


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "logical"])
def test_the_page_names_the_newest_known_release(name: str) -> None:
    row = f"| {name} | {engine_of(name).version} |"
    assert f"\n{row}" in PAGE.read_text("utf-8"), f"a row {row} in {PAGE.name}"


def test_every_engine_that_was_run_says_what_its_releases_change() -> None:
    for name in releases.sources():
        again = f"python -m tests.engines.releases {name} FOLDER --write, of its unpacked wheel"
        assert name in releases.table(), again


def test_the_facts_are_of_the_newest_known_releases() -> None:
    for name, row in releases.table().items():
        assert row["release"] == engine_of(name).version
        assert row["facts"]["functions"]
    assert {"FullAttentionSpec", "HiSparseHotSpec", "CircularBufferSpec"} <= set(
        releases.table()["vllm"]["facts"]["classes"]
    )
    assert "octave_k3v3_compact" in releases.table()["vllm"]["facts"]["words"]


def _wheel(folder: Path, spec: str, words: str, models: str, body: str, version: str) -> Path:
    """What a wheel of vLLM might look like."""
    for file, text in {
        "v1/kv_cache_interface.py": spec,
        "config/cache.py": f"CacheDType = Literal[{words}]\n",
        "model_executor/models/registry.py": f"_TEXT_GENERATION_MODELS = {{{models}}}\n",
        "platforms/interface.py": f"class Platform:\n    def align(self):\n        {body}\n",
    }.items():
        path = folder / "vllm" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    meta = folder / f"vllm-{version}.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text(f"Name: vllm\nVersion: {version}\n")
    return folder


def test_it_says_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = _wheel(tmp_path / "old", "class A(B):\n    x: int = 1\nclass C:\n    pass\n", '"auto", "fp8"',
                 '"Llama": ("llama", "L")', '"""Said."""\n        return 16', "0.1")  # fmt: skip
    new = _wheel(tmp_path / "new", "class A(B):\n    x: int = 2\n    y: int\n", '"auto", "int4"',
                 '"Llama": ("llama", "L"), "Kimi": ("kimi", "K")',
                 '"""Other words."""\n        return 16', "0.2")  # fmt: skip
    found = list(releases.changes(releases.facts_of("vllm", old), releases.facts_of("vllm", new)))
    assert found == [
        "~ classes: A: +(B) x = 2, +y, -(B) x = 1",
        "- classes: C",
        "+ models: Kimi",
        "- words: fp8",
        "+ words: int4",
    ]
    code = _wheel(tmp_path / "code", "", '"auto"', "", "return 32", "0.3")
    changed = releases.changes(releases.facts_of("vllm", new), releases.facts_of("vllm", code))
    assert "~ functions: platforms/interface.py: Platform.align" in list(changed)
    assert releases.main(["vllm", str(new)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("vllm 0.33.0 -> 0.2: ")
    assert "- classes: FullAttentionSpec" in printed


def test_what_it_cannot_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="holds no sglang/srt"):
        releases.main(["sglang", str(tmp_path)])
    assert releases.main(["nothing", str(tmp_path)]) == 2
    assert "usage" in capsys.readouterr().out
