"""kvcalc import: what it writes, and that it overwrites nothing unasked."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from kvcalc.cli.import_ import import_
from kvcalc.convert import load_model
from kvcalc.errors import FileError, KvcalcError, MissingExtraError, NotFoundError, UsageError
from kvcalc.spec.loader import load_spec_file

# huggyllama/llama-7b: 6,738,415,616 parameters, 524,288 bytes a token in bf16.
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "vocab_size": 32000, "tie_word_embeddings": False, "max_position_embeddings": 2048,
    "torch_dtype": "float16",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "Llama 7B"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    return path


def test_writes_a_spec_that_check_holds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "llama-7b.yaml"
    import_(str(folder), output)
    spec = load_spec_file(output)
    assert spec.name == "llama-7b"
    assert spec.expect is not None
    assert spec.expect.parameters == 6738415616
    assert spec.expect.cache_bytes_per_token == 524288
    assert spec.weight_dtypes == {"default": "fp16"}
    assert spec.source == (str(folder / "config.json"),)
    text = output.read_text("utf-8")
    assert "#   num_key_value_heads = 32: not in the file; as many as query heads" in text
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"wrote {output}" in captured.err


def test_prints_without_an_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_(str(folder), name="mine")
    assert "\nname: mine\n" in capsys.readouterr().out


def test_overwrites_only_with_force(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "spec.yaml"
    output.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        import_(str(folder), output)
    assert output.read_text() == "mine"
    import_(str(folder), output, force=True)
    assert load_spec_file(output).name == "spec"


def test_a_hostile_key_cannot_leave_its_comment(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG | {"x\nfoo: 1": "a\nb"}))
    output = tmp_path / "spec.yaml"
    import_(str(config), output)
    spec = load_spec_file(output)
    assert spec.vocab_size == 32000
    assert "\nfoo:" not in output.read_text("utf-8")


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KvcalcError):
        import_(str(tmp_path))
    with pytest.raises(NotFoundError):
        import_(str(tmp_path / "config.json"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotFoundError, match=r"blob/main/config\.json"):
        import_("org/name")


def test_without_the_extra_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"kvcalc\[hub\]"):
        load_model("org/name")


def test_without_a_network_the_message_says_which_file_to_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nothing listens
    for name in ("HF_HUB_OFFLINE", "http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", SimpleNamespace())
    page = r"save https://huggingface\.co/org/name/blob/main/config\.json"
    with pytest.raises(FileError, match=page):
        load_model("org/name")
    assert capfd.readouterr().err == ""


def test_the_local_hub_cache_is_read_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--org--Name-7B"
    snapshot = repository / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = load_model("org/Name-7B")
    assert found is not None
    assert found.spec.name == "name-7b"
    assert found.spec.hub_id == ("org/Name-7B",)
    assert found.spec.source == ("https://huggingface.co/org/Name-7B/blob/0123abcd/config.json",)
