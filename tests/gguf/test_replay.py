"""What llama.cpp's library made of every model, replayed from tests/gguf/quantised.txt.

``python -m tests.gguf.sweep`` writes that table from the library, and ``--replay`` compares all of it.
"""

import pytest

from tests.gguf import sweep

ROWS = {row.model: row for row in sweep.rows()}
RECIPES = [name for name, _ in sweep.recipes()]
# One model of each kind of exception is replayed whole: 8 experts, 70B, falcon, and the odd widths.
WHOLE = ("mixtral-8x7b", "llama-2-70b", "falcon-7b", "deepseek-v2-lite", "odd-3", "odd-7", "odd-9")


@pytest.mark.parametrize("model", WHOLE)
def test_every_type_is_the_librarys(model: str) -> None:
    assert sweep.differences(ROWS[model]) == []


def test_every_fourth_model_in_one_type_is_the_librarys() -> None:
    """Another recipe for each model; ``python -m tests.gguf.sweep --replay`` does all of all."""
    wrong = []
    for index, row in enumerate(list(ROWS.values())[::4]):
        wrong += sweep.differences(row, {RECIPES[index % len(RECIPES)]})
    assert wrong == []


def test_the_table_has_what_it_should() -> None:
    shipped = [name for name in ROWS if not name.startswith("odd-")]
    assert len(shipped) >= 240
    assert len(ROWS) - len(shipped) == sweep.ODD
    assert all(list(row.types) == RECIPES for row in ROWS.values())
