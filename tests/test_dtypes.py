"""Number formats: bytes of a row, scales included. Block sizes as the formats' sources define them."""

import pytest

from kvcalc.dtypes import CACHE_FORMATS, CacheDtypes, weight_format

# Bytes of a row of 128: one head of K or V in most models.
ROWS = {
    "fp32": 512,
    "bf16": 256,
    "fp16": 256,
    "fp8": 128,
    "int8": 128,
    "int4": 64,
    "q8_0": 136,  # ggml: 34 bytes per 32 elements
    "q5_1": 96,
    "q5_0": 88,
    "q4_1": 80,
    "q4_0": 72,
    "iq4_nl": 72,
    "nvfp4": 72,  # 64 bytes of e2m1 and 8 e4m3 scales
    "mxfp8": 132,  # OCP MX: one e8m0 scale per 32
    "mxfp4": 68,
    "mlx-8bit": 136,  # mlx: two scales of 16 bits per 64, or 32
    "mlx-6bit": 104,
    "mlx-5bit": 88,
    "mlx-4bit": 72,
    "mlx-3bit": 56,
    "mlx-2bit": 40,
    "mlx-8bit-g32": 144,
    "mlx-4bit-g32": 80,
    "fp8_per_token_head": 132,  # vLLM: one fp32 scale per head and token
    "int8_per_token_head": 132,
    "int4_per_token_head": 68,
}


def test_every_cache_format_has_a_row_here() -> None:
    # fp8_ds_mla differs by role: below.
    assert {*ROWS, "fp8_ds_mla"} == set(CACHE_FORMATS)


@pytest.mark.parametrize(("name", "row_bytes"), ROWS.items())
def test_rows(name: str, row_bytes: int) -> None:
    assert CacheDtypes.parse(name).format("key").row(128) == row_bytes


def test_a_row_that_no_block_divides_is_refused() -> None:
    # Phi-3-mini has heads of 96 = 3 * 32; DeepSeek-V2-Lite's 16 * 192 too; 80 (Phi-2) does not fit.
    assert CacheDtypes.parse("q8_0").format("key").row(96) == 102
    with pytest.raises(ValueError, match="80 is not a multiple of 32"):
        CacheDtypes.parse("q8_0").format("key").row(80)


def test_fp8_ds_mla_is_656_bytes_a_token() -> None:
    # vLLM MLAAttentionSpec, FlashMLA README: 512 e4m3 + 4 fp32 scales + 64 bf16; index key 128 + 4.
    dtypes = CacheDtypes.parse("fp8_ds_mla")
    assert dtypes.format("latent").row(512) + dtypes.format("rope_key").row(64) == 656
    assert dtypes.format("index").row(128) == 132
    with pytest.raises(ValueError, match="this layer keeps a key"):
        dtypes.format("key")


def test_keys_and_values_may_differ() -> None:
    dtypes = CacheDtypes.parse("q8_0:bfloat16", "float32")
    assert (dtypes.key, dtypes.value, dtypes.state) == ("q8_0", "bf16", "fp32")
    assert dtypes.kv_name == "q8_0:bf16"
    assert dtypes.format("state", "bf16").name == "fp32"
    assert CacheDtypes.parse("bf16").format("state", "bf16").name == "bf16"


@pytest.mark.parametrize("name", ["bf61", "", "q8", "fp8:", "state", "bf16:q9"])
def test_unknown_formats_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a number format"):
        CacheDtypes.parse(name)


def test_weight_tiles_carry_their_scales() -> None:
    # DeepSeek-V3's kv_a_proj_with_mqa: 576 x 7168 in fp8 and 5 x 56 fp32 scales.
    assert weight_format("fp8_block128").tensor((576, 7168)) == 576 * 7168 + 5 * 56 * 4
    # gpt-oss-20b's experts: 90 blocks of 32 per row, 16 bytes and one scale each.
    assert weight_format("mxfp4").tensor((32, 5760, 2880)) == 32 * 5760 * 90 * 17
