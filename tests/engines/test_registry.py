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
from kvcalc.engines.workload import holding
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import load
from tests.engines import accuracy
from tests.engines.measured import ROOT, modules

README = ROOT / "README.md"

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
        assert f"\n## {record.words}\n" in page, (
            "section() of what measured it, or rows of its logs in tests/engines/accuracy.py"
        )


def test_the_readme_names_every_engine_whose_code_was_run() -> None:
    [row] = re.findall(
        r"^\| engines' own code, run here.*$", README.read_text("utf-8"), re.MULTILINE
    )
    missing = {name for name in modules() if engine_of(name).words not in row}
    assert missing == set(), f"its words in README.md, in the row {row[:40]}"


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
        Planner(load("llama-3-8b")).on(find("h100"), request).memory()


def test_a_release_that_nobody_read_is_said() -> None:
    said = "vLLM 0.99 is newer than .*, the newest release that was read: its rules are taken"
    found = kvcalc.capacity("llama-3-8b", "vllm", available="9GiB", engine_version="0.99")
    assert any(re.match(said, each) for each in found.notes)
    fits = kvcalc.fit("llama-3-8b", "h100", engine_version="0.99")
    assert any(re.match(said, each) for each in fits.notes)
    for known in (None, "0.33.0", "0.10.2"):
        found = kvcalc.capacity("llama-3-8b", "vllm", available="9GiB", engine_version=known)
        assert "newer than" not in " ".join(found.notes)


@pytest.mark.parametrize(
    ("engine", "version", "oldest"),
    [("vllm", "0.0.1", "0.1.7"), ("sglang", "0.2", "0.3.0"), ("tensorrt-llm", "0.7", "0.8"),
     ("tensorrt-llm", "0.1", "0.8")],
)  # fmt: skip
def test_a_release_older_than_those_that_were_read_is_refused(
    engine: str, version: str, oldest: str
) -> None:
    for ask in (
        lambda: kvcalc.capacity("llama-3-8b", engine, available="9GiB", engine_version=version),
        lambda: holding(engine, load("llama-3-8b"), Workload(context_tokens=512), None, version),
    ):
        with pytest.raises(UsageError, match=f"{re.escape(oldest)} is the oldest release"):
            ask()
    found = kvcalc.capacity("llama-3-8b", engine, available="9GiB", engine_version=oldest)
    assert (found.pool.tokens or 0) > 60_000


def test_vllm_builds_without_tags_and_latents_of_its_first_engine_are_refused() -> None:
    with pytest.raises(UsageError, match="a source tree without tags"):
        kvcalc.capacity(
            "llama-3-8b", "vllm", available="9GiB", engine_version="0.1.dev20073+g8e685d198"
        )
    # 0.6.4 kept 192-wide keys of every head (ModelConfig.get_head_size), 0.7.3 aligned latents.
    with pytest.raises(UnsupportedError, match=r"latent attention before 0\.8"):
        kvcalc.capacity("deepseek-v2-lite", "vllm", available="9GiB", engine_version="0.7.3")


def test_llama_cpp_runs_at_most_256_sequences() -> None:
    said = r"--batch 257: llama\.cpp runs at most 256 sequences at once"
    for engine in ("llama.cpp", "ollama"):
        with pytest.raises(UsageError, match=said):
            holding(
                engine, load("llama-3-8b"), Workload(context_tokens=512, batch_size=257), None, None
            )
    most = Workload(context_tokens=512, batch_size=256)
    assert holding("llama.cpp", load("llama-3-8b"), most, None, None).shares


def test_replicas_and_divided_experts_are_not_silent_beside_a_memory() -> None:
    alone = kvcalc.capacity("qwen3-30b-a3b", "vllm", available="9GiB")
    four = kvcalc.capacity("qwen3-30b-a3b", "vllm", available="9GiB", data=4, expert=True)
    assert four.pool == alone.pool
    assert four.notes[-2:] == (
        "--dp 4: each replica has a pool of its own, and this is one's",
        "--expert-parallel divides weights, not a cache: of a stated memory it changes nothing",
    )
