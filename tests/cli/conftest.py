"""Commands run as on a developer's machine, wherever the tests themselves run."""

import pytest


@pytest.fixture(autouse=True)
def outside_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITHUB_WORKFLOW"):
        monkeypatch.delenv(name, raising=False)
