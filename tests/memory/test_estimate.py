"""Answers for shipped models against published and measured numbers."""

import pytest

import kvcalc
from kvcalc.deployment.parallelism import stages_of
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.layout import Layout


@pytest.mark.parametrize(
    ("model", "context", "cache_bytes"),
    [
        # Architectural state, bf16, one sequence; the attention part of each row was computed
        # independently of this program from the published dimensions.
        ("llama-3-8b", 8192, 1073741824),
        ("llama-3-8b", 131072, 17179869184),
        ("llama-3-70b", 8192, 2684354560),
        ("mistral-7b-v0.1", 131072, 536870912),
        ("gemma-2-9b", 8192, 2113929216),
        ("gemma-2-9b", 131072, 23253221376),
        ("gemma-3-27b", 8192, 1107296256),
        ("gemma-3-27b", 131072, 11173625856),
        ("deepseek-v3", 8192, 575668224),
        ("deepseek-v3", 131072, 9210691584),
        ("gpt-oss-120b", 8192, 306708480),
        ("gpt-oss-120b", 131072, 4836556800),
        # 201,326,592 bytes of 12 full layers and 77,266,944 of 36 layers' fp32 states and three
        # bf16 columns of 8,192 channels, as transformers 5.23's own cache holds (four columns there).
        ("qwen3-next-80b-a3b", 8192, 278593536),
        # Self and cross attention, as many encoder tokens as decoder tokens.
        ("t5-large", 8192, 1610612736),
        ("bart-large", 8192, 805306368),
        # Encoders keep nothing.
        ("bert-base-uncased", 512, 0),
        ("modernbert-base", 8192, 0),
        # DeepSeek-V3.2 report and transformers 5.23: 61 * (512 + 64 + 128) * 2 bytes a token.
        ("deepseek-v3.2", 1000, 85888000),
        # ROPE-free and shared: GLM-5.2 has index keys on 21 of 78 layers.
        ("glm-5.2", 1000, 95232000),
        ("falcon-7b", 1000, 8192000),
    ],
)
def test_cache(model: str, context: int, cache_bytes: int) -> None:
    answer = kvcalc.estimate(kvcalc.load(model), context_tokens=context)
    assert answer.cache.bytes == cache_bytes
    total = sum(group.bytes for group in answer.cache.groups)
    assert total == cache_bytes


def test_whisper_keeps_its_cross_cache_always() -> None:
    # 32 layers * 2 * 20 heads * 64 * 1500 frames * 2 bytes, and 163,840 bytes a token.
    answer = kvcalc.estimate(kvcalc.load("whisper-large-v3"), context_tokens=100)
    assert answer.workload.encoder_tokens == 1500
    assert answer.cache.fixed_bytes_per_sequence == 245760000
    assert answer.cache.bytes == 262144000


@pytest.mark.parametrize(
    ("model", "active", "without_embedding"),
    [
        # Publishers' figures: Mixtral 12.9 B (all), gpt-oss 3.61 B and 5.13 B (without embedding).
        ("mixtral-8x7b", 12879925248, 12748853248),
        ("gpt-oss-20b", 4187440704, 3608307264),
        ("gpt-oss-120b", 5711982912, 5132849472),
        ("deepseek-v3", 37552282624, 36625603584),
        ("llama-4-maverick", 17184691200, 16150205440),
        # Tied: the table is the head, so it stays.
        ("granite-4.0-h-small", 8803121664, 8803121664),
    ],
)
def test_active_parameters(model: str, active: int, without_embedding: int) -> None:
    parameters = kvcalc.estimate(kvcalc.load(model)).parameters
    assert parameters.active == active
    assert parameters.active_without_embedding == without_embedding


