"""Bytes of weights: formats by component, devices, pipeline stages. Worked by hand on a small model."""

import re
from dataclasses import replace

import pytest

from kvcalc.convert.locate import load
from kvcalc.dtypes import WEIGHT_FORMATS
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.inventory import parameter_groups
from kvcalc.memory.ledger import COMPONENTS
from kvcalc.memory.schemes import uniform
from kvcalc.memory.weights import (
    ParameterSummary,
    count_parameters,
    device_weight_bytes,
    ledger,
    pipeline_stages,
    rank_bytes,
    summarise,
    weight_bytes,
)
from kvcalc.spec.loader import load_spec_text
from tests.scratch import small

# Two layers: attention 4 * 64 * 64 = 16,384, feed-forward 3 * 64 * 128 = 24,576, two norms of 64.
# Beside them a tied table of 1000 * 64 and a last norm of 64.
SMALL = load_spec_text(small("small"))
UNTIED = replace(SMALL, tie_word_embeddings=False)
EXPERTS = load_spec_text(
    small("experts").replace(
        "{kind: gated, intermediate_size: 128}",
        "{kind: moe, num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 32}",
    )
)


BIASED = load_spec_text(
    small("biased").replace(
        "{kind: gated, intermediate_size: 128}",
        "{kind: moe, num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 32, "
        "router_bias: buffer}",
    )
)


def summary(total: int, active: int, without: int, **components: int) -> ParameterSummary:
    return ParameterSummary(
        total, total, active, without, {**dict.fromkeys(COMPONENTS, 0), **components}, 0
    )


def test_parameters() -> None:
    parts = {"embedding": 64_000, "attention": 32_768, "ffn": 49_152, "norm": 320}
    # A tied table is the head as well; an untied one is only looked up.
    assert summarise(SMALL) == summary(146_240, 146_240, 146_240, **parts)
    assert summarise(UNTIED) == summary(210_240, 210_240, 146_240, **parts, head=64_000)


def test_active_parameters() -> None:
    # Experts of 3 * 64 * 32 = 6,144: eight a layer, of which a token passes two; routers of 8 * 64.
    assert summarise(EXPERTS) == summary(
        196_416, 122_688, 122_688,
        embedding=64_000, attention=32_768, experts=98_304, router=1_024, norm=320,
    )  # fmt: skip


def test_buffers_are_counted_apart() -> None:
    # DeepSeek-V3's e_score_correction_bias: one number for each of 8 experts in two layers.
    assert summarise(BIASED).buffers == 16
    assert summarise(BIASED).total == summarise(EXPERTS).total == 196_416
    assert count_parameters(parameter_groups(BIASED)) == 196_416
    assert weight_bytes(BIASED, "bf16")[0] == 392_832
    assert device_weight_bytes(BIASED, "bf16", 1, 1) == [392_832]


@pytest.mark.parametrize(
    ("dtype", "ffn", "norm", "embedding"),
    [
        ("bf16", 98_304, 640, 128_000),
        ("fp32", 196_608, 1_280, 256_000),
        # One byte for a matrix of a layer; tables, norms and biases stay in bf16.
        ("fp8", 49_152, 640, 128_000),
        # Blocks of 32 in 17 bytes: 49,152 / 32 * 17.
        ("mxfp4", 26_112, 640, 128_000),
    ],
)
def test_formats(dtype: str, ffn: int, norm: int, embedding: int) -> None:
    total, parts = weight_bytes(SMALL, dtype)
    assert (parts["ffn"], parts["norm"], parts["embedding"]) == (ffn, norm, embedding)
    assert total == sum(parts.values())


@pytest.mark.parametrize(
    ("dtype", "matrices"),
    # Each of 32 layers: 218,103,808 elements in 43,008 rows. int4_g128: 66 bytes a block of 128;
    # fp8_row: a byte an element and 2 a row.
    [("int4_g128", 3_598_712_832), ("fp8_row", 6_982_074_368)],
)
def test_whole_blocks_and_rows(dtype: str, matrices: int) -> None:
    total, _ = weight_bytes(load("llama-3-8b"), dtype)
    # Two tables of 128,256 words and 65 norms of 4096, in bf16.
    assert total - matrices == 2_101_346_304 + 532_480


