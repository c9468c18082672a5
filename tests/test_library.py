"""``import kvcalc``: a caller's mistakes are KvcalcErrors that say what is wrong."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kvcalc

GPT2 = Path(__file__).parents[1] / "model_specs/gpt2/gpt2.yaml"


@pytest.mark.parametrize("model", ["llama-3-8b", kvcalc.load("llama-3-8b")], ids=["name", "spec"])
def test_a_model_is_a_name_or_a_spec(model: Any) -> None:
    # 2 * 32 layers * 8 KV heads * 128 * 2 bytes * 8,192 tokens.
    assert kvcalc.estimate(model, context_tokens="8k").cache.bytes == 1073741824
    assert kvcalc.cache_function(model, kvcalc.CacheDtypes()).at(8192) == 1073741824
    assert kvcalc.cache_function(model, "fp8").at(8192) == 536870912
    assert kvcalc.explain(model, context_tokens="8k").startswith("llama-3-8b: what one sequence")
    assert kvcalc.explain("mamba2").startswith("kind: mamba2\n")
    assert kvcalc.with_attention(model, "mha")[0].name == "llama-3-8b"


def test_a_spec_is_told_as_its_name_is() -> None:
    spec = kvcalc.load("llama-3-8b")
    assert kvcalc.estimate(spec).to_dict() == kvcalc.estimate("llama-3-8b").to_dict()


def test_a_model_is_a_path() -> None:
    assert kvcalc.estimate(GPT2).parameters.total == 124439808
    assert kvcalc.estimate(str(GPT2)).parameters.total == 124439808


def test_fit_and_capacity() -> None:
    found = kvcalc.fit("llama-3-8b", "h100-80gb", context_tokens="8k", batch_size=4)
    assert (found.verdict, found.model) == ("fits", "llama-3-8b")
    assert kvcalc.fit("llama-3-70b", "h100-80gb").verdict == "does not fit"
    # 20 GiB of blocks of 16 tokens, 131,072 bytes a token.
    pool = kvcalc.capacity("llama-3-8b", "vllm", available="20GiB", max_model_len="8k").pool
    assert (pool.num_blocks, pool.tokens) == (10240, 163840)


def test_the_words_of_the_release_before_count_and_warn() -> None:
    with pytest.warns(DeprecationWarning, match="tensor_parallel is now tensor"):
        old = kvcalc.estimate("llama-3-8b", tensor_parallel=2)  # type: ignore[call-arg]
    assert old == kvcalc.estimate("llama-3-8b", tensor=2)
    with pytest.warns(DeprecationWarning, match="tensor_ranks is now tensor"):
        assert kvcalc.cache_function("llama-3-8b", "fp8", tensor_ranks=2).at(8192) == 268435456
    assert kvcalc.estimate("llama-3-8b", old.workload).cache == old.cache
    with pytest.warns(DeprecationWarning, match="dp is now data"):
        spread = kvcalc.fit("llama-3-8b", "h100", dp=2, eager=True)  # type: ignore[call-arg]
    assert spread.request.layout.data == 2


def test_which_models_fit() -> None:
    found = kvcalc.which(["qwen3-14b", "qwen3-32b"], "rtx-4090", context_tokens="16k")
    assert [choice.best and choice.best.dtype for choice in found.choices] == ["fp8", None]
    assert found.to_dict()["models"][0]["best"]["longest_context"] == 26928
    assert found.rows()[0]["dtype"] == "fp8"
    mac = kvcalc.which("qwen3-32b", "m3-max-64gb", context_tokens="16k")
    assert mac.request.engine == "mlx"
    with pytest.raises(kvcalc.UsageError, match="say an accelerator"):
        kvcalc.which("qwen3-*")


def test_fit_and_capacity_ask_what_the_commands_ask() -> None:
    # Weights 16,060,522,496 bytes and 1 GiB of cache.
    asked = {"gpu_memory": 17134264320, "engine": "logical", "context_tokens": "8k"}
    assert kvcalc.fit("llama-3-8b", **asked).verdict == "fits"  # type: ignore[arg-type]
    found = kvcalc.fit(
        "llama-3-70b", "h100", engine="sglang", memory_utilization="0.85", tensor=4, data=2,
        eager=True, kv_dtype="fp8",
    )  # fmt: skip
    assert (found.request.layout.data, float(found.share.of)) == (2, 0.85)
    on_gpu = kvcalc.capacity("llama-3-8b", "vllm", gpu="h100", max_model_len="8k")
    assert (on_gpu.pool.available_bytes or 0) > 50 << 30


def test_requests_of_many_lengths(tmp_path: Path) -> None:
    file = tmp_path / "lengths.csv"
    file.write_text("length,count\n16,2\n33,1\n")
    # 131,072 bytes a token: 65 tokens, 80 in blocks of 16.
    answer = kvcalc.traffic("llama-3-8b", file)
    assert (answer.traffic.num_tokens, answer.model) == (65, "llama-3-8b")
    assert (answer.traffic.logical_bytes, answer.traffic.bytes) == (8519680, 10485760)
    assert answer.to_dict()["schema_version"] == 2


def test_the_grid_takes_names_and_lengths() -> None:
    rows = list(kvcalc.grid("llama-3-8b", contexts=["8k", 16384], batches=[1, 2]))
    assert [row.cache_bytes >> 30 for row in rows] == [1, 2, 2, 4]
    # 8,192 tokens of 32 layers in bf16: 32 heads of 128 keys and values, then one.
    rows = list(kvcalc.grid("llama-3-8b", attentions=["mha", "mqa"]))
    assert [(row.attention, row.cache_bytes) for row in rows] == [
        ("mha", 1 << 32),
        ("mqa", 1 << 27),
    ]
    change = "blocks.decoder.attention.num_key_value_heads=4"
    rows = list(kvcalc.grid("llama-3-8b", set_fields=[change]))
    assert [(row.attention, row.cache_bytes) for row in rows] == [
        ("gqa", 1 << 30), ("num_key_value_heads=4", 1 << 29),
    ]  # fmt: skip
    with pytest.raises(kvcalc.UsageError, match="at least one --context"):
        kvcalc.grid("llama-3-8b", contexts=[])


def test_check_and_diff(tmp_path: Path) -> None:
    (report,) = kvcalc.check(GPT2)
    assert not report.problems
    with pytest.raises(kvcalc.KvcalcError):
        kvcalc.diff("HEAD", tmp_path)


@pytest.mark.parametrize(
    ("answer", "command"),
    [
        (lambda: kvcalc.estimate("gpt2", context_tokens=512), "estimate gpt2 --context 512"),
        (
            lambda: kvcalc.fit("gpt2", "t4", context_tokens=512),
            "fit gpt2 --gpu t4 --context 512",
        ),
        (
            lambda: kvcalc.capacity("gpt2", available="1GiB"),
            "capacity gpt2 --available 1GiB",
        ),
    ],
)
def test_an_answer_shows_itself(
    answer: Callable[[], Any], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from kvcalc.cli.app import main

    with pytest.raises(SystemExit):
        main([*command.split(), "--format", "json"])
    printed, found = json.loads(capsys.readouterr().out), answer()
    shown = found.to_dict()
    for each in (printed, shown):
        each["model"].pop("spec", None) if isinstance(each["model"], dict) else None
    assert shown == printed
    rows = found.rows()
    assert rows
    assert all(row["model"] == "gpt2" for row in rows)
    assert "gpt2" in found._repr_html_()


# What the command line calls what the library calls otherwise.
SPELT = {"context_tokens": "context", "batch_size": "batch", "encoder_tokens": "encoder-context",
         "tensor": "tp", "pipeline": "pp", "data": "dp", "expert": "expert-parallel",
         "eager": "enforce-eager", "set_fields": "set"}  # fmt: skip


def line(function: str, model: str, words: dict[str, Any]) -> list[str]:
    """The command that asks what a function of the library is asked."""
    found = [function, model]
    for name, value in words.items():
        option = "--" + SPELT.get(name, name).replace("_", "-")
        several = value if isinstance(value, list) else [value]
        found += [
            word for one in several for word in ([option] if one is True else [option, str(one)])
        ]
    return found


@pytest.mark.parametrize(
    ("function", "model", "words"),
    [
        # Answers, one of each road.
        ("estimate", "llama-3-8b", {"context_tokens": "32k", "batch_size": 4, "tensor": 2}),
        ("estimate", "gemma-3-27b", {"images": 2, "only": "language"}),
        ("estimate", "llama-3-8b", {"engine": "transformers", "kv_dtype": "fp8"}),
        ("estimate", "gemma-3-27b", {"engine": "vllm", "engine_version": "0.20", "kv_dtype": "fp8_e4m3"}),
        ("estimate", "gpt-oss-20b", {"engine": "sglang", "gpu": ["h100", "h100"], "tensor": 2}),
        ("estimate", "llama-3-8b", {"engine": "all", "context_tokens": "8k"}),
        ("estimate", "llama-3-8b", {"attention": "mla:512", "dtype": "q8_0", "gpu": "h100"}),
        ("estimate", "llama-3-8b", {"set_fields": ["blocks.decoder.attention.num_key_value_heads=4"]}),
        ("estimate", "qwen3-8b", {"draft": "qwen3-0.6b", "speculative_tokens": 3, "engine": "vllm"}),
        ("estimate", "qwen3-8b", {"lora_rank": 16, "max_loras": 2, "engine": "vllm"}),
        ("fit", "llama-3-8b", {"gpu": "h100", "tensor": 2, "batch_size": 4, "kv_dtype": "fp8"}),
        ("fit", "llama-3-70b", {"gpu": "h100", "context_tokens": "32k"}),
        ("fit", "gemma-3-27b", {"gpu": "h200", "images": 2, "mm_processor_kwargs": '{"max_pixels": 9}'}),
        ("fit", "qwen2.5-vl-7b", {"gpu": "h200", "mm_processor_kwargs": '{"max_pixels": 1003520}'}),
        ("fit", "qwen3-8b", {"gpu": ["h100", "h100"], "lora_rank": 8, "max_loras": 2}),
        ("fit", "qwen3-8b", {"gpu": "h100", "engine": "sglang", "eager": True}),
        ("fit", "qwen3-0.6b", {"gpu": "rtx-4090", "dtype": "q4_k_m", "context_tokens": "8k"}),
        ("fit", "qwen3-0.6b", {"gpu": "rtx-4090", "ram": "8GiB", "n_gpu_layers": 4, "dtype": "q8_0"}),
        ("fit", "qwen3-0.6b", {"gpu": "rtx-3060-12gb", "ram": "16GiB", "context_tokens": "4k"}),
        ("fit", "qwen3-0.6b", {"gpu": "rtx-4090", "engine": "llama.cpp", "context_tokens": "4k"}),
        ("fit", "qwen3-8b", {"gpu": "m3-max-64gb", "context_tokens": "8k"}),
        ("capacity", "gemma-3-4b", {"gpu": "h100", "context_tokens": "8k", "memory_utilization": 0.8}),
        ("capacity", "qwen3-0.6b", {"engine": "llama.cpp", "gpu": "rtx-4090", "dtype": "q8_0",
                                    "ctx_size": 8192, "parallel": 2}),
        ("capacity", "qwen3-0.6b", {"engine": "lm-studio", "gpu": "rtx-4090", "ram": "8GiB"}),
        # Refusals.
        ("estimate", "llama-3-8b", {"speculative_tokens": 3}),
        ("estimate", "llama-3-8b", {"kv_dtype": "q9"}),
        ("estimate", "llama-3-8b", {"state_dtype": "q4"}),
        ("estimate", "llama-3-8b", {"dtype": "q4", "batch_size": 2}),
        ("estimate", "llama-3-8b", {"attention": "mqa:2"}),
        ("estimate", "llama-3-8b", {"engine_version": "0.20"}),
        ("estimate", "llama-3-8b", {"engine": "all", "engine_version": "0.20"}),
        ("estimate", "llama-3-8b", {"engine": "vllm", "gpu": ["h100", "rtx-4090"], "tensor": 2}),
        ("estimate", "llama-3-8b", {"set_fields": ["blocks.decoder.attention.heads=4"]}),
        ("estimate", "mamba-130m", {"attention": "mla"}),
        ("estimate", "qwen3-8b", {"engine": "transformers", "tensor": 2, "mtp_layers": 1}),
        ("fit", "qwen3-8b", {"gpu": "h100", "engine": "llama.cpp", "memory_utilization": 0.5}),
        ("fit", "qwen3-8b", {"gpu": "h100", "dtype": "q4_k_m", "data": 2}),
        ("fit", "qwen3-8b", {"gpu": "h100", "engine": "ollama", "lora_rank": 8, "max_loras": 1}),
        ("fit", "qwen3-8b", {"gpu": "rtx-4090", "dtype": "q8_0", "batch_size": 3, "parallel": 4}),
        ("fit", "qwen3-8b", {"ram": "64GiB", "dtype": "q8_0", "kv_dtype": "q8_0", "cache_type_k": "f16"}),
        ("fit", "qwen3-8b", {"gpu": "h100", "ram": "64GiB", "engine": "vllm"}),
        ("fit", "qwen3-8b", {"gpu": "h100", "engine": "logical", "max_num_batched_tokens": "8k"}),
        ("fit", "qwen3-8b", {"gpu": "h100", "batch_size": 64, "max_num_seqs": 8}),
        ("fit", "qwen3-8b", {"gpu": ["h100", "rtx-4090"]}),
        ("fit", "qwen3-8b", {"gpu": ["h100", "h100"], "tensor": 4}),
        ("fit", "qwen3-8b", {"gpu": "h100", "gpu_memory": "80GiB"}),
        ("fit", "gemma-3-27b", {"gpu": "h200", "images": 2, "language_model_only": True}),
        ("fit", "gemma-3-4b", {"gpu": "h100", "engine": "sglang", "limit_mm_per_prompt": '{"image": 1}'}),
        ("capacity", "qwen3-8b", {"gpu": "h100", "ram": "3GiB"}),
        ("capacity", "qwen3-8b", {"gpu": "h100", "context_tokens": "8k", "max_model_len": "8k"}),
        ("capacity", "qwen3-8b", {"engine": "llama.cpp", "draft": "qwen3-0.6b", "ctx_size": "8k"}),
        ("capacity", "qwen3-8b", {"engine": "llama.cpp", "gpu": "rtx-4090", "lora_rank": 8}),
        ("capacity", "qwen3-8b", {"gpu": ["h100", "rtx-4090"]}),
    ],
)  # fmt: skip
def test_the_library_answers_and_refuses_as_the_command_does(
    function: str, model: str, words: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from kvcalc.cli.app import main

    with pytest.raises(SystemExit):
        main([*line(function, model, words), "--format", "json"])
    printed = json.loads(capsys.readouterr().out)
    try:
        found = getattr(kvcalc, function)(model, **words).to_dict()
    except kvcalc.KvcalcError as error:
        found = {"schema_version": 2, "error": error.message}
        printed["error"] = printed["error"]["message"]
    assert found == printed


def test_the_library_asks_of_requests_what_the_command_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from kvcalc.cli.app import main

    file = tmp_path / "lengths.csv"
    file.write_text("prompt,output\n160,200\n330,100\n")
    asked = {"prefix_tokens": 64, "set_fields": ["blocks.decoder.attention.num_key_value_heads=4"]}
    found = kvcalc.traffic("llama-3-8b", file, **asked).to_dict()  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        main(["traffic", "llama-3-8b", "--lengths", str(file), "--shared-prefix", "64", "--set",
              "blocks.decoder.attention.num_key_value_heads=4", "--format", "json"])  # fmt: skip
    assert found == json.loads(capsys.readouterr().out)
    # 790 tokens of 65,536 bytes: half of the real model's.
    assert found["logical_bytes"] == 51_773_440
    kept = kvcalc.sessions("llama-3-8b", host="200GiB", context_tokens="32k", link=55, lengths=file)
    with pytest.raises(SystemExit):
        main(["tiers", "llama-3-8b", "--host", "200GiB", "--context", "32k", "--link", "55",
              "--lengths", str(file), "--format", "json"])  # fmt: skip
    assert kept.to_dict() == json.loads(capsys.readouterr().out)
    # 32,768 tokens of 131,072 bytes are 4 GiB.
    assert kept.tiers[0].sessions == 50
    with pytest.raises(kvcalc.UsageError, match="say how large that is"):
        kvcalc.sessions("llama-3-8b", host="200GiB", disk_link="2.5")
    with pytest.raises(kvcalc.UsageError, match="--images says nothing beside --lengths"):
        kvcalc.traffic("gemma-3-27b", file, images=1)  # type: ignore[arg-type]


def test_every_answer_of_the_library_is_exported() -> None:
    for name in ("Fit", "LocalFit", "LocalFiles", "CapacityResult", "CacheFunction", "Workload", "Layout",
                 "TrafficAnswer", "Diff", "Report", "Lengths", "EngineEstimate", "AllEngines"):  # fmt: skip
        assert name in kvcalc.__all__
    assert all(hasattr(kvcalc, name) for name in kvcalc.__all__)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: kvcalc.estimate("lama-3-8b"), "no model 'lama-3-8b'"),
        (lambda: kvcalc.estimate(None), "a model is a spec, a name or a path, not None"),  # type: ignore[arg-type]
        (lambda: kvcalc.estimate("gpt2", context_tokens="8q"), "context_tokens: "),
        (
            lambda: kvcalc.estimate("gpt2", context_tokens=1.5),  # type: ignore[arg-type]
            "context_tokens is a whole number or text such as '8k', not 1.5",
        ),
        (
            lambda: kvcalc.estimate("gpt2", batch_size="4"),  # type: ignore[arg-type]
            "batch_size is a whole number, not '4'",
        ),
        (
            lambda: kvcalc.estimate("gpt2", kv_dtype=16),  # type: ignore[arg-type]
            "kv_dtype is the name of a number format, such as 'bf16', not 16",
        ),
        (
            lambda: kvcalc.with_attention("gpt2", "xqa"),  # type: ignore[arg-type]
            "xqa: choose from mha, gqa, mqa, mla",
        ),
        (lambda: kvcalc.fit("gpt2", "abacus"), "abacus"),
        (
            lambda: kvcalc.capacity("gpt2", "v8"),
            "an engine is one of logical, transformers, vllm, ",
        ),
        (lambda: kvcalc.capacity("gpt2", "vllm", pages=1), "capacity has no pages; it takes "),
        (lambda: kvcalc.capacity("gpt2", "vllm", available="much"), "available: "),
        (
            lambda: kvcalc.capacity("gpt2", "vllm", max_num_seqs="x"),
            "max_num_seqs is a whole number, not 'x'",
        ),
        (
            lambda: kvcalc.capacity("gpt2", "vllm", block_size=0),
            "block_size must be at least 1, not 0",
        ),
        (lambda: kvcalc.estimate("gpt2", context_tokens=10**30), "at most 2^40"),
        (lambda: list(kvcalc.grid(contexts=["8k"])), "grid needs a model"),
        (lambda: list(kvcalc.grid("gpt2", contexts="8k")), "contexts is a list, not '8k'"),
        (lambda: list(kvcalc.grid("gpt2", by="size")), "by is 'cache' or 'total'"),
        (lambda: kvcalc.fit("gpt2"), "say an accelerator"),
        (lambda: kvcalc.fit("gpt2", "t4", gpus="all"), "--gpus all"),  # type: ignore[call-overload]
        (lambda: kvcalc.fit("gpt2", gpus="2"), "--gpus 2: the number"),  # type: ignore[call-overload]
        (lambda: kvcalc.fit(["gpt2", "opt-125m"], "t4"), "fit is of one model"),  # type: ignore[call-overload]
        (lambda: kvcalc.fit("gpt2", "t4", together=True), "name two"),
        (
            lambda: kvcalc.fit(["gpt2"] * 2, gpus="all", together=True),  # type: ignore[call-overload]
            "--together is of devices that are named",
        ),
        (lambda: kvcalc.fit("gpt2", "t4", memory_utilization=2), "is above 0 and at most 1"),
        (lambda: kvcalc.fit("gpt2", "t4", ranks=2), "fit has no ranks"),  # type: ignore[call-arg]
        (lambda: kvcalc.traffic("gpt2", "nowhere.csv"), "no such file: nowhere.csv"),
        (lambda: kvcalc.capacity("gpt2", gpu="t4", gpu_memory="8GiB"), "not both"),
        (lambda: kvcalc.check(), "name the specs to check"),
        (lambda: kvcalc.check(["a"]), "a path is text or a Path"),  # type: ignore[arg-type]
        (lambda: kvcalc.which(5, "t4"), "models are names, patterns"),  # type: ignore[arg-type]
        (lambda: kvcalc.estimate("gemma-3-27b", images=2.5), "images is a word or a list"),  # type: ignore[arg-type]
        (lambda: kvcalc.estimate("gpt2", context="8k"), "estimate has no context"),  # type: ignore[call-arg]
        (
            lambda: kvcalc.estimate("gpt2", kvcalc.estimate("gpt2").workload, beams=2),
            "give estimate a workload or its words (beams), not both",
        ),
        (lambda: kvcalc.estimate("gpt2", context_tokens=-1), "context_tokens must be at least 0"),
        (lambda: kvcalc.CacheDtypes.parse("zz"), "'zz' is not a number format here"),
        (lambda: kvcalc.cache_function("gpt2", "zz"), "'zz' is not a number format here"),
        (lambda: kvcalc.cache_function("gpt2", 8), "dtypes is a number format"),  # type: ignore[arg-type]
        (lambda: kvcalc.cache_function("gpt2", "fp8", 0), "tensor must be at least 1, not 0"),
        (lambda: kvcalc.cache_function("gpt2", "fp8").most(-5), "a token count cannot be negative"),
        (
            lambda: kvcalc.cache_function("deepseek-v4-flash", "bf16").most(-5),
            "a token count cannot be negative",
        ),
    ],
)
def test_mistakes_are_sentences(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(kvcalc.KvcalcError) as caught:
        call()
    assert said in str(caught.value)


def test_an_error_prints_its_problems() -> None:
    with pytest.raises(kvcalc.SpecError) as caught:
        kvcalc.load_spec_text("name: x\nd_model: 8\n", "x.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "x.yaml has 6 problems"
    assert (
        "  x.yaml:2:1 d_model: unknown key 'd_model' (did you mean 'hidden_size'?) [KV102]" in lines
    )
    assert caught.value.message == "x.yaml has 6 problems"


def test_a_model_is_named_by_any_path() -> None:
    with os.scandir(GPT2.parent) as entries:
        entry = next(each for each in entries if each.name == "gpt2.yaml")
    # 12 layers of 2 x 768 numbers of 2 bytes a token.
    assert kvcalc.load(entry).name == "gpt2"
    assert kvcalc.estimate(entry, context_tokens=1024).cache.bytes == 37_748_736
    assert kvcalc.fit(entry, "h100-80gb").fits


def test_the_files_of_a_checkpoint_are_what_its_weights_take(tmp_path: Path) -> None:
    """The same tensors stored in fp32, as a conversion may: 149,120 bytes in bf16, twice that here."""
    from tests.convert.safetensors_files import llama, model

    held = {name: ("F32", shape) for name, (_, shape) in llama().items()}
    folder = model(tmp_path, held)
    answer = kvcalc.estimate(folder)
    assert (answer.weight_bytes, answer.workload.dtype) == (298_240, "checkpoint")
    assert any("stores them: F32 298,240 bytes" in note for note in answer.assumptions)
    assert kvcalc.estimate(folder, dtype="bf16").weight_bytes == 149_120


def test_several_devices_are_named_in_the_library_as_on_the_command_line() -> None:
    answer = kvcalc.fit("qwen3-8b", "2x3090")
    assert isinstance(answer, kvcalc.Fit)
    assert (answer.device.name, answer.request.layout.tensor) == ("rtx-3090", 2)


def test_a_model_on_all_accelerators() -> None:
    """As the command lists them: an H100 and an RTX 3070 as test_fit has them alone."""
    found = kvcalc.fit("llama-3-8b", gpus="all", context_tokens="8k")
    assert isinstance(found, kvcalc.Everywhere)
    objects = found.to_dict()
    verdicts = [objects[name]["fits"] for name in ("h100-80gb", "rtx-3070")]
    assert found.fits
    assert verdicts == [True, False]
    alone = kvcalc.fit("llama-3-8b", "h100-80gb", context_tokens="8k").to_dict()
    among = objects["h100-80gb"]
    assert among["assumptions"][:-1] == alone["assumptions"]
    assert among | {"assumptions": []} == alone | {"assumptions": []}
    assert [row["device"] for row in found.rows()] == [one.device.name for one in found.each]
    assert "rtx-3070" in found._repr_html_()


def test_models_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    from kvcalc.cli.app import main

    names = ["qwen3-8b", "qwen3-embedding-0.6b"]
    found = kvcalc.fit(names, "rtx-4090", together=True, context_tokens="8k")
    assert isinstance(found, kvcalc.Together)
    assert [part.model for part in found.parts] == names
    line = "--together --gpu rtx-4090 --context 8k --format json"
    with pytest.raises(SystemExit):
        main(["fit", *names, *line.split()])
    assert found.to_dict() == json.loads(capsys.readouterr().out)


def test_a_whole_workload_is_heard_where_tensors_are_placed() -> None:
    """Its cache format is; what llama.cpp places by its own rules is refused, not left out."""

    def asked(**words: Any) -> Any:
        workload = kvcalc.estimate("qwen3-8b", context_tokens=32768, dtype="q8_0", **words).workload
        return kvcalc.fit("qwen3-8b", "rtx-4090", workload, engine="llama.cpp")

    # 36 layers, 2 * 8 heads * 128 of a token; q8_0 has 34 bytes for 32 numbers, f16 64.
    assert "--cache-type-k q8_0" in asked(kv_dtype="q8_0").to_dict()["command"]
    assert "--cache-type-k" not in asked().to_dict()["command"]
    with pytest.raises(kvcalc.UsageError, match="'fp8' is not a number format"):
        asked(kv_dtype="fp8")
    with pytest.raises(kvcalc.UsageError, match="say them word by word"):
        asked(draft="qwen3-0.6b")
    with pytest.raises(kvcalc.UsageError, match="no --beams"):
        kvcalc.fit("qwen3-8b", "rtx-4090", engine="llama.cpp", dtype="q8_0", beams=4)
