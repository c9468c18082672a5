from dataclasses import replace
from typing import Any

import pytest

from kvcalc.attention.nsa import NativeSparseAttention

# arXiv 2502.11089, section 4.1: 64 heads in 4 groups, d_k 192, d_v 128; l 32, d 16, l' 64, n 16,
# w 512.
PAPER = NativeSparseAttention(
    kind="nsa",
    num_attention_heads=64,
    num_key_value_heads=4,
    head_dim=192,
    v_head_dim=128,
    kernel_size=32,
    kernel_stride=16,
    block_size=64,
    topk=16,
    window_size=512,
)
FLA_DEFAULTS = NativeSparseAttention(
    kind="nsa",
    num_attention_heads=64,
    num_key_value_heads=4,
    head_dim=64,
    kernel_size=64,
    kernel_stride=64,
    block_size=64,
    topk=16,
    window_size=512,
)


# Equation 7: floor((T - 32) / 16) + 1 compressed keys once there is a whole block.
@pytest.mark.parametrize(("tokens", "blocks"), [(31, 0), (32, 1), (47, 1), (48, 2), (8192, 511)])
def test_compressed_blocks(sums: Any, tokens: int, blocks: int) -> None:
    assert sums.shapes(PAPER, tokens) == {
        "key": (1, 4, tokens, 192),
        "value": (1, 4, tokens, 128),
        "compressed_key": (1, 4, blocks, 192),
        "compressed_value": (1, 4, blocks, 128),
    }


def test_separate_branches_keep_a_window_and_the_unfinished_block(sums: Any) -> None:
    layer = replace(PAPER, branches="separate")
    # 1,280 elements a position: 8,192 raw, 511 compressed, 512 in the window, 31 unfinished: 9,246.
    assert sums.elements(layer, 8192) == 11_834_880
    names = {tensor.name for tensor in layer.parameters(2560)}
    assert {"cmp_k_proj.weight", "slc_v_proj.weight", "win_k_proj.weight"} <= names


def test_parameters(sums: Any) -> None:
    # NativeSparseAttention of fla-org/native-sparse-attention with its defaults, on meta.
    assert sums.parameters(FLA_DEFAULTS, 2048) == 18_219_008
    # XunhaoLai/native-sparse-attention-triton: compress_key and compress_value
    # (4, 64 * 64, 64) each, intra_block_pe (4, 64, 64), and 3 gates of 2,048 instead of 192:
    # 18,219,008 + 2,097,152 + 16,384 - 387,072.
    linear = replace(FLA_DEFAULTS, compression="linear", gate="per_token")
    assert sums.parameters(linear, 2048) == 19_945_472


def test_tensor_parallelism(sums: Any) -> None:
    assert sums.per_rank(PAPER, 2)["compressed_key"] == (2, 192)
    assert sums.per_rank(PAPER, 8)["value"] == (1, 128)
    assert sums.weights_per_rank(FLA_DEFAULTS, 2048, 4)["g_proj.weight"] == (48, 2048)


def test_inconsistent_fields_are_named() -> None:
    bad = replace(PAPER, num_key_value_heads=5, kernel_stride=33)
    assert [field for field, _ in bad.check()] == ["num_key_value_heads", "kernel_stride"]
    assert list(PAPER.check()) == []