def test_a_share_of_mxfp4_is_padded_to_whole_blocks() -> None:
    """gpt-oss-20b over 4 ranks: down_proj's rows of 720 are held as 736, 23 blocks of 17 bytes."""
    found = rank_bytes(load("gpt-oss-20b"), "mxfp4", 4)
    up, down = 1440 * 90 * 17, 2880 * 23 * 17
    # Biases of both, in bf16, beside them.
    assert found["experts"] == 24 * 32 * (up + down + 2 * (1440 + 2880)) == 2_563_522_560
    # The first rank of each of two stages: together what one rank holds of the whole.
    stages = device_weight_bytes(load("gpt-oss-20b"), "mxfp4", 4, 2)[::4]
    assert sum(stages) == sum(found.values()) == 3_232_166_784


@pytest.mark.parametrize(
    ("name", "ranks"),
    [("llama-3-8b", 4), ("qwen3-30b-a3b", 2), ("gpt-oss-20b", 1), ("deepseek-v2-lite", 1)],
)
def test_a_format_s_sums_are_its_rows(name: str, ranks: int) -> None:
    """A format's bytes are sums over alike weights; the ledger asks row by row."""
    spec = load(name)
    for dtype in WEIGHT_FORMATS:
        if uniform(dtype) is None:
            continue
        try:
            rows = ledger(spec, dtype).on_rank(ranks)
        except UnsupportedError as error:
            with pytest.raises(UnsupportedError, match=re.escape(error.message)):
                rank_bytes(spec, dtype, ranks)
        else:
            assert rank_bytes(spec, dtype, ranks) == rows


def test_convolutions_are_not_quantised() -> None:
    # LFM2's mixer: in 3 * 64 * 64 and out 64 * 64 at a byte, a kernel of 64 * 3 at two.
    spec = load_spec_text(
        small("conv").replace(
            "    attention: {kind: gqa, num_attention_heads: 4, num_key_value_heads: 4, head_dim: 16}",
            "    recurrent: {kind: short_conv, hidden_size: 64, conv_L_cache: 3}",
        )
    )
    assert weight_bytes(spec, "fp8")[1]["recurrent"] == 2 * (12_288 + 4_096 + 384)


def test_the_checkpoint_s_own_formats() -> None:
    spec = replace(SMALL, weight_dtypes={"default": "fp32", "ffn": "fp8"})
    _, parts = weight_bytes(spec, "checkpoint")
    assert (parts["ffn"], parts["attention"], parts["norm"]) == (49_152, 131_072, 1_280)
    assert weight_bytes(SMALL, "checkpoint")[0] == 292_480


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(UsageError, match="dtype"):
        weight_bytes(SMALL, "bf17")


@pytest.mark.parametrize(
    ("num_layers", "ranks", "sizes"),
    [
        # vllm/distributed/utils.py, get_pp_indices: what is left over goes to partitions[-2],
        # [-3] and so on.
        (61, 4, [15, 15, 16, 15]),
        (10, 4, [2, 3, 3, 2]),
        (8, 3, [3, 3, 2]),
        (5, 2, [3, 2]),
        (4, 4, [1, 1, 1, 1]),
        (7, 1, [7]),
    ],
)
def test_pipeline_stages(num_layers: int, ranks: int, sizes: list[int]) -> None:
    stages = pipeline_stages(num_layers, ranks)
    assert [len(stage) for stage in stages] == sizes
    assert [index for stage in stages for index in stage] == list(range(num_layers))


def test_more_stages_than_layers_are_refused() -> None:
    with pytest.raises(UsageError, match="3 layers cannot fill 4 pipeline ranks"):
        pipeline_stages(3, 4)


