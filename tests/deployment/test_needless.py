"""What an engine does not read is refused: an answer without it is to another question."""

import pytest

import kvcalc
from kvcalc.convert.beside import Drafting
from kvcalc.deployment.everywhere import Everywhere
from kvcalc.deployment.hardware import find
from kvcalc.deployment.needless import about
from kvcalc.deployment.question import FitQuestion, fit_answer
from kvcalc.deployment.where import Where
from kvcalc.memory.workload import Asked
from tests.scratch import run

Capture = pytest.CaptureFixture[str]
SAME = ": without it the answer is the same"


@pytest.mark.parametrize(
    "option",
    ["--memory-utilization 0.5", "--max-num-seqs 8", "--max-num-batched-tokens 512", "--dp 2",
     "--expert-parallel", "--speculative-tokens 3", "--enforce-eager"],
)  # fmt: skip
@pytest.mark.parametrize("asked", ["--dtype q4_k_m", "--engine llama.cpp"])
def test_llama_cpp_has_no_options_of_a_server(asked: str, option: str, capsys: Capture) -> None:
    code, _, err = run(capsys, *f"fit mixtral-8x7b --gpu h100 {asked} {option}".split())
    assert code == 2
    assert f"llama.cpp has no {option.split()[0]}: leave it out" in err


@pytest.mark.parametrize("engine", ["sglang", "tensorrt-llm", "logical"])
def test_graphs_that_are_not_counted_are_said(engine: str, capsys: Capture) -> None:
    found = run(capsys, *f"fit qwen3-8b --gpu h100 --engine {engine} --enforce-eager".split())
    assert "--enforce-eager changes nothing here (CUDA graphs)" in found[1]
    (note,) = [one for one in kvcalc.fit("qwen3-8b", gpu="h100", engine=engine, eager=True).notes
               if "CUDA graphs" in one]  # fmt: skip
    assert note == "--enforce-eager changes nothing here (CUDA graphs)" + SAME


@pytest.mark.parametrize(
    ("line", "option", "about"),
    [
        ("qwen3-8b --gpu h100 --speculative-tokens 3", "--speculative-tokens", "draft tokens per step"),
        ("qwen3-30b-a3b --gpu h100 --expert-parallel", "--expert-parallel", "experts among ranks"),
        ("qwen3.5-4b --gpu h100 --speculative-tokens 2 --mtp-layers 1", "--mtp-layers",
         "layers that draft"),
        ("qwen2.5-vl-7b --gpu h100 --mm-encoder-tp-mode data", "--mm-encoder-tp-mode",
         "towers on tensor ranks"),
        ("mamba-2.8b --gpu h100 --context 3000", "--context", "no layer keeps more for more tokens"),
        ("bert-base-uncased --gpu h100 --batch 7", "--batch", "nothing is kept between steps"),
        ("qwen3-8b qwen3-0.6b --gpu h100 --state-dtype bf16", "--state-dtype",
         "number format of recurrent states"),
        ("qwen3-8b qwen3-0.6b --together --gpu h100 --state-dtype bf16", "--state-dtype",
         "number format of recurrent states"),
        ("qwen3-8b --gpu rtx-4090 --dtype q4_k_m --flash-attn on", "--flash-attn", "flash attention"),
        ("qwen3-8b --gpu rtx-4090 --dtype q4_k_m --swa-full", "--swa-full", "whole windows"),
        ("qwen3-8b --gpu rtx-4090 --dtype q4_k_m --kv-unified", "--kv-unified", "one stream"),
        ("qwen3-8b --gpu rtx-4090 --dtype q4_k_m --main-gpu 0", "--main-gpu",
         "the device with --split-mode none"),
        ("qwen3-8b --gpu rtx-4090 --dtype q4_k_m --imatrix", "--imatrix",
         "how llama.cpp's quantize mixes types"),
        ("qwen3-8b --ram 64GiB --dtype q4_k_m --no-kv-offload", "--no-kv-offload",
         "caches beside their layers"),
        ("glm-4.5 --ram 512GiB --dtype q4_k_m --cpu-moe", "--cpu-moe", "all experts in RAM"),
    ],
)  # fmt: skip
def test_fit_says_what_changes_nothing(line: str, option: str, about: str, capsys: Capture) -> None:
    said = f"{option} changes nothing here ({about}){SAME}"
    out = run(capsys, "fit", *line.split())[1]
    assert said in out
    assert out.count("changes nothing") == 1
    assert said in run(capsys, "fit", *line.split(), "--format", "json")[1]


def test_a_word_in_capitals_keeps_them() -> None:
    assert about("sglang", "mtp_layers").startswith("MTP layers")
    assert about("vllm", "kv_dtype").startswith("number format")