def test_mixture_of_recursions() -> None:
    # Bae et al. 2025 (arXiv 2507.10524), SmolLM-360M, N_r = 3, middle_cycle. Layers 0 and 31 keep
    # 3,000 tokens, ten layers each 3,000, 2,000 and 1,000: 66,000 tokens of 1,280 bytes in all
    # (K and V of 5 heads of 64 in bf16); or 36,000 where all recursions read the first's.
    own = kvcalc.estimate(kvcalc.load("mor-360m-nr3-middle-cycle"), context_tokens=3000)
    assert own.cache.bytes == 84_480_000
    shared = kvcalc.load("mor-360m-nr3-middle-cycle-kv-sharing")
    assert kvcalc.estimate(shared, context_tokens=3000).cache.bytes == 46_080_000
    # 12 layers of weights and a norm, 117,988,800 (the paper's 118M without embedding), a tied table
    # of 47,185,920, and three routers of 960.
    assert own.parameters.total == 165_177_600


def test_the_peak_of_a_compressed_cache_lies_before_a_block_is_full() -> None:
    spec = kvcalc.load("deepseek-v4-flash")
    function = kvcalc.cache_function(spec, kvcalc.CacheDtypes())
    for tokens in (1, 127, 128, 129, 131, 255, 256, 1000):
        assert function.most(tokens) == max(function.at(t) for t in range(tokens + 1))
    assert function.most(128) > function.at(128)


def test_latents_are_copied_to_every_rank() -> None:
    answer = kvcalc.estimate(kvcalc.load("deepseek-v3"), context_tokens=8192, tensor=8)
    assert answer.cache.per_device_bytes == (575668224,) * 8


def test_pipeline_stages_follow_the_layers() -> None:
    # 61 layers on 4 ranks: 15, 15, 16, 15 (the remainder goes to the last rank but one), each with
    # 8,192 tokens of 1,152 bytes: 9,437,184 bytes a layer.
    answer = kvcalc.estimate(kvcalc.load("deepseek-v3"), context_tokens=8192, pipeline=4)
    assert answer.cache.per_device_bytes == (141557760, 141557760, 150994944, 141557760)


def test_what_cannot_be_stored_is_refused_by_name() -> None:
    spec = kvcalc.load("phi-2")
    with pytest.raises(UnsupportedError, match=r"key \[32, 80\]: q8_0 stores blocks of 32"):
        kvcalc.estimate(spec, kv_dtype="q8_0")
    with pytest.raises(UsageError, match="batch_size must be at least 1"):
        kvcalc.estimate(spec, batch_size=0)


@pytest.mark.parametrize(
    ("model", "stages", "said"),
    [
        # Ten layers on each of three stages; the layers from 20 on read the last ones before them.
        ("gemma-3n-e2b", 3, "split layers that share a cache: 20, 21, 22, 23, 25, 26, 27, 28 read "
         "layer 18's; 24, 29 read layer 19's"),
        ("t5-base", 2, "pipeline parallelism of an encoder-decoder is not accounted for"),
    ],
)  # fmt: skip
def test_stages_that_need_what_another_has_are_refused(model: str, stages: int, said: str) -> None:
    spec = kvcalc.load(model)
    with pytest.raises(UnsupportedError, match=said):
        kvcalc.estimate(spec, pipeline=stages)
    with pytest.raises(UnsupportedError, match=said):
        stages_of(spec, "bf16", kvcalc.CacheDtypes(), Layout(1, stages))


def test_layers_that_share_a_cache_on_one_stage() -> None:
    # Hunyuan-Large's layers share in pairs: two stages of 32 layers hold 16 caches each, of 2 * 8
    # heads * 80 * 2 bytes a token.
    answer = kvcalc.estimate("hunyuan-large", context_tokens=1, pipeline=2)
    assert answer.cache.per_device_bytes == (40960, 40960)
    # An encoder that is not counted (the vision tower's) hinders no stages.
    vision = kvcalc.load("llama-3.2-11b-vision")
    assert len(stages_of(vision, "bf16", kvcalc.CacheDtypes(), Layout(1, 2))) == 2
