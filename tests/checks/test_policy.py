"""``kvcalc.yaml``: which specs its budgets are for, what they find, and what is wrong with it."""

from pathlib import Path

import pytest

from kvcalc.checks.run import check_paths
from tests.scratch import Scratch, small

# tests/scratch.py: 146240 parameters (292480 bytes in bf16), 512 bytes of cache a token.
EXPECT = "expect: {parameters: 146240}\n"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    """Two specs in serving/, one in research/."""
    scratch = Scratch(tmp_path).init()
    for path in ("serving/alpha", "serving/beta", "research/gamma"):
        scratch.write(f"{path}.yaml", small(path.partition("/")[2], more=EXPECT))
    monkeypatch.chdir(tmp_path)
    return scratch


def found(*paths: str, policy: str | None = None) -> list[str]:
    """Every problem as ``path:line CODE field: message``."""
    reports = check_paths([Path(path) for path in paths], Path(policy) if policy else None)
    return [
        f"{problem.path}:{problem.line} {problem.code} {problem.field}: {problem.message}"
        for report in reports
        for problem in report.problems
    ]


def over(path: str, message: str, limit: str = "cache", line: int = 8) -> str:
    return f"{path}.yaml:{line} KV401 kvcalc.yaml: budgets[0].{limit}: {message} (kvcalc.yaml:2)"


# 1024 * 512 = 524288, 24288 more than 500000, which hold 976 tokens (976 * 512 = 499712).
CACHE = (
    "524288 bytes (512.00 KiB) are needed, 24288 (23.72 KiB) more than the budget of 500000 (488.28 KiB); "
    "976 tokens fit, with 1 sequence"
)


@pytest.mark.parametrize(
    ("models", "held"),
    [
        ("alpha", ["serving/alpha"]),
        ('"*a"', ["research/gamma", "serving/alpha", "serving/beta"]),
        ("[alpha, gamma]", ["research/gamma", "serving/alpha"]),
        ("serving/*", ["serving/alpha", "serving/beta"]),
        ("serving/", ["serving/alpha", "serving/beta"]),
        ("./serving/b*", ["serving/beta"]),
        ("[serving/, alpha]", ["serving/alpha", "serving/beta"]),
        ('[serving/, "!alpha"]', ["serving/beta"]),
        ('["!serving/b*", "*"]', ["research/gamma", "serving/alpha"]),
    ],
)
def test_names_and_paths(scratch: Scratch, models: str, held: list[str]) -> None:
    policy = f"budgets:\n  - {{models: {models}, context: 1k, cache: 500000}}\n"
    scratch.write("kvcalc.yaml", policy)
    assert found(".") == [over(path, CACHE) for path in held]


def test_every_limit(scratch: Scratch) -> None:
    scratch.write(
        "kvcalc.yaml",
        "budgets:\n  - {models: alpha, context: 1k, batch: 2, weights: 292479, total: 1MB}\n",
    )
    assert found("serving/alpha.yaml") == [
        # Weights have no single cause; of the sum, the cache takes more (2 * 524288).
        over("serving/alpha", "292480 bytes (285.63 KiB) are needed, 1 (1 B) more than the budget "
             "of 292479 (285.62 KiB)", "weights", 7),
        over("serving/alpha", "1341056 bytes (1.28 MiB) are needed, 341056 (333.06 KiB) more than "
             "the budget of 1000000 (976.56 KiB); 690 tokens fit, with 2 sequences", "total"),
    ]  # fmt: skip


