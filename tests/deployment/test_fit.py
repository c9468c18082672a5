"""Fit: what is left, how far it goes, what helps; exit status 1 when it does not fit."""

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import kvcalc
from kvcalc.cli.app import main
from kvcalc.cli.fit import fit as command
from kvcalc.deployment.answer import Fit, FitRequest
from kvcalc.deployment.everywhere import everywhere
from kvcalc.deployment.fit import fit
from kvcalc.deployment.hardware import find, of_size
from kvcalc.deployment.parallelism import stage_caches, stages_of
from kvcalc.deployment.planner import Planner
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.gguf.model import gguf_model
from kvcalc.memory.asked_beside import Beside, Draft
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import load as spec_of
from kvcalc.spec.catalog import locate
from tests.gguf.headers import keys_of, write
from tests.scratch import run as said_by

GIB = 1 << 30


def of(**workload: Any) -> FitRequest:
    return FitRequest(workload=Workload(**workload))


def run(model: str, device: str = "h100", **request: Any) -> Fit:
    request.setdefault("context_tokens", 8192)
    return fit(Planner(locate(model).spec), find(device), of(**request))


def test_llama_3_8b_on_an_h100() -> None:
    """A request of 8192 tokens is 1 GiB; llm-d-planner's startup at 0.95 left 58.11 GiB, here 0.9.

    58.11 - 0.05 * 79.19 - 0.91 (graphs, subtracted since vLLM 0.21) is 53.24: 53 requests.
    """
    answer = run("llama-3.1-8b")
    assert answer.verdict == "fits"
    assert answer.largest_batch == 53
    assert answer.devices[0].free_least <= 53.24 * GIB <= answer.devices[0].free_most


def test_70b_does_not_fit_one_device_and_says_what_does() -> None:
    answer = run("llama-3-70b")
    assert (answer.verdict, answer.longest_context, answer.largest_batch) == ("does not fit", 0, 0)
    assert answer.fewest is not None
    assert answer.fewest.devices == 2
    assert "--pp 2" in [change.what for change in answer.changes]


def test_the_fewest_devices_may_be_three() -> None:
    """Qwen3-32B's 61.03 GiB divide over 64 layers into stages of 21, 22 and 21 (vLLM's get_pp_indices):
    20.53, 19.99 and 20.53 GiB of the 28.22 GiB that it may use of an RTX 5090. Two are too few; four
    were the answer while ranks were powers of two alone. 64 heads are not divided by 3."""
    answer = run("qwen3-32b", "rtx-5090")
    assert answer.fewest == Layout(1, 3)
    assert [change.what for change in answer.changes][-1] == "--pp 3"


def test_changes_go_from_cheap_to_dear() -> None:
    answer = run("llama-3-70b", layout=Layout(4), context_tokens=32768, batch_size=16)
    step = "--max-num-batched-tokens 2048 --max-num-seqs 16"
    assert [change.what for change in answer.changes] == [
        f"--memory-utilization 0.95 {step} --enforce-eager", "--kv-dtype fp8", "--dtype fp8",
        f"--tp 1 --pp 4 --memory-utilization 0.95 {step} --enforce-eager", "--tp 1 --pp 5",
    ]  # fmt: skip


def test_changes_are_combined_and_none_is_beaten_by_another() -> None:
    """Qwen3-32B on 24 GiB: no single change does it on one device."""
    answer = run("qwen3-32b", "rtx-4090", context_tokens=16384)
    assert [change.what for change in answer.changes] == [
        "--dtype int4_g128 --kv-dtype fp8 --memory-utilization 0.95",
        "--dtype int4_g128 --kv-dtype fp8 --enforce-eager",
        "--dtype fp8 --pp 2",
        "--tp 4",
    ]
    assert answer.changes[1].command == (
        "kvcalc fit qwen3-32b --gpu rtx-4090 --context 16k --dtype int4_g128 --kv-dtype fp8 "
        "--enforce-eager"
    )


