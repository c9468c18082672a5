"""The page of model types is what the tests really cover."""

from tests.convert.evidence import FILE, text
from tests.convert.measured import NOT_RUN, NUM_DRAWS, UNBUILDABLE


def test_the_page_is_the_generated_one() -> None:
    expected = text(NOT_RUN, UNBUILDABLE, NUM_DRAWS)
    assert FILE.read_text("utf-8") == expected, "python -m tests.convert.evidence rewrites it"