def test_memory_of_a_gpu(scratch: Scratch) -> None:
    budget = "budgets:\n  - {{models: alpha, context: 4k, gpu_memory: {}, tp: {}}}\n"
    # Whole: 292480 + 2097152 = 2389632 bytes.
    scratch.write("kvcalc.yaml", budget.format(2389632, 1))
    assert found("serving/alpha.yaml") == []
    scratch.write("kvcalc.yaml", budget.format(2389631, 1))
    assert found("serving/alpha.yaml") == [
        over("serving/alpha", "2389632 bytes (285.63 KiB of weights, 2.00 MiB of cache) are needed "
             "on the GPU, 1 (1 B) more than it has", "gpu_memory")
    ]  # fmt: skip
    # Halved by two ranks, but for the norms (5 * 64 weights): (292480 - 640) / 2 + 640 = 146560,
    # and half of the cache, 1048576.
    scratch.write("kvcalc.yaml", budget.format(146560 + 1048576, 2))
    assert found("serving/alpha.yaml") == []
    scratch.write("kvcalc.yaml", budget.format(146560 + 1048575, 2))
    assert found("serving/alpha.yaml") == [
        over("serving/alpha", "1195136 bytes (143.13 KiB of weights, 1.00 MiB of cache) are needed "
             "on each of 2 GPUs, 1 (1 B) more than it has", "gpu_memory")
    ]  # fmt: skip


def test_an_unknown_gpu(scratch: Scratch) -> None:
    scratch.write("kvcalc.yaml", "budgets: [{models: x, context: 1k, gpu: h105-80}]")
    (problem,) = found("serving")
    assert problem.startswith("kvcalc.yaml:1 KV402 budgets[0].gpu: no accelerator 'h105-80' ")


@pytest.fixture
def llama(scratch: Scratch) -> Scratch:
    scratch.ship("llama-3-8b")
    return scratch


def on_gpu(scratch: Scratch, budget: str) -> list[str]:
    policy = f"budgets:\n  - {{models: llama*, context: 32k, {budget}}}\n"
    scratch.write("kvcalc.yaml", policy)
    return found("serving/llama-3-8b.yaml")


# 131072 bytes a token (the model card's 8 KV heads of 128 in 32 layers, bf16): 32k tokens are 4 GiB.
# An H100 shows 79.19 GiB; 0.9 of it, less 14.96 GiB of weights and some GiB of vLLM's own, hold 13.
def test_a_gpu_by_name(llama: Scratch) -> None:
    assert on_gpu(llama, "batch: 13, gpu: h100-80gb") == []
    (problem,) = on_gpu(llama, "batch: 32, gpu: h100-80gb")
    assert problem.startswith(
        "serving/llama-3-8b.yaml:12 KV401 kvcalc.yaml: budgets[0].gpu: h100-80gb: 128.00 GiB of "
        "cache are needed and 53."
    )
    assert "14.96 GiB of weights" in problem
    assert problem.endswith(
        "; 13 of 32 sequences of 32k tokens fit; tp: 4 would do (kvcalc.yaml:2)"
    )
    assert on_gpu(llama, "batch: 32, gpu: h100-80gb, tp: 4") == []
    (problem,) = on_gpu(llama, "batch: 1, gpu: t4")
    # A T4 has 16 GB: half of the weights is too much beside what vLLM takes for itself.
    assert "leave nothing for the cache; tp: " in problem


@pytest.mark.parametrize(
    ("engine", "words"),
    [("engine: vllm", "vLLM"), ("engine: tensorrt-llm", "TensorRT-LLM"),
     ("engine: sglang, memory_utilization: 0.88", "SGLang")],
)  # fmt: skip
def test_a_gpu_under_an_engine(llama: Scratch, engine: str, words: str) -> None:
    assert on_gpu(llama, f"batch: 13, gpu: h100-80gb, {engine}") == []
    assert on_gpu(llama, f"batch: 26, kv_dtype: fp8, gpu: h100-80gb, {engine}") == []
    (problem,) = on_gpu(llama, f"batch: 32, gpu: h100-80gb, {engine}")
    assert problem.startswith(
        "serving/llama-3-8b.yaml:12 KV401 kvcalc.yaml: budgets[0].engine: "
        f"{words} on h100-80gb holds 13."
    )
    assert " sequences of 32k tokens, not 32, in the " in problem
    (problem,) = on_gpu(llama, f"batch: 1, gpu_memory: 10GiB, {engine}")
    assert problem.endswith(
        f"{words} on a GPU of 10.00 GiB: the weights leave nothing for the cache; tp: 4 would do "
        "(kvcalc.yaml:2)"
    )


