"""Laws that hold for any model, whatever its numbers: tried on random specs of every mechanism."""

from dataclasses import dataclass, replace
from math import lcm
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvcalc import estimate
from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import UnsupportedError
from kvcalc.memory.cache import CacheFunction, cache_function
from kvcalc.memory.weights import device_weight_bytes, summarise, weight_bytes
from kvcalc.spec import catalog
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import PerBlock, Share, Tail
from tests.drawn import examples
from tests.spec.random_specs import sizes, specs

BF16 = CacheDtypes()


@dataclass(frozen=True)
class Asked:
    """What a law is asked about, beside a spec."""

    tokens: int
    more: int
    source: int
    batch: int
    beams: int
    repeat: int
    ranks: int


def more_tokens_never_take_less(spec: ModelSpec, asked: Asked) -> None:
    function, tokens, source = cache_function(spec, BF16), asked.tokens, asked.source
    assert function.most(tokens, source) <= function.most(tokens + asked.more, source)
    assert function.most(tokens, source) <= function.most(tokens, source + asked.more)


def the_peak_is_the_most_of_all_lengths(spec: ModelSpec, asked: Asked) -> None:
    function, tokens = cache_function(spec, BF16), asked.tokens % 151
    held = [function.at(length, asked.source) for length in range(tokens + 1)]
    assert function.most(tokens, asked.source) == max(held)


def sequences_add_up(spec: ModelSpec, asked: Asked) -> None:
    tokens = asked.tokens
    one = estimate(spec, context_tokens=tokens, encoder_tokens=tokens)
    many = estimate(
        spec,
        context_tokens=tokens,
        encoder_tokens=tokens,
        batch_size=asked.batch,
        beams=asked.beams,
    )
    assert many.cache.bytes == asked.batch * asked.beams * one.cache.bytes
    assert many.cache.bytes_per_token == one.cache.bytes_per_token
    assert many.weight_bytes == one.weight_bytes


def groups_add_up_to_the_cache(spec: ModelSpec, asked: Asked) -> None:
    cache = estimate(spec, context_tokens=asked.tokens).cache
    assert sum(group.bytes for group in cache.groups) == cache.bytes


def one_more_period_of_tokens_takes_the_slope(spec: ModelSpec, asked: Asked) -> None:
    function = cache_function(spec, BF16)
    period = lcm(*(_period(extent) for extent, _ in function.terms))
    # By then every window of a random spec (at most 128 tokens and as many sinks) is full.
    full = 1024 + (-1024) % period
    assert function.at(full + period) - function.at(full) == function.slope * period


def _period(extent: Any) -> int:
    match extent:
        case Tail(size):
            return size
        case PerBlock(_, stride):
            return stride
        case Share(fraction):
            return fraction.denominator
        case _:
            return 1


def layers_add_up(spec: ModelSpec, asked: Asked) -> None:
    if spec.recursion is not None:
        return
    repeat, tokens = asked.repeat, asked.tokens
    group = replace(spec.layers[0], repeat=1)
    one = replace(spec, layers=(group,))
    repeated = replace(spec, layers=(replace(group, repeat=repeat),))
    listed = replace(spec, layers=(group,) * repeat)
    looped = replace(spec, layers=(replace(group, loops=repeat),))
    expected = repeat * cache_function(one, BF16).at(tokens, 7)
    for other in (repeated, listed, looped):
        assert cache_function(other, BF16).at(tokens, 7) == expected
    assert summarise(repeated).total == summarise(listed).total
    assert summarise(looped).total <= summarise(repeated).total


def components_add_up(spec: ModelSpec, asked: Asked) -> None:
    parameters = summarise(spec)
    assert sum(parameters.by_component.values()) == parameters.total
    assert 0 <= parameters.active_without_embedding <= parameters.active <= parameters.total
    total, by_component = weight_bytes(spec, "bf16")
    assert sum(by_component.values()) == total == 2 * parameters.total


def ranks_hold_the_whole_between_them(spec: ModelSpec, asked: Asked) -> None:
    ranks, tokens = asked.ranks, asked.tokens
    try:
        shard = cache_function(spec, BF16, ranks).at(tokens, tokens)
        whole = cache_function(spec, BF16).at(tokens, tokens)
        assert shard <= whole <= ranks * shard
        devices = device_weight_bytes(spec, "bf16", ranks, 1)
    except UnsupportedError:
        return
    total = weight_bytes(spec, "bf16")[0]
    assert len(devices) == ranks
    assert max(devices) <= total + 2 * spec.vocab_size * ranks * spec.hidden_size
    assert sum(devices) >= total


LAWS = (
    more_tokens_never_take_less, the_peak_is_the_most_of_all_lengths, sequences_add_up,
    groups_add_up_to_the_cache, one_more_period_of_tokens_takes_the_slope, layers_add_up,
    components_add_up, ranks_hold_the_whole_between_them,
)  # fmt: skip
_lengths, _few = st.integers(0, 400), st.integers(1, 3)


@given(
    specs(),
    st.builds(Asked, _lengths, _lengths, _lengths, st.integers(1, 9), _few, _few,
              st.sampled_from([2, 4, 8])),
)  # fmt: skip
@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
def test_laws(spec: ModelSpec, asked: Asked) -> None:
    """Every law on every spec: drawing one costs more than asking all of them."""
    for law in LAWS:
        law(spec, asked)


def softmax(kind: Any, heads: int, kv_heads: int, head_dim: int, **fields: Any) -> Any:
    attention = SoftmaxAttention(
        kind=kind, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim,
        **fields,
    )  # fmt: skip
    assert not list(attention.check())
    return attention


def inventory(attention: Any) -> tuple[list[Any], list[Any]]:
    return list(attention.cache()), list(attention.parameters(64))


@given(sizes, sizes)
def test_gqa_with_all_heads_is_mha(heads: int, head_dim: int) -> None:
    gqa, mha = (softmax(kind, heads, heads, head_dim) for kind in ("gqa", "mha"))
    assert inventory(gqa) == inventory(mha)


@given(sizes, sizes)
def test_gqa_with_one_head_is_mqa(heads: int, head_dim: int) -> None:
    gqa, mqa = (softmax(kind, heads, 1, head_dim) for kind in ("gqa", "mqa"))
    assert inventory(gqa) == inventory(mqa)


@given(st.integers(1, 300), st.integers(0, 300), sizes)
def test_a_window_that_holds_the_context_is_full_attention(
    tokens: int, more: int, head_dim: int
) -> None:
    full = softmax("mha", 4, 4, head_dim)
    for field in ("sliding_window", "attention_chunk_size"):
        windowed = softmax("mha", 4, 4, head_dim, **{field: tokens + more})
        for whole, part in zip(full.cache(), windowed.cache(), strict=True):
            assert whole.extent.positions(tokens, 0) == part.extent.positions(tokens, 0) == tokens


@pytest.mark.parametrize("path", catalog.shipped().values(), ids=catalog.shipped().keys())
def test_shipped_models_hold_more_with_more_tokens(path: Any) -> None:
    function: CacheFunction = cache_function(catalog.load(path), BF16)
    held = [function.most(tokens, 100) for tokens in (0, 1, 127, 128, 4096, 4097, 131072, 10**6)]
    assert held == sorted(held)
