"""What a change to a team's budgets and tolerances does: looser, stricter or neither."""

import pytest

from kvcalc.checks.budget_language import Policy
from kvcalc.checks.limits import budget_changes, policy_changes
from kvcalc.checks.policy import policy_of
from kvcalc.spec.model import Budget, Bytes, Tokens

LLAMA = "{models: llama-*, context: 32k, batch: 8, cache: 16GiB}"
SERVED = '{models: [serving/, "!tiny"], context: 32k, batch: 8, gpu: h100-80gb, engine: vllm}'


def policy(*budgets: str, more: str = "") -> Policy:
    loaded = policy_of(f"budgets: [{', '.join(budgets)}]\n{more}", "kvcalc.yaml")
    assert loaded.policy is not None, loaded.problems
    return loaded.policy


def effects(base: Policy, head: Policy) -> list[str]:
    """Every change as ``loosened budgets[0].batch``."""
    found = policy_changes(base, head, lambda _: (1, 1))
    return [f"{change.effect} {change.field}" for change in found]


@pytest.mark.parametrize(
    ("old", "new", "loosened", "tightened"),
    [
        ("16GiB", "17GiB", "loosened cache", "tightened cache"),
        ("32k", "16k", "loosened context", "tightened context"),
        ("batch: 8", "batch: 4", "loosened batch", "tightened batch"),
        ("batch: 8", "batch: 8, kv_dtype: fp8", "loosened kv_dtype", "tightened kv_dtype"),
        # Values of 34 bytes per 32 elements, not 64.
        ("batch: 8", "batch: 8, kv_dtype: bf16:q8_0", "loosened kv_dtype", "tightened kv_dtype"),
        ("batch: 8", "batch: 8, kv_dtype: fp16", "changed kv_dtype", "changed kv_dtype"),
        # Weights are no part of a cache.
        ("batch: 8", "batch: 8, dtype: fp8", "changed dtype", "changed dtype"),
        ("batch: 8", 'batch: 8, images: "3"', "tightened images", "loosened images"),
        ("llama-*", "llama-3-8b", "loosened models", "tightened models"),
        ("llama-*", "[llama-3*, llama-4*]", "loosened models", "tightened models"),
        ("llama-*", '["*", "!llama-3-8b"]', "loosened models", "loosened models"),
        ("llama-*", "qwen3-8b", "loosened models", "loosened models"),
        # A ? fits no letters of a pattern.
        ("llama-*", "llama-?b", "loosened models", "tightened models"),
        (", cache: 16GiB", ", cache: 16GiB, weights: 1GiB", "tightened weights", "loosened weights"),
    ],
)  # fmt: skip
def test_a_field_of_a_budget(old: str, new: str, loosened: str, tightened: str) -> None:
    base, head = policy(LLAMA), policy(LLAMA.replace(old, new))
    for sides, said in (((base, head), loosened), ((head, base), tightened)):
        word, name = said.split()
        assert effects(*sides) == [f"{word} budgets[0].{name}"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("h100-80gb", "h200", ["loosened gpu"]),
        ("h200", "h100-80gb", ["tightened gpu"]),
        (", engine: vllm", "", ["loosened engine"]),
        ("", ", engine: vllm", ["tightened engine"]),
        # Neither is stricter as a rule.
        ("vllm", "tensorrt-llm", ["changed engine"]),
        (", engine", ", tp: 2, engine", ["loosened tp"]),
        (", tp: 2", ", tp: 1", ["tightened tp"]),
        (", engine", ", memory_utilization: 0.95, engine", ["loosened memory_utilization"]),
        (", engine", ", memory_utilization: 0.9, engine", ["changed memory_utilization"]),
        (", engine", ", memory_utilization: 0.85, engine", ["tightened memory_utilization"]),
        # Of a bare size nothing goes to what an engine takes for itself.
        ("gpu: h100-80gb, engine: vllm", "gpu_memory: 60GiB",
         ["loosened gpu", "changed gpu_memory", "loosened engine"]),
        # An H100 of 80 GB shows 79.19 GiB.
        ("gpu: h100-80gb", "gpu_memory: 79GiB", ["tightened gpu", "tightened gpu_memory"]),
        ("gpu: h100-80gb", "gpu_memory: 80GiB", ["loosened gpu", "changed gpu_memory"]),
        (', "!tiny"', "", ["tightened models"]),
        ('"!tiny"', '"!t*"', ["loosened models"]),
        ("serving/", "./serving/*", ["changed models"]),
        ("serving/", "serving/a*", ["loosened models"]),
        ("serving/", "'*'", ["tightened models"]),
    ],
)  # fmt: skip
def test_a_budget_of_a_gpu(old: str, new: str, expected: list[str]) -> None:
    base = SERVED if old in SERVED and old else SERVED.replace(new, "")
    if old == "h200":
        base = SERVED.replace("h100-80gb", "h200")
    if old == ", tp: 2":
        base = SERVED.replace("engine", "tp: 2, engine")
    head = base.replace(old, new) if old else SERVED
    found = sorted(effects(policy(base), policy(head)))
    assert found == sorted(each.replace(" ", " budgets[0].") for each in expected)