def test_an_encoder_keeps_nothing(scratch: Scratch) -> None:
    scratch.ship("bert-base-uncased")
    policy = "budgets: [{models: bert*, context: 512, batch: 999, gpu: t4, engine: vllm}]\n"
    scratch.write("kvcalc.yaml", policy)
    assert found("serving/bert-base-uncased.yaml") == []


def test_an_engine_without_room_for_one_block(
    llama: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A block of 16 tokens takes 2 MiB; vLLM stops with less.
    from kvcalc.deployment.server import Server

    monkeypatch.setattr(Server, "room", [(1 << 20,) * 3])
    (problem,) = on_gpu(llama, "batch: 4, gpu: h100-80gb, engine: vllm")
    assert problem == over(
        "serving/llama-3-8b", "vLLM on h100-80gb holds 0.00 sequences of 32k tokens, not 4, in the "
        "1.00 MiB that weights and the engine leave", "engine", 12
    )  # fmt: skip


def test_what_an_engine_has_no_word_for(llama: Scratch) -> None:
    (problem,) = on_gpu(llama, "batch: 1, kv_dtype: q8_0, gpu: h100, engine: vllm")
    assert problem.startswith("serving/llama-3-8b.yaml:2 KV402 kvcalc.yaml: budgets[0]: ")


def test_limits_whatever_the_workload(scratch: Scratch) -> None:
    budget = "budgets:\n  - {{models: alpha, parameters: {}, cache_per_token: {}, kv_dtype: {}}}\n"
    scratch.write("kvcalc.yaml", budget.format(146240, "512B", "bf16"))
    assert found("serving/alpha.yaml") == []
    scratch.write("kvcalc.yaml", budget.format(146239, "0.25KiB", "fp8"))
    assert found("serving/alpha.yaml") == [
        over(
            "serving/alpha", "146240 (146.24 k), 1 more than the budget of 146239", "parameters", 7
        )
    ]
    scratch.write("kvcalc.yaml", budget.format(10**9, "511", "bf16"))
    assert found("serving/alpha.yaml") == [
        over("serving/alpha", "512 bytes (512 B) a token in bf16, 1 (1 B) more than the budget of "
             "511 (511 B)", "cache_per_token")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ("kv_dtype: bf61", "budgets[0].kv_dtype: 'bf61' is not a number format here "
         "(did you mean 'bf16'?)"),
        ("dtype: int4_g12", "budgets[0].dtype: 'int4_g12' is not a number format here "
         "(its groups: int4_g128, int4_g64, int4_g32)"),
    ],
)  # fmt: skip
def test_a_number_format_that_there_is_not(scratch: Scratch, budget: str, problem: str) -> None:
    # Once, where the policy says it, and not for each spec.
    scratch.write("kvcalc.yaml", f"budgets:\n  - {{models: '*', weights: 1MiB, {budget}}}\n")
    assert found(".") == [f"kvcalc.yaml:2 KV402 {problem}"]


def test_the_nearest_policy_holds(scratch: Scratch) -> None:
    scratch.write("kvcalc.yaml", "budgets:\n  - {models: '*', context: 1k, cache: 500000}\n")
    scratch.write("serving/kvcalc.yaml", "budgets:\n  - {models: '*', context: 1k, cache: 1MiB}\n")
    assert found(".") == [over("research/gamma", CACHE)]
    assert found("serving") == []
    # One that is named holds for all; its patterns of paths begin at its own folder.
    assert len(found(".", policy="kvcalc.yaml")) == 3
    assert found(".", policy="serving/kvcalc.yaml") == []


def test_a_policy_above_the_repository_is_another_teams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = Scratch(tmp_path)
    outer.write("kvcalc.yaml", "budgets:\n  - {models: '*', context: 1k, cache: 1}\n")
    inner = Scratch(tmp_path / "repository").init()
    inner.write("alpha.yaml", small("alpha", more=EXPECT))
    monkeypatch.chdir(inner.folder)
    assert found("alpha.yaml") == []
    inner.write("kvcalc.yaml", "budgets:\n  - {models: '*', context: 1k, cache: 1}\n")
    assert len(found("alpha.yaml")) == 1


