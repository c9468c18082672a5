"""Commands run as on a developer's machine, wherever the tests themselves run."""

import pytest


@pytest.fixture(autouse=True)
def outside_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    # COLUMNS is set where tests run side by side, and would fold tables.
    for name in ("GITHUB_ACTIONS", "GITHUB_WORKFLOW", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
