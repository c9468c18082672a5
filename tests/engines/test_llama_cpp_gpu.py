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
    for quantity, count in (("output", 52), ("states", 28), ("file", 10)):
        verdicts = Counter(check.verdict for check in found if check.quantity == quantity)
        assert verdicts["to the digit"] == count
        assert verdicts["explained"] == {"output": 3, "states": 0, "file": 1}[quantity]
    verdicts = Counter(check.verdict for check in found if check.quantity == "cache")
    assert verdicts == {"to the digit": 63, "explained": 1}


def test_every_public_thread_comes_out() -> None:
    threads = {row["source"] for row in facts() if row.get("thread")}
    assert len(threads) == 24
    for source in threads:
        rows = [row for row in facts() if row["source"] == source]
        verdicts = {check.verdict for row in rows for check in checks(row)}
        assert "to the digit" in verdicts or "14774" in source
        assert verdicts <= {"to the digit", "explained", "not predicted", "in the band"}


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


def test_what_a_device_reserved_before_masks_were_f16_is_named() -> None:
    """Pull request 23764 says why: f32 masks on the device beside their f16 copy. At 1,048,576 cells
    they are 3,072 of 3,120 MiB; at 150,016 and 4,096 tokens every token's logits, 3,880 MiB, are more."""
    found = {}
    for row in facts():
        for check in checks(row):
            if check.quantity == "compute, device 0" and check.printed in (3120.28, 3976, 1982):
                found[check.printed] = (check.verdict, check.least >> 20, check.reason)
    masks = "masks in f32, and a copy in f16, before pull request 23764"
    assert found[3120.28] == ("in the band", 3072, masks)
    assert found[3976] == ("in the band", 3912, "a build that reserves the logits of every token")
    assert found[1982][0] == "in the band"