def test_on_every_device_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "kvcalc.deployment.everywhere.catalogue", lambda: [find("h100"), find("a100-40gb")]
    )
    found = fit_answer(FitQuestion(
        models=("qwen3-8b",), where=Where(every="all"), asked=Asked(),
        drafting=Drafting(speculative_tokens=3),
    ))  # fmt: skip
    assert isinstance(found, Everywhere)
    said = "--speculative-tokens changes nothing here (draft tokens per step)" + SAME
    assert [one.notes[-1] for one in found.each] == [said, said]


@pytest.mark.parametrize(
    "line",
    [
        "qwen3-30b-a3b --gpu h100 --tp 2 --expert-parallel",
        "qwen3-8b --gpu rtx-4090 --dtype iq3_xxs --imatrix",
        "gemma-3-1b --gpu rtx-4090 --dtype q4_k_m --swa-full",
        "qwen3-8b --gpu rtx-4090 --dtype q4_k_m --kv-unified --parallel 3",
        "qwen3.6-27b --gpu h100 --speculative-tokens 3",
        "qwen3-8b --gpu h100 --context 3000 --batch 7 --kv-dtype fp8 --max-num-seqs 9",
        "qwen3-8b qwen3.6-27b --gpu h200 --state-dtype bf16",
    ],
)
def test_what_changes_something_is_not_said(line: str, capsys: Capture) -> None:
    assert "changes nothing" not in run(capsys, "fit", *line.split())[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fit qwen3-8b --gpu h100 --engine logical --speculative-tokens 3", "name what drafts"),
        ("estimate qwen3-8b --engine vllm --workspace", "--workspace is of the table of the need"),
        ("fit qwen3-8b --ram 64GiB --split-mode none", "--split-mode none is of one device"),
        # It does not fit, and would not start either.
        ("fit glm-4.5 --gpu m3-max-64gb --engine mlx --kv-dtype fp8", "--kv-dtype fp8: mlx-lm keeps"),
        ("fit glm-4.5 --gpu m3-max-64gb --engine mlx --speculative-tokens 3", "--speculative-tokens"),
    ],
)  # fmt: skip
def test_what_says_nothing_is_refused(line: str, said: str, capsys: Capture) -> None:
    code, _, err = run(capsys, *line.split())
    assert (code, said in err) == (2, True), err


def test_the_library_refuses_alike() -> None:
    with pytest.raises(kvcalc.UsageError, match=r"llama\.cpp has no --memory-utilization"):
        kvcalc.fit("qwen3-8b", gpu="h100", engine="llama.cpp", memory_utilization="0.5")


def test_equal_devices_may_be_listed_one_by_one(capsys: Capture) -> None:
    once = run(capsys, *["fit", "qwen3-8b", "--tp", "2", "--format", "json", "--gpu", "h100"])
    both = run(
        capsys,
        "fit",
        "qwen3-8b",
        "--gpu",
        "h100",
        *["--gpu", "h100", "--tp", "2", "--format", "json"],
    )
    assert both == once
    listed = run(capsys, *["fit", "qwen3-8b", *["--gpu", "h100"] * 2, "--format", "json"])
    assert listed == once
    assert run(capsys, *["capacity", "qwen3-8b", *["--gpu", "h100"] * 2]) == run(
        capsys, *["capacity", "qwen3-8b", "--gpu", "h100", "--tp", "2"]
    )
    code, _, err = run(capsys, *["fit", "qwen3-8b", "--gpu", "h100", "--gpu", "h100", "--tp", "4"])
    assert (code, "2 devices, and --tp and --pp say 4" in err) == (2, True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("--gpu h100", "--gpu decides nothing here: with --engine vllm or sglang it does"),
        ("--gpu h100 --engine llama.cpp", "--gpu decides nothing here"),
        (
            "--encoder-context 100",
            "--encoder-context decides nothing here: the model has no encoder",
        ),
        (
            "--state-dtype fp16",
            "--state-dtype decides nothing here: no layer keeps a recurrent state",
        ),
    ],
)
def test_an_estimate_says_what_decides_nothing(asked: str, said: str, capsys: Capture) -> None:
    assert said in run(capsys, "estimate", "qwen3-8b", *asked.split())[1]


@pytest.mark.parametrize(
    ("asked", "option", "about"),
    [
        ("--only language", "--only", "parts beside the language model"),
        ("--mtp-layers 0", "--mtp-layers", "layers that draft"),
        ("--engine vllm --speculative-tokens 3", "--speculative-tokens", "draft tokens per step"),
        ("--engine sglang --gpu h100", "--gpu", "kernels that decide formats and padding"),
        ("--engine all --only language", "--only", "parts beside the language model"),
        ("--dtype q4_k_m --imatrix", "--imatrix", "how llama.cpp's quantize mixes types"),
        ("--dtype q8_0 --output-tensor-type q8_0", "--output-tensor-type", "the output table"),
        ("--dtype q8_0 --token-embedding-type q8_0", "--token-embedding-type", "the token table"),
    ],
)
def test_an_estimate_says_what_changes_nothing(
    asked: str, option: str, about: str, capsys: Capture
) -> None:
    out = run(capsys, "estimate", "qwen3-8b", *asked.split())[1]
    assert f"{option} changes nothing here ({about}){SAME}" in out
    assert out.count("changes nothing") == 1


