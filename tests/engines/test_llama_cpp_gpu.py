"""Public loads of llama.cpp on GPUs, replayed: the page of kvcalc/engines/llama_cpp is what they give."""

from collections import Counter
from dataclasses import replace

from tests.engines.llama_cpp_gpu import PAGE, checks, facts, page


def test_the_page_is_what_the_loads_give() -> None:
    assert PAGE.read_text("utf-8") == page(), "python -m tests.engines.llama_cpp_gpu"


def test_no_figure_is_off_and_files_caches_and_outputs_are_equal_to_the_digit() -> None:
    found = [check for row in facts() for check in checks(row)]
    assert not [check for check in found if check.verdict == "off"]
    verdicts = Counter(check.verdict for check in found if check.quantity.startswith("model"))
    assert verdicts == {"to the digit": 30, "explained": 1}
    for quantity, count in (("output", 51), ("states", 27), ("file", 10)):
        verdicts = Counter(check.verdict for check in found if check.quantity == quantity)
        assert verdicts["to the digit"] == count
        assert verdicts["explained"] == {"output": 3, "states": 0, "file": 1}[quantity]
    verdicts = Counter(check.verdict for check in found if check.quantity == "cache")
    assert verdicts == {"to the digit": 62, "explained": 1}


def test_every_public_thread_comes_out() -> None:
    threads = {row["source"] for row in facts() if row.get("thread")}
    assert len(threads) == 23
    for source in threads:
        rows = [row for row in facts() if row["source"] == source]
        verdicts = {check.verdict for row in rows for check in checks(row)}
        assert "to the digit" in verdicts or "14774" in source
        assert verdicts <= {"to the digit", "explained", "not predicted"}


def test_a_figure_that_is_one_digit_away_is_off_or_named() -> None:
    """The figures are compared as printed: 17.28 GiB is not 17.29 GiB."""
    file = next(check for row in facts() for check in checks(row) if check.quantity == "file")
    assert file.verdict == "to the digit"
    assert replace(file, printed=17.29).verdict != "to the digit"


def test_the_mixture_of_ollamas_own_qwen3_files_is_q4_k_m_with_f16_values() -> None:
    """attn_v of 36 layers, 4096 x 1024: 2 bytes each, where q4_k_m has q6_K and q4_K by halves."""
    row = next(row for row in facts() if row["source"].startswith("rjmalagon"))
    model = next(check for check in checks(row) if check.quantity == "model, device 0")
    wide = 36 * 4096 * 1024 * 2
    narrow = 18 * 4096 * 1024 * (210 + 144) // 256
    assert f"{(model.least + wide - narrow) / 2**20:.2f}" == "4643.78"