def test_replicas_with_whole_experts_are_offered() -> None:
    """DeepSeek-V3's latents lie on every tensor rank, but each replica has its own requests."""
    answer = run("deepseek-v3", "h200", layout=Layout(8), context_tokens=4096, batch_size=256,
                 dtype="checkpoint")  # fmt: skip
    found = [change.what for change in answer.changes]
    assert found[:2] == ["--kv-dtype fp8", "--batch 147"]
    assert found[-2:] == ["--tp 4 --pp 2", "--tp 1 --dp 8 --expert-parallel"]


def test_the_logical_need_speaks_of_no_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(models=["qwen3-32b"], gpu="rtx-4090", engine="logical", context="16k") == 1
    shown = capsys.readouterr().out
    assert not re.search("vLLM|CUDA|overhead|carried over|band|utilization", shown)
    assert "--dtype int4_g128" in shown


def test_an_encoder_fits_what_its_weights_take() -> None:
    """bert-base-uncased keeps nothing of its tokens: memory of the weights alone is enough."""
    spec = locate("bert-base-uncased").spec
    request = FitRequest(workload=Workload(context_tokens=512), engine="logical")
    planner = Planner(spec)
    for short, verdict in ((0, "fits"), (1, "does not fit")):
        device = of_size(f"{planner.weight_bytes('bf16') - short}B")
        assert fit(planner, device, request).verdict == verdict


def test_the_longest_context_is_the_models_own_at_most() -> None:
    assert run("llama-3-8b").longest_context == 8192


def test_a_latent_cache_gains_nothing_from_tensor_parallelism() -> None:
    """deepseek-v3 in fp8: 8 ranks of TP each hold every latent, 8 replicas hold an eighth."""
    spec = locate("deepseek-v3").spec
    cache = CacheDtypes()
    tensor = stages_of(spec, "fp8", cache, Layout(8))[0]
    data = stages_of(spec, "fp8", cache, Layout(1, 1, 8, True))[0]
    for layout in (Layout(8), Layout(1, 1, 8, True)):
        assert stage_caches(spec, cache, layout)[0].most(1000) == 1000 * 70272
    # Whole experts over 8 ranks weigh what cut ones do; the rest of the weights is not divided.
    assert data.weight_bytes > tensor.weight_bytes


