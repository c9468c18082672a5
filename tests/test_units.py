"""Token counts and byte sizes as people write them."""

import pytest

from kvcalc import units
from kvcalc.units import format_bytes, format_count, format_tokens, parse_bytes, parse_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("8192", 8192), ("8k", 8192), ("128K", 131072), ("1m", 1048576), ("8_192", 8192), ("0", 0)],
)
def test_tokens(text: str, tokens: int) -> None:
    assert parse_tokens(text) == tokens


@pytest.mark.parametrize("text", ["", "k", "8.5k", "-1", "8kk", "08", "8g", "1e3", "9" * 30])
def test_not_tokens(text: str) -> None:
    with pytest.raises(ValueError, match="token"):
        parse_tokens(text)


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("80GiB", 85899345920),
        ("80GB", 80000000000),
        ("5.98GiB", 6420976107),  # 5.98 * 2^30 = 6420976107.52
        ("1073741824", 1073741824),
        ("512 MiB", 536870912),
        ("1kB", 1000),
        ("1KiB", 1024),
    ],
)
def test_bytes(text: str, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize("text", ["80G", "1.5", "GiB", "-1GiB", "80 gigs", "1e9", ""])
def test_not_bytes(text: str) -> None:
    with pytest.raises(ValueError, match=r"ambiguous|not a size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1073741824, "1.00 GiB"),
        (17134264320, "15.96 GiB"),
        (-1536, "-1.50 KiB"),
        (3 * 2**40, "3.00 TiB"),
    ],
)
def test_bytes_are_printed_in_binary_units(num_bytes: int, text: str) -> None:
    assert format_bytes(num_bytes) == text


def test_counts_and_tokens() -> None:
    assert format_count(8030261248) == "8.03 B"
    assert format_count(671026404352) == "671.03 B"
    assert format_count(999) == "999"
    assert (format_tokens(131072), format_tokens(1000), format_tokens(0)) == ("128k", "1000", "0")
    assert format_tokens(18964) == "18,964"


def test_a_logged_size_is_rounded_as_python_prints_it() -> None:
    """qwen3-8b, 40,960 tokens: vLLM prints "5.62 GiB KV cache is needed" of 6,039,797,760 bytes."""
    assert units.format_as_logged(6039797760) == "5.62 GiB"
    assert units.format_bytes(6039797760) == "5.63 GiB"
    assert units.format_as_logged(6039797761) == "5.63 GiB"
    for eighths in range(8, 80):
        assert units.format_as_logged(eighths << 27) == f"{eighths / 8:.2f} GiB"
