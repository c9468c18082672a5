"""Every engine is whole: its two functions, its flags, its name on the command line, its evidence."""

from dataclasses import fields
from importlib import import_module

import pytest

from kvcalc.cli.options import Engine
from kvcalc.deployment.fit import FitRequest, memory_for_cache
from kvcalc.deployment.hardware import find
from kvcalc.engines import ENGINES
from kvcalc.engines.request import CapacityRequest
from kvcalc.errors import UsageError
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import load
from tests.engines import accuracy

REQUEST = {field.name for field in fields(CapacityRequest)}
every_engine = pytest.mark.parametrize("engine", ENGINES)


@every_engine
def test_its_module_answers_both_questions(engine: str) -> None:
    module = import_module(ENGINES[engine][0])
    assert callable(module.capacity)
    assert callable(module.hold)
    assert set(module.FLAGS) <= REQUEST


def test_estimate_offers_them_all() -> None:
    offered = {engine.value for engine in Engine} - {"logical", "transformers", "all"}
    assert offered == set(ENGINES), "kvcalc.cli.options.Engine"


@every_engine
def test_it_is_held_to_figures_that_its_logs_print(engine: str) -> None:
    page = accuracy.PAGE.read_text("utf-8")
    assert f"\n## {ENGINES[engine][1]}\n" in page, "rows for it in tests/engines/accuracy.py"


def test_an_engine_whose_overheads_nobody_measured_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"new-engine: .* give --available"):
        memory_for_cache(
            load("llama-3-8b"),
            find("h100"),
            FitRequest(workload=Workload(context_tokens=0)),
            "new-engine",
        )