def test_pipeline_stages_hold_their_own_layers() -> None:
    spec = locate("llama-3-8b").spec
    stages = stages_of(spec, "bf16", CacheDtypes(), Layout(1, 2))
    assert [stage.layers for stage in stages] == [range(0, 16), range(16, 32)]
    caches = stage_caches(spec, CacheDtypes(), Layout(1, 2))
    assert [cache.most(8192) for cache in caches] == [GIB // 2, GIB // 2]


def test_experts_are_needed_for_expert_parallelism() -> None:
    with pytest.raises(UsageError, match="no routed experts"):
        run("llama-3-8b", layout=Layout(2, 1, 1, True))


def test_modules_that_draft_have_their_experts_among_all_ranks_too() -> None:
    spec = spec_of("deepseek-v3")
    # 16 of 256 experts of 3 * 7,168 * 2,048 bytes with 3 * 56 * 16 scales of 4; 440,468,704 beside.
    layout = Layout(data=16, expert=True)
    (stage,) = stages_of(
        spec, spec.own_dtype, CacheDtypes.parse("bf16"), layout, Beside(mtp_layers=1)
    )
    assert dict(stage.beside) == {"mtp": 16 * 44_050_944 + 440_468_704}


def test_a_mixture_that_drafts_has_its_experts_among_all_ranks_too() -> None:
    spec = spec_of("qwen3-30b-a3b")
    # Half of 28,991,029,248 parameters of experts, and the other 1,541,093,376.
    beside = Beside(draft=Draft(spec))
    (stage,) = stages_of(spec, "bf16", CacheDtypes.parse("bf16"), Layout(data=2), beside)
    assert dict(stage.beside) == {"draft": 2 * (28_991_029_248 // 2 + 1_541_093_376)}


def test_replicas_that_do_not_divide_an_expert_are_refused_by_its_name() -> None:
    spec = spec_of("qwen3-30b-a3b")
    with pytest.raises(UnsupportedError, match=r"gate_up_proj .*768 cannot be divided among 20"):
        stages_of(spec, "bf16", CacheDtypes.parse("bf16"), Layout(tensor=4, data=5))


@pytest.mark.parametrize(
    ("model", "engine", "gpu"),
    [("gpt-oss-120b", "vllm", "mi300x"), ("qwen3-vl-8b", "sglang", "h100-80gb")],
)
def test_a_device_among_all_has_the_answer_that_it_has_alone(
    model: str, engine: str, gpu: str
) -> None:
    spec = spec_of(model)
    request = FitRequest(
        workload=Workload(context_tokens=8192, dtype=spec.own_dtype), engine=engine
    )
    found = everywhere(Planner(spec), request, advise=False)
    among = next(each for each in found if each.device.name == gpu)
    alone = fit(Planner(spec), find(gpu), request, advise=False)
    assert among.devices == alone.devices
    assert among.largest_batch == alone.largest_batch


def test_ranks_that_do_not_divide_the_heads_are_refused() -> None:
    with pytest.raises(KvcalcError, match="3 ranks"):
        run("llama-3-8b", layout=Layout(3))


def changes(model: str, gpu: str, **flags: Any) -> list[str]:
    answer = fit(Planner(locate(model).spec), find(gpu), of(**flags))
    return [change.what for change in answer.changes]


def test_the_engines_own_flags_come_before_precision_and_devices() -> None:
    """gpt-oss-120b on one H100, two requests of 64k: 0.95 of the memory is enough, and so is what
    1024 rows of logits and their copies take (14 * 1024 * 201,088 bytes = 2.68 GiB).
    """
    found = changes("gpt-oss-120b", "h100", context_tokens=65536, batch_size=2, dtype="checkpoint")
    small = "--max-num-batched-tokens 2048 --max-num-seqs 16"
    assert found[:4] == ["--memory-utilization 0.95", small, "--enforce-eager", "--kv-dtype fp8"]


def test_pipeline_stages_where_tensor_ranks_do_not_fit() -> None:
    """Llama-3.1-70B in 4 bits on two RTX 3090: what NCCL takes with two ranks is what is missing."""
    found = changes("llama-3.1-70b", "rtx-3090", context_tokens=4096, dtype="int4_g128",
                    layout=Layout(2))  # fmt: skip
    assert "--tp 1 --pp 2 --enforce-eager" in found


def test_an_unlisted_device_by_its_memory() -> None:
    spec = locate("qwen3-0.6b").spec
    answer = fit(Planner(spec), of_size("16GiB"), of(context_tokens=1024))
    assert answer.verdict == "fits"


def test_memory_for_each_engine() -> None:
    """TensorRT-LLM counts what is free, SGLang does not count activations, vLLM counts all."""
    spec, request = locate("llama-3.1-8b").spec, of(context_tokens=0)
    vllm, sglang, tensorrt = (
        Planner(spec)
        .on(find("h100"), replace(request, engine=engine, utilization=Fraction(9, 10)))
        .memory()[0]
        for engine in ("vllm", "sglang", "tensorrt-llm")
    )
    assert vllm < sglang < tensorrt


@pytest.mark.parametrize(("gpu", "status"), [("h100", 0), ("rtx-3070", 1)])
def test_exit_status(gpu: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(models=["llama-3-8b"], gpu=[gpu], format="json") == status
    answer = json.loads(capsys.readouterr().out)
    assert answer["fits"] is (status == 0)
    assert answer["parallelism"]["devices"] == 1


@pytest.mark.parametrize("format", ["table", "json", "markdown"])
def test_all_accelerators(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(models=["llama-3-8b"], gpus="all", format=format) == 0
    assert "rtx-4090" in capsys.readouterr().out


def test_what_no_accelerator_runs_is_refused_for_the_models_own_reason() -> None:
    """Not for what the first of the catalogue lacks, a Titan V's compute capability of 7.0."""
    with pytest.raises(UnsupportedError, match="pooled over 4 tokens"):
        kvcalc.fit("glm-5.3-flash", gpus="all")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "--gpu NAME"),
        ({"gpu": ["h100"], "gpus": "all"}, "--gpu NAME"),
        ({"gpus": "some"}, "the only list"),
        ({"gpus": "2", "gpu": ["h100"]}, "the number of GPUs is --tp and --pp: --gpu h100 --tp 2"),
        ({"gpu": ["h100"], "memory_utilization": "1.5"}, "at most 1"),
        ({"gpu": ["h100"], "batch": 9, "max_num_seqs": 8}, "runs fewer at once"),
        ({"gpu": ["h100", "a100-80gb"]}, "the number of equal devices is --tp"),
        ({"gpu": ["h100", "h100"], "tp": 4}, "2 devices, and --tp and --pp say 4"),
        ({"gpu": ["h100", "h100"], "tp": 1}, "2 devices, and --tp and --pp say 1"),
        ({"gpu": ["h100"], "ram": "64GiB", "engine": "vllm"}, "vLLM has no --ram"),
        ({"engine": "llama.cpp", "dtype": "q8_0"}, "--gpu NAME"),
        ({"gpu": ["rtx-4090"] * 2, "engine": "llama.cpp", "tp": 3}, "2 devices are named"),
        ({"gpu": ["h100"], "engine": "llama.cpp", "dtype": "fp8"}, "say --dtype q4_k_m"),
        ({"gpu": ["h100"], "engine": "sglang", "max_num_batched_tokens": "2k"}, "says nothing"),
        ({"gpu": ["h100"], "engine": "vlm"}, "did you mean 'vllm'"),
    ],
)
def test_refusals(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        command(models=["llama-3-8b"], **flags)


def test_the_logical_need_is_weights_and_cache_and_nothing_else() -> None:
    """llama-3-8b: 16,060,522,496 bytes of weights and 1 GiB of cache for 8k tokens."""
    need = 16060522496 + GIB
    for memory, verdict in ((need, "fits"), (need - 1, "does not fit")):
        request = FitRequest(workload=Workload(context_tokens=8192), engine="logical")
        answer = fit(Planner(locate("llama-3-8b").spec), of_size(f"{memory}B"), request)
        assert answer.verdict == verdict
        assert answer.devices[0].overheads == ()


@pytest.mark.parametrize(
    ("engine", "gpu", "reason"),
    [
        ("vllm", "p100-16gb", "compute capability 7.0, and this has 6.0"),
        ("vllm", "tpu-v5e", "the plugin tpu-inference does"),
        ("vllm", "gaudi3", "the plugin vllm-gaudi does"),
        ("vllm", "ascend-910b", "the plugin vllm-ascend does"),
        ("vllm", "m3-max-64gb", "the plugin vllm-metal does"),
        ("vllm", "arc-b580", "its XPU build does"),
        ("vllm", "ram-64gb", "it is plain memory"),
        ("tensorrt-llm", "ram-64gb", "it is made for NVIDIA's"),
        ("vllm", "mi100", "MI200 and later"),
        ("vllm", "rx-6800-xt", "MI200 and later"),
        ("sglang", "v100-32gb", "compute capability 7.5, and this has 7.0"),
        ("tensorrt-llm", "mi300x", "it is made for NVIDIA's"),
        ("tensorrt-llm", "t4", "compute capability 8.0, and this has 7.5"),
    ],
)
def test_an_engine_that_does_not_run_on_a_device_says_so(
    engine: str, gpu: str, reason: str
) -> None:
    request = FitRequest(workload=Workload(context_tokens=1024), engine=engine)
    with pytest.raises(KvcalcError, match=f"does not run on {gpu}: .*{reason}"):
        fit(Planner(locate("qwen3-0.6b").spec), find(gpu), request)


def test_a_search_has_no_cap_that_it_states() -> None:
    """mamba-codestral-7b's states do not grow: any context fits that the model takes."""
    request = FitRequest(workload=Workload(context_tokens=4096), engine="logical")
    answer = fit(Planner(locate("mamba-codestral-7b").spec), find("a100-80gb"), request)
    assert answer.longest_context is None


def test_sglang_takes_a_share_of_its_own() -> None:
    """H100, 79.19 GiB: 8,192 tokens a step and 256 requests a graph, 58 lengths of a prefill:
    512 + 12,288 + 128 + 512 + 464 MiB of 81,091 are left out (0.5.23, memory_hook.py)."""
    request = FitRequest(workload=Workload(context_tokens=8192), engine="sglang")
    answer = fit(Planner(locate("llama-3.1-8b").spec), find("h100"), request)
    assert float(answer.share.of) == 0.829
    assert answer.share.note in answer.notes
    assert not any("vLLM chooses" in note for note in answer.notes)


def test_a_drafting_sglang_runs_48_or_as_many_as_it_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Three states a request, and one set of the drafts' states, of which SGLang 0.5.23 makes 48
    (speculative_hook.py; kv_cache_configurator.py, capped_reqs)."""
    line = "fit qwen3.5-35b-a3b --dtype fp8 --gpu h100 --tp 2 --context 32k --engine sglang"
    drafting = (*line.split(), "--speculative-tokens", "2", "--batch")
    status, out, _ = said_by(capsys, *drafting, "32")
    assert (status, "32k tokens           48 requests" in out) == (0, True)
    assert "whatever memory there is" not in out
    status, out, _ = said_by(capsys, *drafting, "60")
    assert status == 1
    assert "60 requests at once: where it drafts SGLang runs 48, whatever memory there is" in out
    assert said_by(capsys, *drafting, "60", "--max-num-seqs", "60")[0] == 0


def test_a_mac_has_its_memory_once(capsys: pytest.CaptureFixture[str]) -> None:
    """57.18 GiB of weights and 11 GiB of cache are more than 64 GiB, wherever they lie; half is not."""
    line = "fit gemma-4-31b --gpu m3-max-64gb --context 128k --dtype"
    for ram in ((), ("--ram", "64GiB"), ("--ram", "128GiB")):
        status, out, _ = said_by(capsys, *line.split(), "gguf-bf16", *ram)
        assert (status, "does not fit" in out) == (1, True), ram
        status, out, _ = said_by(capsys, *line.split(), "q8_0", *ram)
        assert (status, "the memory of m3-max-64gb is a part of the RAM" in out) == (0, True), ram


def test_llama_cpp_s_own_table_asks_whether_it_runs_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for asked in (
        ("fit", "qwen3-0.6b", "--gpu", "gaudi2", "--dtype", "q4_k_m"),
        ("fit", "qwen3-0.6b", "--gpu", "rtx-4090", "--gpu", "tpu-v5e", "--dtype", "q4_k_m"),
        ("capacity", "qwen3-0.6b", "--engine", "llama.cpp", "--gpu", "gaudi2", "--dtype", "q4_k_m"),
    ):
        status, _, err = said_by(capsys, *asked)
        assert (status, "llama.cpp does not run on" in err) == (2, True), asked


def test_a_model_on_a_card_and_ram_is_answered_file_by_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "fit qwen3-32b --gpu rtx-4090 --ram 64GiB --context 32k --format json"
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    found = json.loads(capsys.readouterr().out)
    assert stopped.value.code == 0
    files = {each["workload"]["dtype"]: each for each in found["files"]}
    sizes = [sum(d["model_bytes"] for d in each["devices"]) for each in files.values()]
    # Each smaller than the one before; llama.cpp's library reports 18.40 GiB of Q4_K_M.
    assert sizes == sorted(sizes, reverse=True)
    assert round(sizes[list(files).index("q4_k_m")] * 100 / 2**30) == 1840
    assert (found["whole"], found["widest"]) == ("q2_k", "gguf-bf16")
    assert files["q2_k"]["read_bytes_per_token"] == 0
    assert files["q3_k_m"]["read_bytes_per_token"] > 0


def test_a_gguf_file_is_llama_cpps(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = spec_of("llama-3.2-1b")
    file = gguf_model(spec)
    # The tensors are its source's, all in 16 bits: a file like any other.
    path = write(tmp_path / "model.gguf", file, keys_of(spec, file))
    with pytest.raises(SystemExit):
        main(["fit", str(path), "--gpu", "rtx-4090", "--format", "json"])
    assert json.loads(capsys.readouterr().out)["engine"]["name"] == "llama.cpp"
