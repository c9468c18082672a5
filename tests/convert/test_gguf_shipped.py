"""Whatever ships imports from a GGUF header of its tensors: kvcalc's own lists, which the library
loads (tests/gguf/sweep.py), read back."""

from dataclasses import replace
from pathlib import Path

import pytest

from kvcalc.convert.gguf import read_gguf
from kvcalc.convert.gguf_model import load_gguf
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.pool import capacity
from kvcalc.errors import UnsupportedError
from kvcalc.file_types import recipe
from kvcalc.gguf.model import gguf_model, gguf_model_with_mtp
from kvcalc.gguf.quantise import tensor_types
from kvcalc.gguf.tensors import GgufModel
from kvcalc.memory.weights import ledger, summarise
from kvcalc.spec.catalog import load
from tests.gguf.headers import keys_of, with_tensors, write

# Gemma 4 and Qwen3-VL, whose converter writes n_deepstack_layers (conversion/qwen3vl.py), are read key by
# key; the others are told by their tensors.
MODELS = (
    "qwen3-vl-2b",
    "qwen3-vl-235b-a22b",
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


# Bytes of each type in a Q4_K_M file, as llama.cpp's rule gives them out. phi-3 and glm-4 fuse gate and
# up, the 9B is told by its tensors, as MPT (fused queries, keys and values) and BERT are, whose pooler is
# in no file; Llama 4's towers are in another.
TYPES = {
    "phi-3-medium-4k": {"q4_K": 6_285_496_320, "q6_K": 2_285_068_800, "f32": 1_658_880},
    "glm-4-32b-0414": {"q4_K": 15_378_481_152, "q6_K": 4_286_177_280, "f32": 6_021_120},
    "glm-4-9b": {"q4_K": 3_663_986_688, "q8_0": 1_192_099_840, "q5_0": 771_358_720,
                 "q6_K": 526_417_920, "f32": 2_064_384},
    "mpt-7b": {"q4_K": 2_566_914_048, "q6_K": 1_710_858_240, "f32": 1_064_960},
    "all-minilm-l6-v2": {"q8_0": 12_766_320, "q5_0": 4_663_296, "q4_K": 1_327_104, "q6_K": 967_680,
                         "f32": 912_384, "bytes": 0},
    "llama-4-maverick": {"q4_K": 187_650_478_080, "q6_K": 55_038_681_600, "f32": 64_901_120},
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_every_tensor_keeps_its_type(tmp_path: Path, name: str) -> None:
    asked, model = recipe("q4_k_m"), gguf_model(load(name))
    assert asked is not None
    kinds = tensor_types(model, asked)
    pairs = zip(model.tensors, kinds, strict=True)
    quantised = with_tensors(model, (replace(tensor, source=kind) for tensor, kind in pairs))
    path = write(tmp_path / "model.gguf", quantised, keys_of(load(name), model))
    found = ledger(load_gguf(path).spec, "checkpoint")
    assert {each.type: each.bytes for each in found.types} == TYPES[name]
    assert found.bytes == sum(tensor.num_bytes for tensor in read_gguf(path).tensors)


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
    fewer = with_tensors(model, model.tensors[:-1])
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
    return with_tensors(model, tensors)
