"""What if: another attention, another field; and what has no such variant."""

import pytest

from kvcalc import estimate
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import SpecError, UnsupportedError, UsageError
from kvcalc.memory.cache import cache_function
from kvcalc.spec.catalog import load
from kvcalc.spec.loader import load_spec_text
from kvcalc.spec.set_fields import with_fields
from kvcalc.spec.variants import with_attention

SMALL = """
name: small
source: made up
hidden_size: 64
vocab_size: 1000
tie_word_embeddings: true
blocks:
  decoder:
    attention: {kind: mha, num_attention_heads: 4, num_key_value_heads: 4, head_dim: 16%s}
layers: [{blocks: [decoder]}]
"""


@pytest.mark.parametrize(
    ("choice", "num_bytes"),
    [
        # The popular primer's four bars for Llama-3-8B at 8192 tokens in bf16: MHA, MQA, GQA and
        # 4.5 head dims a layer for MLA.
        ("mha", 4294967296),
        ("gqa", 1073741824),
        ("mqa", 134217728),
        ("mla", 301989888),
    ],
)
def test_the_primers_numbers(choice: str, num_bytes: int) -> None:
    spec, _ = with_attention(load("llama-3-8b"), choice)  # type: ignore[arg-type]
    assert cache_function(spec, CacheDtypes()).at(8192) == num_bytes


def test_says_how_a_variant_was_derived() -> None:
    _, notes = with_attention(load("llama-3-8b"), "mla")
    assert notes == (
        "mla: kv_lora_rank = 4 * head_dim = 512 and qk_rope_head_dim = head_dim / 2 = 64, "
        "DeepSeek-V2's choice (4.5 * head_dim per layer holds by construction)",
    )
    _, notes = with_attention(load("deepseek-v3.2"), "mqa")
    assert all(note.endswith("without its sparse-attention indexer") for note in notes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (", attention_chunk_size: 8", "has attention_chunk_size, which mla is not defined with"),
        (", sliding_window: 8, sink_tokens: 4", "has sink_tokens"),
        (", mask: bidirectional", "is bidirectional"),
    ],
)
def test_mla_in_place_of_what_it_is_not_defined_with(fields: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        with_attention(load_spec_text(SMALL % fields), "mla")


def test_no_usual_number_of_kv_heads() -> None:
    with pytest.raises(UnsupportedError, match="4 query heads cannot share the usual 8 KV heads"):
        with_attention(load_spec_text(SMALL % ""), "gqa")


def test_a_model_without_attention() -> None:
    with pytest.raises(UnsupportedError, match="has no attention to turn into gqa"):
        with_attention(load("mamba2-2.7b"), "gqa")


def test_fields_are_changed_and_checked_like_a_file() -> None:
    spec = with_fields(
        load("llama-3-8b"),
        ("blocks.decoder.attention.num_key_value_heads=4", "layers[0].repeat=2", "notes='a: b'"),
    )
    assert spec.blocks["decoder"].attention.num_key_value_heads == 4  # type: ignore[union-attr]
    assert spec.layers[0].repeat == 2
    assert spec.notes == ("a: b",)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ("blocks.decoder.attention.num_key_value_heads=3",
         "blocks.decoder.attention.num_key_value_heads",
         "32 query heads cannot share 3 KV heads evenly"),
        ("hidden_size=010", "hidden_size",
         "expected a whole number, found 010 (readers of YAML disagree on what this is)"),
        ("hiden_size=8", "hiden_size", "unknown key 'hiden_size' (did you mean 'hidden_size'?)"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_a_problem_of_a_field(change: str, field: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        with_fields(load("llama-3-8b"), (change,))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (0, 0)
    assert (problem.field, problem.message) == (field, message)
    assert str(problem) == f"llama-3-8b with --set {field}: {message}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("hidden_size", "write PATH=VALUE"),
        ("blocks.decodr.norms=1", r"no 'decodr' in blocks \(did you mean 'decoder'\?\)"),
        ("layers[7].repeat=1", "no '7' in layers"),
        ("hidden_size.x=1", "'hidden_size' has no fields"),
        ("hidden_size=[", "is not a value"),
        ("notes=" + "x" * 401, "belongs into a file"),
    ],
)
def test_a_wrong_path_is_a_usage_error(change: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_fields(load("llama-3-8b"), (change,))


def test_kv_heads_in_place_of_sparse_attention_keep_no_index_keys() -> None:
    # MiniMax-M3: 60 layers of 64 heads of 128 as MHA, bf16: 60 * 64 * 2 * 128 * 2 bytes a token.
    spec, notes = with_attention(load("minimax-m3"), "mha")
    assert estimate(spec, context_tokens=1024).cache.bytes_per_token == 1_966_080
    assert any("without its sparse-attention indexer" in note for note in notes)