@pytest.mark.parametrize(
    "line",
    [
        "qwen2.5-vl-7b --only language",
        "qwen3.6-27b --engine vllm --speculative-tokens 3",
        "qwen3-8b --dtype iq3_xxs --imatrix",
        "qwen3-8b --dtype q4_k_m --output-tensor-type q8_0 --token-embedding-type q8_0",
        "qwen3-8b --tp 2 --kv-dtype fp8 --beams 2 --max-loras 2 --lora-rank 8",
    ],
)
def test_what_changes_an_estimate_is_not_said(line: str, capsys: Capture) -> None:
    assert "changes nothing" not in run(capsys, "estimate", *line.split())[1]


def test_draft_tokens_need_a_drafter_or_an_engine(capsys: Capture) -> None:
    code, _, err = run(capsys, *["estimate", "qwen3-8b", "--speculative-tokens", "3"])
    assert (code, "name what drafts" in err) == (2, True)
    assert (
        run(capsys, *["estimate", "qwen3-8b", "--speculative-tokens", "3", "--engine", "vllm"])[0]
        == 0
    )


def test_a_field_without_its_place_is_told_where_it_stands(capsys: Capture) -> None:
    code, _, err = run(capsys, *["compare", "qwen3-8b", "--set", "num_key_value_heads=4"])
    assert (code, "blocks.decoder.attention.num_key_value_heads" in err) == (2, True)


def test_sound_for_whisper_is_refused_with_what_it_has(capsys: Capture) -> None:
    code, _, err = run(capsys, *["estimate", "whisper-large-v3", "--audio", "30s"])
    assert (code, "its encoder is counted" in err) == (2, True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("estimate qwen3-8b --batch 99999999999999999", "more than any machine holds"),
        (
            "estimate qwen3-8b --lora-rank 8 --max-loras 99999999999",
            "max_loras 99999999999: at most",
        ),
        # llama.cpp v0.5.0, llama-context.cpp: n_seq_max must be <= 256.
        (
            "capacity qwen3-8b --engine llama.cpp --ctx-size 4096 --parallel 300",
            "at most 256 sequences",
        ),
        (
            "capacity qwen3-8b --engine llama.cpp --ctx-size 4096 --flash-attn maybe",
            "on, off, auto",
        ),
        ("fit qwen3-8b --gpu rtx-4090 --dtype q4_k_m --batch 300", "at most 256 sequences"),
        (
            "capacity qwen3-8b --engine vllm --available 9GiB --state-dtype banana",
            "is not a number format",
        ),
        (
            "capacity qwen3-next-80b-a3b --engine sglang --available 9GiB --state-dtype banana",
            "is not a number format",
        ),
    ],
)
def test_numbers_beyond_reason(line: str, said: str, capsys: Capture) -> None:
    code, _, err = run(capsys, *line.split())
    assert (code, said in err) == (2, True)


def test_ranks_that_do_not_divide_the_query_heads_are_said(capsys: Capture) -> None:
    # TensorRT-LLM 1.2, _torch/modules/attention.py: num_heads % tp_size.
    line = "capacity qwen3-8b --engine tensorrt-llm --tokens 64 --tp"
    assert "does not start: 3 ranks" in run(capsys, *line.split(), "3")[1]
    assert "does not start" not in run(capsys, *line.split(), "4")[1]


def test_cells_that_a_model_keeps_nothing_in_are_said(capsys: Capture) -> None:
    line = "capacity mamba-2.8b --engine llama.cpp --ctx-size 5000 --gpu h100 --dtype q4_k_m"
    said = "--ctx-size changes nothing here (no layer keeps more for more tokens)" + SAME
    assert said in run(capsys, *line.split())[1]
    assert "changes nothing" not in run(capsys, *line.replace("mamba-2.8b", "qwen3-8b").split())[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("capacity qwen3-8b --engine llama.cpp --ctx-size 8192 --split-mode none",
         "--split-mode is of devices"),
        ("capacity qwen3-8b --engine llama.cpp --ctx-size 8192 --cpu-moe", "--cpu-moe is of devices"),
        # It does not fit, and mlx would not start so.
        ("fit gemma-3-1b qwen3-0.6b --together --engine mlx --gpu m3-max-64gb --pp 2", "among devices"),
    ],
)  # fmt: skip
def test_what_is_of_devices_is_named(line: str, said: str, capsys: Capture) -> None:
    code, _, err = run(capsys, *line.split())
    assert (code, said in err) == (2, True), err
