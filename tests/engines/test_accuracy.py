"""The accuracy page says what the tests replay, and is written from nothing else."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import accuracy
import pytest

pytestmark = pytest.mark.slow


def test_the_page_is_what_the_rows_say() -> None:
    again = "python -m tests.engines.accuracy writes it again"
    assert accuracy.PAGE.read_text("utf-8") == accuracy.render(), again


def test_no_row_is_a_miss() -> None:
    page = accuracy.PAGE.read_text("utf-8")
    assert "| MISS |" not in page
    # What does not agree is named with its reason, below the rows.
    assert page.count("### Not reproduced, and why") >= 2
    assert "vllm-003" in page
    assert re.search(r"\| vLLM \| \d{2,} \|", page)


def test_the_picture_of_the_readme_has_every_figure() -> None:
    from tests.engines import picture

    again = "python -m tests.engines.picture writes it again"
    assert picture.FILE.read_text("utf-8") == picture.text(), again
