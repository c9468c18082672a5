"""Every engine is whole: its record, its flags, its name on the command line, its evidence."""

import re
from typing import Any, get_type_hints

import pytest

import kvcalc
from kvcalc.api.serving import EngineWords
from kvcalc.cli.commands import commands_of
from kvcalc.cli.flags import every_flag
from kvcalc.deployment.answer import FitRequest
from kvcalc.deployment.hardware import find
from kvcalc.deployment.planner import Planner
from kvcalc.engines import ENGINES, engine_of
from kvcalc.engines.flags import flags_of, option_of
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import load
from tests.engines import accuracy

every_engine = pytest.mark.parametrize("name", ENGINES)


@every_engine
def test_its_record_is_whole(name: str) -> None:
    record = engine_of(name)
    assert record.name == name
    assert (record.accounting is None) is not (record.hold is None), "tensors, or blocks"
    assert (record.admission is None) == (record.takes is None), "what fit asks"
    assert record.takes is None or record.share is not None


@every_engine
def test_it_is_held_to_figures_that_its_logs_print(name: str) -> None:
    record = engine_of(name)
    if record.capacity is not None:
        page = accuracy.PAGE.read_text("utf-8")
        assert f"\n## {record.words}\n" in page, "rows for it in tests/engines/accuracy.py"


def test_capacity_has_an_option_for_every_flag() -> None:
    command: Any = commands_of(("capacity",))["capacity"]
    offered = {option for parameter in command.params for option in parameter.opts}
    assert {option_of(word) for word in every_flag()} <= offered


def test_the_library_has_a_word_for_every_flag() -> None:
    words = set(get_type_hints(EngineWords)) | {"memory_utilization"}
    assert set(every_flag()) <= words, "kvcalc.api.serving.EngineWords"


@every_engine
def test_a_flag_that_it_has_not_is_refused_by_name(name: str) -> None:
    record = engine_of(name)
    foreign = next(word for word in every_flag() if word not in flags_of(record.flags))
    with pytest.raises(UsageError, match=f"has no {option_of(foreign)}"):
        record.flags.of(record.words, {foreign: 1})


def test_an_engine_whose_overheads_nobody_measured_is_refused_by_name() -> None:
    request = FitRequest(workload=Workload(context_tokens=0), engine="llama.cpp")
    with pytest.raises(KvcalcError, match=r"llama\.cpp: .* give --available"):
        Planner(load("llama-3-8b")).memory(find("h100"), request)


def test_a_release_that_nobody_read_is_said() -> None:
    said = "vLLM 0.99 is newer than .*, the newest release that was read: its rules are taken"
    found = kvcalc.capacity("llama-3-8b", "vllm", available="9GiB", engine_version="0.99")
    assert any(re.match(said, each) for each in found.notes)
    fits = kvcalc.fit("llama-3-8b", "h100", engine_version="0.99")
    assert any(re.match(said, each) for each in fits.notes)
    for known in (None, "0.33.0", "0.10.2"):
        found = kvcalc.capacity("llama-3-8b", "vllm", available="9GiB", engine_version=known)
        assert "newer than" not in " ".join(found.notes)
