"""What a layer may read of another's cache, and what a recursion may wrap."""

import pytest

import kvcalc

SHARED = """\
name: t
source: made up
hidden_size: 64
vocab_size: 100
tie_word_embeddings: true
blocks:
  own:
    attention: {{kind: gqa, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16{own}}}
  reader:
    attention:
      {{kind: gqa, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16, shared_kv: own{reader}}}
layers: [{{repeat: 1, blocks: [own, reader]}}]
"""
RECURSIVE = """\
name: t
source: made up
hidden_size: 64
vocab_size: 100
tie_word_embeddings: true
blocks:
  b:
    attention: {{kind: gqa, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16{attention}}}
    {block}
layers: [{{repeat: {repeat}, blocks: [b]{loops}}}]
recursion: {{num_recursions: 3, sharing: cycle, kv_cache: {cache}, routing: expert_choice{shares}}}
"""


@pytest.mark.parametrize(
    ("own", "reader", "expected_bytes"),
    [
        # A position: 2 * 2 heads * 16 wide * 2 bytes = 128, kept by one layer of the two.
        ("", "", 128_000),
        ("", ", sliding_window: 8", 128_000),
        (", sliding_window: 8", ", sliding_window: 8", 1_024),
        (", sliding_window: 8", ", sliding_window: 4", 1_024),
    ],
)
def test_a_reader_sees_what_its_source_keeps(own: str, reader: str, expected_bytes: int) -> None:
    spec = kvcalc.load_spec_text(SHARED.format(own=own, reader=reader))
    assert kvcalc.estimate(spec, context_tokens=1000).cache.bytes == expected_bytes


@pytest.mark.parametrize(
    ("own", "reader"),
    [
        (", sliding_window: 8", ""),
        (", sliding_window: 8", ", sliding_window: 16"),
        (", sliding_window: 8", ", sliding_window: 8, sink_tokens: 4"),
        (", attention_chunk_size: 8", ""),
        (", attention_chunk_size: 8", ", attention_chunk_size: 16"),
    ],
)
def test_a_reader_that_sees_more_is_refused(own: str, reader: str) -> None:
    with pytest.raises(kvcalc.SpecError, match="sees tokens that 'own' does not keep"):
        kvcalc.load_spec_text(SHARED.format(own=own, reader=reader))


def test_a_reader_keeps_no_index_keys() -> None:
    indexer = ", indexer: {index_n_heads: 4, index_head_dim: 128, index_topk: 8}"
    with pytest.raises(kvcalc.SpecError, match="no index keys of its own"):
        kvcalc.load_spec_text(SHARED.format(own="", reader=indexer))


PLAIN = {"attention": "", "block": "", "repeat": 6, "loops": "", "cache": "shared", "shares": ""}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": ", attention_chunk_size: 8"}, "with a window, a chunk"),
        ({"attention": ", sliding_window: 8"}, "with a window, a chunk"),
        ({"block": "share_weights: true"}, "which weights are shared"),
        ({"repeat": 3, "loops": ", loops: 2"}, "which weights are shared"),
        ({"shares": ", capacities: [1/2, 1/2, 1/4]"}, "which every token passes"),
    ],
)
def test_a_recursion_wraps_plain_layers_only(change: dict[str, object], message: str) -> None:
    with pytest.raises(kvcalc.SpecError, match=message):
        kvcalc.load_spec_text(RECURSIVE.format(**{**PLAIN, **change}))


def test_a_shared_recursive_cache_is_the_first_recursions() -> None:
    spec = kvcalc.load_spec_text(RECURSIVE.format(**PLAIN))
    assert kvcalc.estimate(spec, context_tokens=1000).cache.bytes == 256_000  # 2 layers of 6
