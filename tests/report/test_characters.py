"""``compare --chart``: the plots in characters."""

import pytest

from kvcalc.deployment.curves import picture
from kvcalc.memory.grid import Variant
from kvcalc.report.drawings import characters as chart
from kvcalc.spec.catalog import load


def drawn(*names: str, contexts: tuple[int, ...] = (1024, 131072)) -> str:
    variants = [Variant(load(name)) for name in names]
    return chart.render(picture(variants, contexts=contexts, batch=1, kv_dtypes=["bf16"]))


@pytest.mark.parametrize(
    ("number", "level"),
    [(1, 0), (2, 1024), (3, 1623), (1023, 10238), (1024, 10240), (10**12, 40819)],
)
def test_the_logarithm_in_integers(number: int, level: int) -> None:
    # log2(3) = 1.58496, log2(1023) = 9.99859, log2(10^12) = 39.86314; 1024 parts an octave.
    assert chart.log2(number) == level


@pytest.mark.parametrize("number", [1, 2, 4, 4096, 131072, 1 << 40])
def test_powers_of_two_come_back(number: int) -> None:
    assert chart.power(chart.log2(number)) == number


def test_a_state_is_flat_and_a_cache_rises() -> None:
    lines = drawn("llama-3-8b", "mamba-2.8b").splitlines()
    # Lines of devices aside: their names hold letters, too.
    rows = [line for line in lines if "│" in line and "┈" not in line]
    flat = [row for row in rows if "b" in row.split("│")[1][:64]]
    assert len(flat) == 1
    assert flat[0].split("│")[1].count("b") == 64
    rising = [row.split("│")[1].index("a") for row in rows if "a" in row.split("│")[1][:64]]
    assert rising == sorted(rising, reverse=True)
    assert len(rising) > 5


def test_nothing_is_wider_than_a_terminal_should_be() -> None:
    text = drawn("llama-3-8b", "gemma-3-27b", "deepseek-v3")
    assert max(map(len, text.splitlines())) <= 80
    assert "rtx-4090 23.64 GiB" in text


def test_bars_show_every_part_and_the_sum() -> None:
    text = drawn("llama-3-8b", "deepseek-v3")
    bars = text[text.index("where the memory goes") :]
    assert "llama-3-8b  ░█ 30.96 GiB" in bars
    assert "experts" in bars


def test_an_encoder_keeps_nothing() -> None:
    assert "none of these models keeps anything" in drawn("bert-base-uncased")
