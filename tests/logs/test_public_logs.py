"""Logs that people posted: the right model, the right lines, and figures that agree or are explained."""

from typing import Any

import pytest

from tests.logs.observe import answered, figure, rows

ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"].removesuffix(".txt"))
def test_a_public_log_is_read_right(row: dict[str, Any]) -> None:
    answer = answered(row)
    assert (answer.engine, answer.model, answer.version) == (
        row["engine"],
        row["name"],
        row["version"],
    )
    assert [figure(each) for each in answer.observations] == row["observations"]
    if answer.disagrees:
        assert row["why"], "a figure that differs is explained"


def test_nothing_private_is_kept() -> None:
    from tests.logs.observe import FOLDER

    for file in FOLDER.glob("*.txt"):
        text = file.read_text("utf-8")
        assert "/home/" not in text
        assert "/Users/" not in text
        assert "@" not in text.replace("@0x", "")
