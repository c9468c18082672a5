"""A cache as a function of tokens, extent by extent. Counted by hand from what each extent says."""

from fractions import Fraction

import pytest

from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import UnsupportedError
from kvcalc.memory.cache import CacheFunction, cache_function
from kvcalc.spec.catalog import load
from kvcalc.spec.loader import load_spec_text
from kvcalc.tensors import (
    ENCODER_TOKENS,
    EVERY_TOKEN,
    ONCE,
    Chunk,
    Extent,
    LastBlock,
    PerBlock,
    Share,
    SinkWindow,
    Tail,
    Window,
)
from tests.scratch import small


@pytest.mark.parametrize(
    ("extent", "held", "most", "slope", "fixed"),
    [
        # held: positions at 0, 1, 3, 4 and 10 tokens beside 7 encoder tokens. most: up to 10.
        (EVERY_TOKEN, [0, 1, 3, 4, 10], 10, Fraction(1), 0),
        (Window(4), [0, 1, 3, 4, 4], 4, Fraction(0), 4),
        (Chunk(4), [0, 1, 3, 4, 4], 4, Fraction(0), 4),
        (SinkWindow(2, 3), [0, 1, 3, 4, 5], 5, Fraction(0), 5),
        # Blocks of 4 that close at 4 and 8; of 6 that begin every 3 and close at 6 and 9, so that
        # in the long run there is one less than tokens / 3.
        (PerBlock(4, 4), [0, 0, 0, 1, 2], 2, Fraction(1, 4), 0),
        (PerBlock(6, 3), [0, 0, 0, 0, 2], 2, Fraction(1, 3), -1),
        # tokens mod 4: the most is 3, at 7 tokens and not at 10.
        (Tail(4), [0, 1, 3, 0, 2], 3, Fraction(0), 3),
        (LastBlock(4), [0, 0, 0, 4, 4], 4, Fraction(0), 4),
        # floor(tokens / 3), but one token at least.
        (Share(Fraction(1, 3)), [0, 1, 1, 1, 3], 3, Fraction(1, 3), 0),
        (Share(Fraction(0)), [0, 0, 0, 0, 0], 0, Fraction(0), 0),
        (ENCODER_TOKENS, [7, 7, 7, 7, 7], 7, Fraction(0), 7),
        (ONCE, [1, 1, 1, 1, 1], 1, Fraction(0), 1),
    ],
)
def test_every_extent(
    extent: Extent, held: list[int], most: int, slope: Fraction, fixed: int
) -> None:
    # 5 bytes a position.
    function = CacheFunction(((extent, 5),))
    assert [function.at(tokens, 7) for tokens in (0, 1, 3, 4, 10)] == [5 * n for n in held]
    assert function.most(10, 7) == 5 * most
    assert function.slope == 5 * slope
    assert function.fixed_bytes(7) == 5 * fixed


def test_a_state_is_kept_once_anything_was_seen() -> None:
    function = CacheFunction(((ONCE, 5),))
    assert function.at(0, 0) == 0
    assert function.at(0, 1) == 5


@pytest.mark.parametrize(
    ("terms", "bytes_per_token"),
    [
        (((EVERY_TOKEN, 4), (Window(8), 100)), 4),
        # DeepSeek-V4-Flash's 21 CSA and 20 HCA layers in bf16: 21 * 320 + 20 * 8 = 6,880.
        (((PerBlock(4, 4), 21 * 1280), (PerBlock(128, 128), 20 * 1024)), 6_880),
        # 5 / 4 + 1 / 3 = 19 / 12 bytes: 2, rounded up.
        (((PerBlock(4, 4), 5), (Share(Fraction(1, 3)), 1)), 2),
        ((), 0),
    ],
)
def test_bytes_per_token(terms: tuple[tuple[Extent, int], ...], bytes_per_token: int) -> None:
    assert CacheFunction(terms).bytes_per_token == bytes_per_token


@pytest.mark.parametrize(
    ("tokens", "peak"),
    [
        # Tails of 4 and 6 at 10 and 1 bytes: 3 tokens hold 3 * 10 + 3, 7 hold 3 * 10 + 1, 11 hold
        # 3 * 10 + 5, and so on with a period of 12; of equals the longest.
        (0, 0), (2, 2), (3, 3), (4, 3), (5, 3), (6, 3), (7, 3), (10, 3), (11, 11), (12, 11),
        (24, 23), (100, 95),
    ],
)  # fmt: skip
def test_the_peak_of_two_tails(tokens: int, peak: int) -> None:
    assert CacheFunction(((Tail(4), 10), (Tail(6), 1))).peak(tokens) == peak


# Two layers, 4 KV heads of 16: 512 bytes a token in bf16.
SMALL = load_spec_text(small("small"))
BF16 = CacheDtypes()


@pytest.mark.parametrize(("ranks", "num_bytes"), [(1, 512), (2, 256), (4, 128), (8, 128)])
def test_the_fullest_rank(ranks: int, num_bytes: int) -> None:
    # Four heads on eight ranks: a copy of one on each.
    assert cache_function(SMALL, BF16, ranks).terms == ((EVERY_TOKEN, num_bytes),)


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"over 3 ranks: key \[4, 16\]: 4 cannot be divided"):
        cache_function(SMALL, BF16, 3)
    with pytest.raises(UnsupportedError, match=r"key \[4, 16\]: q8_0 stores blocks of 32"):
        cache_function(SMALL, CacheDtypes.parse("q8_0"))


@pytest.mark.parametrize(
    ("model", "tokens", "expected"),
    [
        # 32 layers * 2 * 8 heads * 128 * 2 bytes up to the window of 4,096, and nothing beyond it.
        ("mistral-7b-v0.1", 4096, 131072),
        ("mistral-7b-v0.1", 4097, 0),
        # A window of 131,072: 32 layers * 2 * 8 * 128 * 2 bytes.
        ("phi-3.5-moe", 8192, 131072),
        # 12 full layers * 2 * 8 * 64 * 2 bytes; as much again while the 12 windows of 128 fill.
        ("gpt-oss-20b", 128, 49152),
        ("gpt-oss-20b", 129, 24576),
        ("mamba-2.8b", 1, 0),
    ],
)
def test_what_a_token_costs_at_a_length(model: str, tokens: int, expected: int) -> None:
    assert cache_function(load(model), CacheDtypes()).next_token_bytes(tokens) == expected
