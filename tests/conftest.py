"""What holds for every test: one thread, and a garbage collector that leaves alone what stays."""

import gc
import os
from collections.abc import Iterator

import pytest

from tests.remembered import forget

# PyTorch's threads wait in loops: on tensors this small they take ten times the time that one does.
# Set before torch is imported, and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Set where tests run side by side; it would fold the tables that commands print.
os.environ.pop("COLUMNS", None)


def pytest_collection_finish() -> None:
    """Modules and ten thousand tests stay to the end: no later collection looks through them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _planted_formulas_are_asked(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that may plant a formula finds none remembered, and leaves none of its own."""
    plants = "monkeypatch" in request.fixturenames
    if plants:
        forget()
    yield
    if plants:
        forget()
