"""Public loads of llama.cpp on GPUs, replayed: the page of kvcalc/engines/llama_cpp is what they give."""

from collections import Counter

from tests.engines.llama_cpp_gpu import PAGE, checks, facts, page


def test_the_page_is_what_the_loads_give() -> None:
    assert PAGE.read_text("utf-8") == page(), "python -m tests.engines.llama_cpp_gpu"


def test_no_figure_is_off_and_files_caches_and_outputs_are_equal_to_the_digit() -> None:
    found = [check for row in facts() for check in checks(row)]
    assert not [check for check in found if check.verdict == "off"]
    verdicts = Counter(check.verdict for check in found if check.quantity.startswith("model"))
    assert verdicts == {"to the digit": 17}
    for quantity, count in (("output", 45), ("states", 25)):
        verdicts = Counter(check.verdict for check in found if check.quantity == quantity)
        assert verdicts == {"to the digit": count}
    verdicts = Counter(check.verdict for check in found if check.quantity == "cache")
    assert verdicts == {"to the digit": 50, "explained": 1}
