"""The table of class defaults is that of transformers 5.23.0."""

import pytest

pytest.importorskip("transformers")

import transformers

from kvcalc.convert.hf import TRANSFORMERS
from tests.convert.class_defaults import FILE, class_defaults, text

pytestmark = [pytest.mark.hf, pytest.mark.filterwarnings("ignore")]


@pytest.mark.skipif(
    transformers.__version__ != TRANSFORMERS, reason="the table names one release of transformers"
)
def test_table_is_up_to_date() -> None:
    expected = class_defaults()
    again = "python -m tests.convert.class_defaults writes it again"
    assert FILE.read_text("utf-8") == text(expected), again
