"""Ollama's names and store, LM Studio's folders, and folders of GGUF files; all made up here."""

import json
import re
from pathlib import Path

import pytest

from kvcalc.convert.locate import locate
from kvcalc.errors import NotFoundError, SpecError, UsageError
from kvcalc.gguf.model import gguf_model
from kvcalc.memory.weights import summarise
from kvcalc.spec.catalog import load
from tests.gguf.headers import keys_of, write

QWEN = 596_049_920  # transformers Qwen3ForCausalLM of Qwen/Qwen3-0.6B
DIGEST = "sha256:" + "ab" * 32


def header(path: Path, model: str = "qwen3-0.6b") -> Path:
    spec = load(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(path, gguf_model(spec), keys_of(spec, gguf_model(spec)))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    return tmp_path


def ollama(store: Path, *parts: str, size: int | None = None, digest: str = DIGEST) -> Path:
    """A model in a store: its manifest and its blob."""
    blob = header(store / "blobs" / DIGEST.replace(":", "-"))
    layers = [
        {"mediaType": "application/vnd.ollama.image.model", "digest": digest,
         "size": blob.stat().st_size if size is None else size},
        {"mediaType": "application/vnd.ollama.image.license", "digest": DIGEST, "size": 1},
    ]  # fmt: skip
    manifest = store.joinpath("manifests", *parts)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return manifest


def test_an_ollama_name(home: Path) -> None:
    ollama(home / ".ollama" / "models", "registry.ollama.ai", "library", "qwen3", "0.6b")
    found = locate("qwen3:0.6b")
    assert found.spec.name == "qwen3-0.6b"
    assert summarise(found.spec).total == QWEN
    assert found.assumptions[0].startswith("qwen3-0.6b is ")


def test_a_store_elsewhere_and_another_registry(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(home / "big disk"))
    ollama(home / "big disk", "hf.co", "unsloth", "Qwen3-0.6B-GGUF", "Q4_K_M")
    ollama(home / "big disk", "registry.ollama.ai", "someone", "mine", "latest")
    for name in ("hf.co/unsloth/Qwen3-0.6B-GGUF:Q4_K_M", "someone/mine:latest"):
        assert summarise(locate(name).spec).total == QWEN


def test_a_model_that_is_not_there_says_where_it_was_looked_for(home: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no model qwen3:32b in Ollama's store \(.*\.ollama"):
        locate("qwen3:32b")


def test_a_blob_that_is_cut_short_or_missing(home: Path) -> None:
    store = home / ".ollama" / "models"
    ollama(store, "registry.ollama.ai", "library", "short", "1b", size=10**9)
    with pytest.raises(SpecError, match=r"its manifest says 1,000,000,000: cut short"):
        locate("short:1b")
    ollama(store, "registry.ollama.ai", "library", "gone", "1b", digest="sha256:" + "0" * 64)
    with pytest.raises(NotFoundError, match="which is not there"):
        locate("gone:1b")
    ollama(store, "registry.ollama.ai", "library", "odd", "1b", digest="sha256:../../etc/passwd")
    with pytest.raises(SpecError, match="a layer's digest is"):
        locate("odd:1b")


def test_lm_studio(home: Path) -> None:
    folder = home / ".lmstudio" / "models" / "lmstudio-community" / "Qwen3-0.6B-GGUF"
    header(folder / "Qwen3-0.6B-Q8_0.gguf")
    for name in ("lmstudio-community/Qwen3-0.6B-GGUF",
                 "lmstudio-community/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf"):  # fmt: skip
        assert summarise(locate(name).spec).total == QWEN


def test_a_folder_of_one_model_with_its_projector(tmp_path: Path) -> None:
    header(tmp_path / "Qwen3-0.6B-Q8_0.gguf")
    (tmp_path / "mmproj-F16.gguf").write_bytes(b"GGUF")
    assert summarise(locate(str(tmp_path)).spec).total == QWEN
    header(tmp_path / "Qwen3-0.6B-Q4_0.gguf")
    with pytest.raises(UsageError, match=r"several models: name one of Qwen3-0\.6B-Q4_0\.gguf, "):
        locate(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("qwen3:8b", "qwen3-8b"), ("llama3.1:8b-instruct-q4_K_M", "llama-3.1-8b"),
     ("gemma3:27b-it-qat", "gemma-3-27b"), ("gpt-oss:20b", "gpt-oss-20b"),
     ("nobody:7b", "'kvcalc models nobody'")],
)  # fmt: skip
def test_a_name_that_is_not_here_is_told_the_shape(
    name: str, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    with pytest.raises(
        NotFoundError, match=re.escape(f"a shipped model ({shape}) with --dtype q4_k_m")
    ):
        locate(name)