def test_where_a_budget_stands_does_not_matter() -> None:
    other = "{models: qwen3-*, weights: 1GiB}"
    assert effects(policy(LLAMA, other), policy(other, LLAMA)) == []
    assert effects(policy(LLAMA), policy(other, LLAMA)) == ["added budgets[0]"]
    assert effects(policy(LLAMA, other), policy(other)) == ["removed budgets[0]"]
    assert effects(policy(LLAMA, other), policy()) == ["removed budgets[0]", "removed budgets[1]"]


def test_a_budget_that_became_two_holds_on() -> None:
    both = "{models: [alpha, beta], context: 8k, cache: 1GiB, weights: 2GiB}"
    parts = (
        "{models: alpha, context: 8k, cache: 1GiB}",
        "{models: beta, context: 16k, cache: 1GiB}",
        '{models: "*", weights: 2GiB}',
    )
    found = effects(policy(both), policy(*parts))
    assert not any(each.startswith(("loosened", "removed")) for each in found)
    # And of two that are one again, the other is not missed.
    found = effects(policy(*parts[:2], both), policy(both.replace("8k", "16k"), parts[0]))
    assert not any(each.startswith(("loosened", "removed")) for each in found)
    # One of them less, and a limit is gone.
    assert "loosened budgets[0].weights" in effects(policy(both), policy(*parts[:2]))
    assert "loosened budgets[0].models" in effects(policy(both), policy(parts[0], parts[2]))


def test_the_budgets_of_a_spec() -> None:
    budget = Budget(context=Tokens(1024), cache=Bytes(1 << 20))
    (change,) = budget_changes((budget,), (), lambda _: (3, 1))
    assert (change.effect, change.line, change.head) == ("removed", 3, None)
    # A format that there is not is for 'kvcalc check'.
    odd = Budget(context=Tokens(1024), cache=Bytes(1 << 20), kv_dtype="bf61")
    (change,) = budget_changes((budget,), (odd,), lambda _: (3, 1))
    assert (change.field, change.effect) == ("budgets[0].kv_dtype", "changed")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{}", "{all: 1%}", ["loosened tolerances.all"]),
        ("{all: 1%}", "{}", ["tightened tolerances.all"]),
        ("{all: 1%}", "{all: 1MiB}", ["loosened tolerances.all"]),
        ("{all: 5%}", "{all: 5%, cache_bytes: 1%}", ["tightened tolerances.cache_bytes"]),
        # Without its own, the one for all holds, or that of the whole.
        ("{all: 5%, cache_bytes: 1%}", "{all: 5%}", ["loosened tolerances.cache_bytes"]),
        ("{cache_bytes: 5%, fixed_cache_bytes: 0%}", "{cache_bytes: 5%}",
         ["loosened tolerances.fixed_cache_bytes"]),
    ],
)  # fmt: skip
def test_tolerances(old: str, new: str, expected: list[str]) -> None:
    sides = [policy(more=f"tolerances: {each}\n") for each in (old, new)]
    assert effects(sides[0], sides[1]) == expected


def test_the_workload_is_no_limit() -> None:
    head = policy(more="workload: {context: 32k, kv_dtype: fp8}\n")
    assert effects(policy(), head) == ["changed workload.context", "changed workload.kv_dtype"]
