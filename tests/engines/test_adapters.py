"""Slots that engines set aside for LoRA adapters, as their own classes made them.

vLLM 0.33.0: LoRAModelManager itself, run on the classes of a small model on the meta device (four slots of
rank 16, hidden size 256, inner 512, 8 heads of 32 with 4 KV heads, 1,000 tokens, two layers).
SGLang 0.5.23: LoRAMemoryPool itself, on the meta device.
"""

from typing import Any

import pytest

import kvcalc
from kvcalc.convert.adapters import adapters_of
from kvcalc.convert.hf import spec_from_config
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.spec.model import ModelSpec

SMALL: dict[str, Any] = {
    "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8, "num_key_value_heads": 4,
    "head_dim": 32, "vocab_size": 1000, "num_hidden_layers": 2, "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}  # fmt: skip


def small(model_type: str) -> ModelSpec:
    values = SMALL | {"model_type": model_type}
    if model_type in ("phi3", "starcoder2"):
        values.pop("head_dim")
    return spec_from_config(values, model_type, "small").spec


def reserved(spec: ModelSpec, engine: str, ranks: int, *named: str, rank: int = 16) -> int:
    found = adapters_of(spec, rank, 4, named, engine)
    assert found is not None
    return found.rank_bytes(spec, ranks)


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [
        ("llama", (1_370_112, 1_075_200, 862_208)),
        ("qwen3", (1_370_112, 1_075_200, 862_208)),
        ("qwen2", (1_048_576, 753_664, 540_672)),
        ("mistral", (1_048_576, 753_664, 540_672)),
        ("gemma3_text", (1_048_576, 753_664, 540_672)),
        ("phi3", (1_173_504, 878_592, 665_600)),
        ("olmo2", (1_209_344, 914_432, 701_440)),
        ("starcoder2", (1_012_736, 783_360, 619_520)),
    ],
)
def test_vllms_manager_at_tp_1_2_and_8(model_type: str, sizes: tuple[int, int, int]) -> None:
    spec = small(model_type)
    assert tuple(reserved(spec, "vllm", ranks) for ranks in (1, 2, 8)) == sizes


_EIGHT = {"num_experts": 8, "num_experts_per_tok": 2}
MIXTURES: dict[str, dict[str, Any]] = {
    "qwen3_moe": _EIGHT | {"moe_intermediate_size": 128},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2},
    "gpt_oss": {"num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 64},
    "olmoe": _EIGHT,
}


def mixture(model_type: str) -> ModelSpec:
    values = SMALL | MIXTURES[model_type] | {"model_type": model_type}
    if model_type == "olmoe":
        values.pop("head_dim")
    return spec_from_config(values, model_type, "small").spec


@pytest.mark.parametrize(
    ("model_type", "sizes", "sharded"),
    [
        ("qwen3_moe", (3_207_168, 2_715_648), (1_798_144, 1_093_632)),
        ("mixtral", (5_566_464, 3_895_296), (2_977_792, 1_683_456)),
        ("gpt_oss", (4_720_640, 3_049_472), (2_394_112, 1_230_848)),
        ("olmoe", (5_244_928, 3_573_760), (2_656_256, 1_361_920)),
    ],
)
def test_vllms_experts_have_a_pair_each(
    model_type: str, sizes: tuple[int, int], sharded: tuple[int, int]
) -> None:
    """LoRAModelManager at TP 1 and 2; with --fully-sharded-loras at TP 2 and 4. Of Qwen3-MoE's 2,359,296 at
    TP 1: two layers of w13 A [4, 8, 16, 256] and B [4, 8, 128, 16], both twice, w2 A [4, 8, 16, 128] and B
    [4, 8, 256, 16]."""
    spec = mixture(model_type)
    assert tuple(reserved(spec, "vllm", ranks) for ranks in (1, 2)) == sizes
    found = adapters_of(spec, 16, 4, (), "vllm", sharded=True)
    assert found is not None
    assert tuple(found.rank_bytes(spec, ranks) for ranks in (2, 4)) == sharded
    if model_type == "qwen3_moe":
        assert reserved(spec, "vllm", 1, "experts") == 2_359_296


def test_what_ranks_cannot_share_is_refused() -> None:
    spec = mixture("mixtral")
    found = adapters_of(spec, 1, 4, (), "vllm", sharded=True)
    assert found is not None
    with pytest.raises(UnsupportedError, match="a rank of 1 cannot be divided among 2 ranks"):
        found.rank_bytes(spec, 2)
    for engine in ("sglang", None):
        found = adapters_of(small("llama"), 16, 4, (), engine, sharded=True)
        assert found is not None
        with pytest.raises(UsageError, match="is vLLM's"):
            found.rank_bytes(small("llama"), 2)
    with pytest.raises(UnsupportedError, match="adapters of whole experts"):
        kvcalc.capacity(
            "mixtral-8x7b", gpu="h100", tensor=4, expert=True, lora_rank=16, max_loras=2
        )
    with pytest.raises(
        UnsupportedError, match="adapters of experts that the ranks of all replicas"
    ):
        kvcalc.fit("mixtral-8x7b", gpu="h100", tensor=2, data=2, lora_rank=16, max_loras=2)
    assert kvcalc.fit(
        "mixtral-8x7b", gpu="h100", tensor=2, data=2, lora_rank=16, max_loras=2,
        lora_modules=("q_proj", "v_proj"),
    ).fits  # fmt: skip