def test_devices() -> None:
    # A layer takes 82,176 bytes in bf16, the table 128,000, the last norm 128.
    assert device_weight_bytes(SMALL, "bf16", 1, 1) == [292_480]
    # Two stages: table and a layer; a layer, the last norm, and the table again as the head.
    assert device_weight_bytes(SMALL, "bf16", 1, 2) == [210_176, 210_304]
    assert device_weight_bytes(UNTIED, "bf16", 1, 2) == [210_176, 210_304]
    # Two ranks: halves of every matrix and of the table, norms whole.
    assert device_weight_bytes(SMALL, "bf16", 2, 1) == [146_560] * 2
    # Rank by rank within a stage: (41,216 + 64,000) and (41,216 + 128 + 64,000).
    assert device_weight_bytes(SMALL, "bf16", 2, 2) == [105_216] * 2 + [105_344] * 2


def test_a_masked_language_head_has_the_table_on_the_last_stage() -> None:
    # Beside the tied table a transform of 64 * 64 + 64, a norm of 64 and a bias of 1000: 10,448 bytes.
    spec = replace(SMALL, head="mlm", tie_word_embeddings=None)
    assert device_weight_bytes(spec, "bf16", 1, 1) == [302_928]
    assert device_weight_bytes(spec, "bf16", 1, 2) == [210_176, 220_752]


def test_what_stands_beside_the_layers_is_where_it_is_used() -> None:
    # Gemma 3n E2B: on the first stage the table per layer, 262,144 * 30 * 256 (4.03 GB), with its
    # projection and AltUp's three; on the last AltUp's three of the way back and the tied table of
    # 262,400 * 2,048, which is what both together have more than one device.
    spec = load("gemma-3n-e2b")
    spec = replace(spec, towers={})
    assert device_weight_bytes(spec, "bf16", 1, 1) == [8_870_365_376]
    assert device_weight_bytes(spec, "bf16", 1, 2) == [7_022_544_736, 2_922_611_040]
    # A token only looks up that table of 2,013,265,920; the tied one is the head as well.
    assert summarise(spec).active == 4_435_182_688
    assert summarise(spec).active_without_embedding == 2_421_916_768


def test_a_recursion_s_router_stands_where_the_recursion_begins() -> None:
    # Four passes through one layer of 82,176 bytes, two recursions to a stage, routers of 64.
    how = "sharing: cycle, kv_cache: per_recursion, routing: expert_choice"
    recursion = f"recursion: {{num_recursions: 4, {how}}}\n"
    spec = load_spec_text(small("recursive", repeat=4, more=recursion))
    assert device_weight_bytes(spec, "bf16", 1, 2) == [210_432, 210_560]


def test_an_encoder_stands_on_the_first_stage() -> None:
    # Two more layers of 82,176 bytes and a last norm of 128; on each stage the cross-attention of one
    # layer, four matrices of 64 * 64 and a norm of 64: 32,896 bytes.
    reader = (
        "  reader:\n"
        "    attention: {kind: mha, num_attention_heads: 4, num_key_value_heads: 4, head_dim: 16, "
        "mask: bidirectional}\n"
        "    ffn: {kind: gated, intermediate_size: 128}\n"
    )
    text = small("both", more="encoder: {layers: [{repeat: 2, blocks: [reader]}]}\n")
    heads = "num_attention_heads: 4, num_key_value_heads: 4, head_dim: 16"
    cross = f"    cross_attention: {{kind: cross, {heads}}}\n"
    spec = load_spec_text(text.replace("layers:\n", f"{cross}{reader}layers:\n", 1))
    assert device_weight_bytes(spec, "bf16", 1, 2) == [407_552, 243_200]


def test_a_rank_that_does_not_divide_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"q_proj.weight .*: 4 cannot be divided among 3"):
        device_weight_bytes(SMALL, "bf16", 3, 1)


def test_shared_weights_stand_on_every_stage_that_uses_them() -> None:
    shared = small("shared", repeat=4).replace(
        "  decoder:\n", "  decoder:\n    share_weights: true\n"
    )
    assert device_weight_bytes(load_spec_text(shared), "bf16", 1, 2) == [210_176, 210_304]