def test_from_a_folder_below(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = "budgets:\n  - {models: serving/a*, context: 1k, cache: 500000}\n"
    scratch.write("kvcalc.yaml", policy)
    monkeypatch.chdir(scratch.folder / "serving")
    (problem,) = found(".")
    assert problem.startswith("alpha.yaml:8 KV401 kvcalc.yaml: budgets[0].cache: ")
    assert problem.endswith("(../kvcalc.yaml:2)")


def test_a_pattern_that_guards_nothing(scratch: Scratch) -> None:
    scratch.write(
        "kvcalc.yaml",
        "budgets:\n"
        "  - models: [servng/, alpha]\n"
        "    context: 1k\n"
        "    cache: 1MiB\n"
        "  - {models: zulu, weights: 1MiB}\n"
        "  - {models: llama-3-8b, weights: 1MiB}\n"
        "  - {models: gama, weights: 1MiB}\n",
    )
    missing = [
        "kvcalc.yaml:2 KV402 budgets[0].models[0]: no spec has a path like 'servng/'",
        "kvcalc.yaml:5 KV402 budgets[1].models: no spec has a name like 'zulu'",
        "kvcalc.yaml:6 KV402 budgets[2].models: no spec has a name like 'llama-3-8b' "
        "(kvcalc ships one; a budget is for the specs that are checked)",
        "kvcalc.yaml:7 KV402 budgets[3].models: no spec has a name like 'gama' "
        "(did you mean 'gamma'?)",
    ]
    # All that the policy governs counts, and not what is checked this time, as pre-commit does it.
    for paths in (".", "serving", "serving/beta.yaml", "kvcalc.yaml"):
        assert found(paths) == missing
    scratch.write("kvcalc.yaml", "budgets: [{models: [research/, gamma], weights: 1MiB}]\n")
    assert found("serving") == []
    # A nearer policy governs what is below it.
    scratch.write("research/kvcalc.yaml", "budgets: []\n")
    for paths in (".", "serving"):
        assert [problem.split(" ", 1)[1] for problem in found(paths)] == [
            "KV402 budgets[0].models[0]: no spec has a path like 'research/'",
            "KV402 budgets[0].models[1]: no spec has a name like 'gamma'",
        ]


def test_a_chosen_policy_is_for_the_repository(scratch: Scratch) -> None:
    scratch.write("ci/strict.yaml", "budgets: [{models: [gamma, delta], weights: 1MiB}]\n")
    scratch.write("research/odd/config.json", '{"model_type": "llama"}\n')
    (problem,) = found("serving", policy="ci/strict.yaml")
    assert "no spec has a name like 'delta'" in problem
    scratch.write("ci/strict.yaml", "budgets: [{models: [gamma, odd], weights: 1MiB}]\n")
    assert found("serving", policy="ci/strict.yaml") == []


def test_a_broken_spec_is_not_missing(scratch: Scratch) -> None:
    scratch.write("kvcalc.yaml", "budgets:\n  - {models: [alpha, serving/a*], weights: 1MiB}\n")
    scratch.edit("serving/alpha.yaml", "repeat", "repeet")
    assert [problem.split()[1] for problem in found(".")] == ["KV102"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("budget: []", "1 KV102 budget: unknown key 'budget' (did you mean 'budgets'?)"),
        ("budgets: [{weights: 1GiB}]", "1 KV103 budgets[0].models: required and missing"),
        ("budgets: [{models: x, weights: 80G}]",
         "1 KV104 budgets[0].weights: '80G' is ambiguous: write GiB (binary) or GB"),
        ("budgets: [{models: x, context: 1k}]",
         "1 KV402 budgets[0]: say what may not be exceeded: cache, weights, total, parameters, "
         "cache_per_token, gpu or gpu_memory"),
        ("budgets: [{models: x, cache: 1GiB}]", "1 KV402 budgets[0]: say how many tokens: context"),
        ("budgets: [{models: [], weights: 1GiB}]",
         "1 KV402 budgets[0].models: say which models: a name or a pattern"),
        ("budgets: [{models: '!x', weights: 1GiB}]",
         "1 KV402 budgets[0].models: say which models: a name or a pattern"),
        ("budgets: [{models: x, context: 1, cache: 1GiB, tp: 2}]",
         "1 KV402 budgets[0]: engine, tp and pp are about GPUs: give gpu or gpu_memory, too"),
        ("budgets: [{models: x, context: 1k, gpu: h100, gpu_memory: 80GiB}]",
         "1 KV402 budgets[0]: give gpu or gpu_memory, not both"),
        ("budgets: [{models: x, context: 1k, gpu_memory: 80GiB, memory_utilization: 0.5}]",
         "1 KV402 budgets[0]: memory_utilization is an engine's: give gpu or engine, too"),
        ("budgets: [{models: x, weights: 1GiB, memory_utilization: 0.5}]",
         "1 KV402 budgets[0]: memory_utilization is an engine's: give gpu or engine, too"),
        ("budgets: [{models: x, context: 1k, gpu: h100, memory_utilization: 0.0}]",
         "1 KV402 budgets[0]: memory_utilization is above 0"),
        ("budgets: [{models: x, encoder_context: 1k, gpu: h100, engine: vllm}]",
         "1 KV402 budgets[0]: say how many tokens: context"),
        ("budgets: [{models: x, context: 1k, gpu: h100, engine: vlm}]",
         "1 KV402 budgets[0].engine: 'vlm' is none of: logical, vllm, sglang, tensorrt-llm, mlx "
         "(did you mean 'vllm'?)"),
        ("tolerances: {weights: 1%}",
         "1 KV104 tolerances.weights: tolerance: no quantity 'weights' "
         "(did you mean 'weight_bytes'?)"),
        ("tolerances: {all: 1 percent}",
         "1 KV104 tolerances.all: tolerance of all: '1 percent' is not a size: "
         "write 80GiB, 80GB or a number of bytes"),
        ("tolerances: {all: 1.2.3%}",
         "1 KV104 tolerances.all: tolerance of all: '1.2.3%' is not a percentage: "
         "write 1% or 0.5%"),
        ("[]", "1 KV101 : a spec is a mapping of keys to values"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_policy(scratch: Scratch, text: str, problem: str) -> None:
    scratch.write("kvcalc.yaml", text)
    # Whether it is named, found in a folder or found upward.
    for path in ("kvcalc.yaml", "serving/alpha.yaml", "serving"):
        assert found(path) == [f"kvcalc.yaml:{problem}"]


def test_a_policy_that_is_no_text(scratch: Scratch) -> None:
    (scratch.folder / "kvcalc.yaml").write_bytes(b"\xff\xfe")
    assert found("serving") == ["kvcalc.yaml:1 KV101 : not UTF-8 (byte 0xff)"]


def test_a_policy_is_no_spec(scratch: Scratch) -> None:
    scratch.write("kvcalc.yaml", "budgets: []\n")
    reports = check_paths([Path()])
    assert [(report.path, report.is_policy) for report in reports] == [
        ("research/gamma.yaml", False),
        ("serving/alpha.yaml", False),
        ("serving/beta.yaml", False),
        ("kvcalc.yaml", True),
    ]


def test_a_field_that_decides_nothing_is_a_warning(scratch: Scratch) -> None:
    scratch.write(
        "kvcalc.yaml",
        "budgets:\n"
        '  - {models: "*", context: 1k, weights: 1GiB, parameters: 200000}\n'
        '  - {models: "*", context: 1k, kv_dtype: fp8, cache: 1GiB}\n',
    )
    assert found(".") == [
        "kvcalc.yaml:2 KV403 budgets[0].context: decides nothing of weights and parameters: leave it out"
    ]
