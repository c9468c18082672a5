"""Small models keep the structure of large ones."""

import pytest

pytest.importorskip("torch")

from kvcalc.spec.catalog import load
from kvcalc.spec.loader import load_spec_text
from kvcalc.verify.plan import plan
from kvcalc.verify.reduce import reduced
from tests.verify.specs import SPECS

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("model", "block", "ratio"),
    [("llama-3-8b", "decoder", 4), ("gemma-3-1b", "local", 4), ("llama-3-70b", "decoder", 8)],
)
def test_query_heads_per_kv_head_stay(model: str, block: str, ratio: int) -> None:
    attention = reduced(load(model)).spec.blocks[block].attention
    assert attention is not None
    assert attention.num_attention_heads // attention.num_key_value_heads == ratio


def test_widths_of_one_mechanism_stay_in_proportion() -> None:
    # DeepSeek-V3: 512 : 64 : 128 : 128 is 8 : 1 : 2 : 2.
    spec = reduced(load("deepseek-v3")).spec
    attention = next(block.attention for block in spec.blocks.values())
    assert (
        attention.kv_lora_rank, attention.qk_rope_head_dim,
        attention.qk_nope_head_dim, attention.v_head_dim,
    ) == (16, 2, 4, 4)  # fmt: skip


def test_experts_per_token_stay_in_proportion() -> None:
    # DeepSeek-V3: 8 of 256 is 2 of 64.
    spec = reduced(load("deepseek-v3")).spec
    ffn = next(block.ffn for block in spec.blocks.values() if block.ffn.kind == "moe")
    assert (ffn.num_experts_per_tok, ffn.num_experts) == (2, 64)


def test_the_pattern_of_layers_stays() -> None:
    spec = load("gemma-3-1b")
    small = reduced(spec).spec
    assert [group.names for group in small.layers] == [group.names for group in spec.layers]
    assert small.layers[0].names == ("local",) * 5 + ("global",)
    assert [group.repeat for group in small.layers] == [2, min(2, spec.layers[1].repeat)]


def test_every_change_is_said() -> None:
    changes = dict((path, (old, new)) for path, old, new in reduced(load("llama-3-8b")).changes)
    assert changes["hidden_size"] == (4096, 32)
    assert changes["layers[0].repeat"] == (32, 2)
    assert "blocks.decoder.attention.head_dim" in changes


def test_a_recursion_still_divides_its_layers() -> None:
    # Two outer layers and three recursions of two.
    small = reduced(load_spec_text(SPECS["recursion-middle_cycle-shared-expert_choice"])).spec
    assert small.layers[0].repeat == 8


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("mha", 12),  # nothing to cross
        ("chunk", 12),  # past the chunk of 9, inside the next
        ("hca", 15),  # past three blocks of 4; the next token closes the fourth
    ],
)
def test_the_plan_crosses_what_there_is(name: str, tokens: int) -> None:
    assert plan(reduced(load_spec_text(SPECS[name])).spec).tokens == tokens