def test_layers_that_vllms_classes_leave_out() -> None:
    values = SMALL | MIXTURES["qwen3_moe"] | {"model_type": "qwen3_moe", "mlp_only_layers": [0]}
    with pytest.raises(UnsupportedError, match="mlp_only_layers alone"):
        reserved(spec_from_config(values, "small", "small").spec, "vllm", 1)


def test_vllm_wraps_a_packed_layer_whole() -> None:
    """qkv_proj of two layers: 4 slots * 16 * (3 * 256 + 256 + 128 + 128) * 2 bytes, o_proj 131,072."""
    spec = small("llama")
    assert reserved(spec, "vllm", 1, "q_proj") == 327_680
    assert reserved(spec, "vllm", 1, "v_proj", "o_proj") == 327_680 + 131_072


def test_vllm_rounds_the_rank_up_to_one_that_it_has() -> None:
    spec = small("qwen2")
    assert reserved(spec, "vllm", 1, rank=9) == 1_048_576
    with pytest.raises(UsageError, match="512"):
        reserved(spec, "vllm", 1, rank=513)


def test_sglangs_pool() -> None:
    """qkv A [4, 48, 256] B [4, 512, 16], o A [4, 16, 256] B [4, 256, 16], gate_up A [4, 32, 256]
    B [4, 1024, 16], down A [4, 16, 512] B [4, 256, 16]; of two layers, in bf16; all: the tables, twice."""
    spec = small("llama")
    assert reserved(spec, "sglang", 1, "q_proj") == 327_680
    assert reserved(spec, "sglang", 1, *["q_proj", "o_proj", "gate_proj", "down_proj"]) == 1_048_576
    assert reserved(spec, "sglang", 1) == 1_048_576 + 2 * 321_536
    assert [reserved(spec, "sglang", ranks) for ranks in (2, 4, 8)] == [
        1_271_808, 1_058_816, 960_512,
    ]  # fmt: skip
    assert [reserved(spec, "sglang", ranks, "q_proj") for ranks in (2, 4, 8)] == [
        262_144, 229_376, 221_184,
    ]  # fmt: skip
    # phi3 packs q, k and v itself; the pool has three matrices A all the same.
    assert reserved(small("phi3"), "sglang", 1, "qkv_proj") == 327_680


def test_sglangs_experts() -> None:
    """LoRAMemoryPool: gate_up_proj_moe A [4, 8, 32, 256] B [4, 8, 256, 16], down_proj_moe A [4, 8, 16, 128]
    B [4, 8, 256, 16] of two layers; with attention; with the tables, too. At TP 1, 2 and 4."""
    spec = mixture("qwen3_moe")
    experts, attention = ("experts",), ("experts", "q_proj", "o_proj")
    for named, sizes in (
        (experts, [2_359_296, 1_966_080, 1_769_472]),
        (attention, [2_818_048, 2_326_528, 2_080_768]),
        ((), [3_461_120, 2_844_672, 2_533_376]),
    ):
        assert [reserved(spec, "sglang", ranks, *named) for ranks in (1, 2, 4)] == sizes
    assert [reserved(mixture("mixtral"), "sglang", ranks) for ranks in (1, 2, 4)] == [
        5_820_416, 4_024_320, 3_123_200,
    ]  # fmt: skip
    with pytest.raises(UnsupportedError, match="no pool for routers"):
        reserved(spec, "sglang", 1, "gate")


@pytest.mark.parametrize(
    ("engine", "config", "said"),
    [
        ("vllm", {"model_type": "gpt2"}, "gpt2"),
        (
            "sglang",
            MIXTURES["qwen3_moe"] | {"model_type": "qwen3_moe", "mlp_only_layers": [0]},
            "moe",
        ),
        ("mlx", {"model_type": "llama"}, "mlx"),
    ],
)
def test_what_is_not_accounted_for_is_refused(
    engine: str, config: dict[str, Any], said: str
) -> None:
    values = SMALL | config
    if config["model_type"] == "gpt2":
        values = {"model_type": "gpt2", "n_embd": 64, "n_layer": 1, "n_head": 4, "vocab_size": 100}
    spec = spec_from_config(values, "small", "small").spec
    with pytest.raises(KvcalcError, match=said) as found:
        reserved(spec, engine, 1)
    assert isinstance(found.value, UnsupportedError)
