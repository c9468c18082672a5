"""What a draft has on each rank, as vLLM 0.33.0's own classes made it on the meta device.

A target and drafts of hidden size 256, inner 512, 8 heads of 32 with 4 KV heads, 1,024 tokens. Counted
without embed_tokens and draft_id_to_target_id, which are the target's or a table of the loader's:

    Eagle3LlamaForCausalLM    2,099,200    1,247,232      641,024 bytes at TP 1, 2, 8
    EagleLlamaForCausalLM     1,442,304      852,480      426,496
    DFlashQwen3ForCausalLM    3,280,640    1,838,848      790,272

DFlash's sums hold a head of 1,024 rows, 524,288 bytes over the ranks, which is the target's after
loading (share_lm_head), and mask_embedding, 512 bytes on every rank that no checkpoint has.
"""

from typing import Any

import pytest

import kvcalc
from kvcalc.convert.hf import spec_from_config

WIDTHS: dict[str, Any] = {
    "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8, "num_key_value_heads": 4,
    "head_dim": 32, "vocab_size": 1024, "max_position_embeddings": 512, "tie_word_embeddings": False,
    "attention_bias": False, "hidden_act": "silu", "rms_norm_eps": 1e-5,
}  # fmt: skip
LLAMA = WIDTHS | {"model_type": "llama", "num_hidden_layers": 1}
DFLASH = WIDTHS | {
    "model_type": "qwen3", "num_hidden_layers": 2, "num_target_layers": 4,
    "layer_types": ["full_attention"] * 2, "architectures": ["DFlashDraftModel"],
    "dflash_config": {"mask_token_id": 3, "target_layer_ids": [1, 2, 3]},
}  # fmt: skip
EAGLE3 = LLAMA | {"architectures": ["LlamaForCausalLMEagle3"], "draft_vocab_size": 512}
MEDUSA = {
    "model_type": "medusa", "num_heads": 3, "num_hidden_layers": 1, "hidden_size": 256,
    "vocab_size": 1024,
}  # fmt: skip


def made(values: dict[str, Any]) -> kvcalc.ModelSpec:
    return spec_from_config(values, "small", "small").spec


TARGET = made(LLAMA | {"num_hidden_layers": 4, "architectures": ["LlamaForCausalLM"]})


@pytest.mark.parametrize(
    ("draft", "sizes", "shared", "apart"),
    [
        (EAGLE3, (2_099_200, 1_247_232, 641_024), 0, 0),
        (LLAMA | {"architectures": ["EagleLlamaForCausalLM"]},
         (1_442_304, 852_480, 426_496), 0, 524_288),
        (DFLASH, (3_280_640, 1_838_848, 790_272), 524_288, 0),
    ],
)  # fmt: skip
def test_a_rank_has_what_vllms_class_has(
    draft: dict[str, Any], sizes: tuple[int, int, int], shared: int, apart: int
) -> None:
    """shared: the head that vLLM drops; apart: EAGLE's stored table, which is not in its sums."""
    mask = 512 if shared else 0
    for ranks, size in zip((1, 2, 8), sizes, strict=True):
        [part] = kvcalc.estimate(TARGET, draft=made(draft), tensor=ranks).beside
        assert part.rank_bytes - apart // ranks == size - shared // ranks - mask


def test_a_draft_of_a_longer_model_is_refused() -> None:
    ids = {"target_layer_ids": list(range(6))}
    draft = made(DFLASH | {"dflash_config": ids, "num_target_layers": 6})
    with pytest.raises(kvcalc.UnsupportedError, match="hidden states of 6 layers, and small has 4"):
        kvcalc.estimate(TARGET, draft=draft)


@pytest.mark.parametrize(
    ("engine", "version", "draft", "word"),
    [
        ("vllm", "0.33.0", MEDUSA, "kind medusa; it has eagle, eagle3, dflash, dflash2, dspark"),
        ("vllm", "0.32.0", MEDUSA, None),
        ("vllm", "0.18.0", DFLASH, "vLLM 0.18.0 has no class for a draft of kind dflash"),
        ("vllm", "0.20.0", DFLASH, None),
        ("sglang", None, MEDUSA, "SGLang 0.5.23 has no class"),
        ("sglang", "0.5.9", DFLASH, "kind dflash"),
        ("sglang", "0.5.11", DFLASH, None),
    ],
)
def test_a_release_without_the_class_is_named(
    engine: str, version: str | None, draft: dict[str, Any], word: str | None
) -> None:
    def run() -> None:
        kvcalc.capacity(
            TARGET, engine, available="1GiB", draft=made(draft), engine_version=version,
            max_model_len=512,
        )  # fmt: skip

    if word is None:
        return run()
    with pytest.raises(kvcalc.UnsupportedError, match=word):
        run()
    return None


ASSISTANT: dict[str, Any] = {
    "model_type": "gemma4_assistant", "architectures": ["Gemma4AssistantForCausalLM"],
    "backbone_hidden_size": 640, "use_ordered_embeddings": True, "num_centroids": 64,
    "tie_word_embeddings": True,
    "text_config": {
        "model_type": "gemma4_text", "hidden_size": 256, "intermediate_size": 512,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64,
        "global_head_dim": 128, "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        "sliding_window": 128, "vocab_size": 1024, "vocab_size_per_layer_input": 0,
        "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 4, "tie_word_embeddings": True,
    },
}  # fmt: skip


def test_gemma_4s_assistant_is_vllms_class_and_keeps_nothing() -> None:
    """Gemma4MTP of vLLM 0.33.0 on the meta device, at TP 1, 2 and 4; the pool is the model's alone."""
    target = made(LLAMA | {"num_hidden_layers": 4, "hidden_size": 640, "head_dim": 80})
    for ranks, size in ((1, 6_005_888), (2, 3_024_000), (4, 1_533_056)):
        [part] = kvcalc.estimate(target, draft=made(ASSISTANT), tensor=ranks).beside
        assert part.rank_bytes == size
        assert not part.groups
        assert part.notes == (
            "small drafts: its weights in bf16, no cache of its own: it reads the model's",
        )
    words: dict[str, Any] = {"available": "1GiB", "max_model_len": 512}
    alone, beside = (
        kvcalc.capacity(target, "vllm", **words, **more)
        for more in ({}, {"draft": made(ASSISTANT)})
    )
    assert (alone.groups, alone.pool) == (beside.groups, beside.pool)
    for engine, version, said in (
        ("vllm", "0.20.0", "no class for a draft of kind gemma4_assistant"),
        ("sglang", None, "FROZEN_KV_MTP"),
    ):
        with pytest.raises(kvcalc.UnsupportedError, match=said):
            kvcalc.capacity(
                target, engine, draft=made(ASSISTANT), engine_version=version, **words
            )  # fmt: skip


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_more_mtp_layers_than_the_model_has(engine: str) -> None:
    with pytest.raises(kvcalc.UsageError, match="deepseek-v3 has 1; engines run it again"):
        kvcalc.capacity("deepseek-v3", engine, available="1GiB", mtp_layers=2)
