"""Whatever ships imports from a GGUF header of its tensors: kvcalc's own lists, which the library
loads (tests/gguf/sweep.py), read back."""

from dataclasses import replace
from pathlib import Path

import pytest

from kvcalc.convert.gguf_model import load_gguf
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.pool import capacity
from kvcalc.errors import UnsupportedError
from kvcalc.gguf.model import gguf_model, gguf_model_with_mtp
from kvcalc.gguf.tensors import GgufModel
from kvcalc.memory.weights import summarise
from kvcalc.spec.catalog import load
from tests.gguf.headers import keys_of, write

# Gemma 4 is read key by key; the others are told by their tensors.
MODELS = (
    "gemma-4-12b",
    "gemma-4-26b",
    "gemma-4-31b",
    "gemma-4-e2b",
    "exaone-4.0-1.2b",
    "rwkv-7-2.9b",
    "deepseek-v4-flash",
    "kimi-k3",
    "minimax-text-01",
    "modernbert-base",
    "t5-small",
    "apertus-8b",
)


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_imports(tmp_path: Path, name: str) -> None:
    spec = load(name)
    path = write(tmp_path / "model.gguf", gguf_model(spec), keys_of(spec, gguf_model(spec)))
    found = load_gguf(path)
    # The towers are in a file of their own.
    assert summarise(found.spec).total == summarise(spec).language_model
    assert found.weights is not None


def test_layers_that_predict_further_tokens_stand_beside(tmp_path: Path) -> None:
    spec = load("glm-5")
    model = gguf_model_with_mtp(spec)
    found = load_gguf(write(tmp_path / "mtp.gguf", model, keys_of(spec, model)))
    assert found.weights is not None
    assert [what for what, _ in found.weights.beside] == ["multi-token-prediction layers"]
    assert "every tensor is glm-5" in found.assumptions[0]


def test_other_tensors_of_such_an_architecture_are_refused(tmp_path: Path) -> None:
    spec = load("apertus-8b")
    model = gguf_model(spec)
    fewer = replace(model, tensors=model.tensors[:-1])
    path = write(tmp_path / "fewer.gguf", fewer, keys_of(spec, model))
    with pytest.raises(UnsupportedError, match="these tensors are none of theirs"):
        load_gguf(path)


def test_an_old_file_of_latent_attention_keeps_full_keys_and_values(tmp_path: Path) -> None:
    """llama.cpp's log of Ollama's deepseek-coder-v2: KV self size = 4320.00 MiB, K 2592.00, V 1728.00,
    at --ctx-size 16384 and --parallel 8; a new conversion keeps 486.00 MiB."""
    spec = load("deepseek-v2-lite")
    model, keys = gguf_model(spec), keys_of(spec, gguf_model(spec))
    for name in ("key_length", "value_length"):
        keys[f"deepseek2.attention.{name}"] = keys.pop(f"deepseek2.attention.{name}_mla")
    old = load_gguf(write(tmp_path / "old.gguf", _whole(model), keys))
    request = LlamaCppFlags.of("llama.cpp", {"ctx_size": 16384, "parallel": 8})
    (cache,) = capacity(old.spec, request).caches
    assert (cache.k_bytes, cache.v_bytes) == (2592 << 20, 1728 << 20)
    (cache,) = capacity(spec, request).caches
    assert cache.bytes == 486 << 20
    assert any("a new one keeps the latent" in note for note in old.assumptions)


def _whole(model: GgufModel) -> GgufModel:
    """The tensors of a conversion of before April 2025."""
    tensors = [
        replace(item, name=item.name.replace("attn_k_b", "attn_kv_b"), shape=(16 * 256, 512))
        if "attn_k_b" in item.name else item
        for item in model.tensors if "attn_v_b" not in item.name
    ]  # fmt: skip
    return replace(model, tensors=tuple(tensors))
