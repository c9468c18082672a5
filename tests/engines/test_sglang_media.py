"""SGLang's share of a GPU where a model has towers, and what it sets aside for embeddings.

Shares are those that SGLang 0.5.23's own ServerArgs resolved to for each model's config on eight H100 of
81,920 MiB (tests/engines/sglang_stand_in.py), default vision configs of transformers 5.19.0 where the
model's own are those.
"""

import pytest

import kvcalc
from kvcalc.deployment.hardware import Accelerator, of_size
from kvcalc.engines.sglang.media import reserved
from kvcalc.engines.sglang.share import default_share
from kvcalc.errors import UnsupportedError
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import load


def device(gib: int) -> Accelerator:
    return of_size(f"{gib}GiB")


@pytest.mark.parametrize(
    ("name", "tensor", "share"),
    [("qwen2.5-vl-7b", 1, 0.74952625), ("qwen2.5-vl-7b", 8, 0.7342846874999999),
     ("qwen3-vl-8b", 1, 0.7731040624999999), ("qwen3-vl-8b", 8, 0.7573830468749999),
     ("qwen2-vl-7b", 1, 0.63536), ("qwen3.5-27b", 1, 0.7675554687499999),
     ("glm-4.1v-9b", 1, 0.6949249999999999),
     ("internvl3-8b", 1, 0.7941999999999999), ("paligemma-3b", 1, 0.7605395703125),
     ("kimi-k2.5", 1, 0.7605395703125), ("llama-3.2-11b-vision", 1, 0.7081616666666665),
     ("qwen2-audio-7b", 1, 0.836), ("gemma-3-4b", 1, 0.83), ("llama-4-scout", 8, 0.813),
     ("kimi-linear-48b-a3b", 1, 0.836), ("deepseek-v3", 8, 0.8), ("llama-3.1-8b", 1, 0.83)],
)  # fmt: skip
def test_the_share_is_what_sglang_resolves(name: str, tensor: int, share: float) -> None:
    found = default_share(load(name), device(80), Layout(tensor), None)
    assert abs(float(found.of) - share) < 1e-12
    assert "not read" not in found.note


# A tower whose config was not read: the note says that there is less.
def test_an_unread_tower_is_named() -> None:
    assert (
        "config was not read" in default_share(load("gemma-4-e2b"), device(80), Layout(), None).note
    )


MIB = 1 << 20


@pytest.mark.parametrize(
    ("name", "gib", "version", "requests", "mib"),
    [("qwen2.5-vl-7b", 80, None, None, 100), ("qwen2.5-vl-7b", 80, "0.5.16", None, None),
     ("gemma-3-4b", 80, None, None, None), ("llama-3.1-8b", 80, None, None, None),
     ("qwen3-vl-8b", 24, None, None, 100)],
)  # fmt: skip
def test_room_for_embeddings(
    name: str, gib: int, version: str | None, requests: int | None, mib: int | None
) -> None:
    found = reserved(load(name), device(gib), version, requests)
    assert (None if found is None else found.bytes) == (None if mib is None else mib * MIB)


# Qwen3-VL on a Hopper with 60 GiB or more: no embeddings are kept, features travel on the GPU.
def test_a_hopper_has_a_pool_of_features_for_qwen3_vl() -> None:
    found = kvcalc.fit("qwen3-vl-8b", "h100-80gb", engine="sglang", context_tokens=4096).devices[0]
    cache = next(item for item in found.overheads if item.name == "encoder cache")
    assert (cache.bytes, cache.formula) == (1024 * MIB, "SGLANG_MM_FEATURE_CACHE_MB")
    many = kvcalc.fit(
        "qwen3-vl-8b", "h100-80gb", engine="sglang", context_tokens=4096, max_num_seqs=400
    )
    sizes = [item.bytes for item in many.devices[0].overheads if item.name == "encoder cache"]
    assert sizes == [3072 * MIB]


def test_few_models_go_without_their_towers() -> None:
    with pytest.raises(UnsupportedError, match="DeepSeek-V4, Muse Glimmer and Cosmos 3 alone"):
        kvcalc.fit("qwen3-vl-8b", "h100-80gb", engine="sglang", language_model_only=True)
