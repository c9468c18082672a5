"""No key that decides a tensor is passed over in silence: it is counted, or refused."""

import pytest

from tests.convert.passed_over import in_silence, table


@pytest.mark.parametrize("model_type", table()["rows"])
def test_what_transformers_builds_otherwise_is_counted_or_refused(model_type: str) -> None:
    silent = [row for row in table()["rows"][model_type] if in_silence(model_type, row)]
    assert silent == []
