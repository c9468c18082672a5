"""Laws that hold for any model, whatever its numbers: tried on random specs of every mechanism."""

from dataclasses import replace
from math import lcm
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
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
from tests.spec.random_specs import sizes, specs

random_specs = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
lengths = st.integers(0, 400)
BF16 = CacheDtypes()


@given(specs(), lengths, lengths, lengths)
@random_specs
def test_more_tokens_never_take_less(spec: ModelSpec, tokens: int, more: int, source: int) -> None:
    function = cache_function(spec, BF16)
    assert function.most(tokens, source) <= function.most(tokens + more, source)
    assert function.most(tokens, source) <= function.most(tokens, source + more)


@given(specs(), st.integers(0, 150), st.integers(0, 50))
@random_specs
def test_the_peak_is_the_most_of_all_lengths(spec: ModelSpec, tokens: int, source: int) -> None:
    function = cache_function(spec, BF16)
    held = [function.at(length, source) for length in range(tokens + 1)]
    assert function.most(tokens, source) == max(held)


@given(specs(), st.integers(1, 9), st.integers(1, 3), lengths)
@random_specs
def test_sequences_add_up(spec: ModelSpec, batch: int, beams: int, tokens: int) -> None:
    one = estimate(spec, context_tokens=tokens, encoder_tokens=tokens)
    many = estimate(
        spec, context_tokens=tokens, encoder_tokens=tokens, batch_size=batch, beams=beams
    )
    assert many.cache.bytes == batch * beams * one.cache.bytes
    assert many.cache.bytes_per_token == one.cache.bytes_per_token
    assert many.weight_bytes == one.weight_bytes


@given(specs(), lengths)
@random_specs
def test_groups_add_up_to_the_cache(spec: ModelSpec, tokens: int) -> None:
    cache = estimate(spec, context_tokens=tokens).cache
    assert sum(group.bytes for group in cache.groups) == cache.bytes


@given(specs())
@random_specs
def test_one_more_period_of_tokens_takes_the_slope(spec: ModelSpec) -> None:
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


@given(specs(), st.integers(1, 3), lengths)
@random_specs
def test_layers_add_up(spec: ModelSpec, repeat: int, tokens: int) -> None:
    assume(spec.recursion is None)
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


@given(specs())
@random_specs
def test_components_add_up(spec: ModelSpec) -> None:
    parameters = summarise(spec)
    assert sum(parameters.by_component.values()) == parameters.total
    assert 0 <= parameters.active_without_embedding <= parameters.active <= parameters.total
    total, by_component = weight_bytes(spec, "bf16")
    assert sum(by_component.values()) == total == 2 * parameters.total


@given(specs(), st.sampled_from([2, 4, 8]), lengths)
@random_specs
def test_ranks_hold_the_whole_between_them(spec: ModelSpec, ranks: int, tokens: int) -> None:
    try:
        shard = cache_function(spec, BF16, ranks).at(tokens, tokens)
    except UnsupportedError:
        assume(False)
        return
    whole = cache_function(spec, BF16).at(tokens, tokens)
    assert shard <= whole <= ranks * shard
    try:
        devices = device_weight_bytes(spec, "bf16", ranks, 1)
    except UnsupportedError:
        return
    total = weight_bytes(spec, "bf16")[0]
    assert len(devices) == ranks
    assert max(devices) <= total + 2 * spec.vocab_size * ranks * spec.hidden_size
    assert sum(devices) >= total


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
