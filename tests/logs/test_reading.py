"""What is read of a log, however it was pasted; what cannot be asked about is said by its line."""

import json
from pathlib import Path

import pytest

from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.logs.answer import LogAnswer
from kvcalc.logs.lines import PIECE_BYTES
from kvcalc.logs.read import answer_of

# https://github.com/noonghunna/club-3090/issues/612
ARGS = (
    "(APIServer pid=1) INFO 07-06 22:50:34 [api_utils.py:273] non-default args: {'model_tag': "
    "'/cache/qwen3.6-35b-a3b-nvfp4', 'model': '/cache/qwen3.6-35b-a3b-nvfp4', 'dtype': 'bfloat16', "
    "'max_model_len': 131072, 'kv_cache_dtype': 'fp8', 'enable_prefix_caching': True, "
    "'max_num_batched_tokens': 8192, 'max_num_seqs': 1}"
)
ENGINE = (
    "(EngineCore pid=107) INFO 07-06 22:50:46 [core.py:114] Initializing a V1 LLM engine (v0.24.0) with "
    "config: model='/cache/qwen3.6-35b-a3b-nvfp4', speculative_config=None, dtype=torch.bfloat16, "
    "max_seq_len=131072, tensor_parallel_size=1, pipeline_parallel_size=1, kv_cache_dtype=fp8, "
)
FIGURES = (
    "(EngineCore pid=107) INFO 07-06 22:52:09 [gpu_worker.py:508] Available KV cache memory: 5.98 GiB",
    "(EngineCore pid=107) INFO 07-06 22:52:09 [kv_cache_utils.py:2146] GPU KV cache size: 567,978 tokens",
    "(EngineCore pid=107) INFO 07-06 22:52:09 [kv_cache_utils.py:2147] Maximum concurrency for 131,072 "
    "tokens per request: 4.33x",
)
LOG = (ARGS, ENGINE, *FIGURES)
LLAMA = (
    "vllm serve meta-llama/Llama-3.1-8B-Instruct --max-model-len 29000",
    "Memory profiling results: total_gpu_memory=23.58GiB initial_memory_usage=15.34GiB "
    "kv_cache_size=2.89GiB gpu_memory_utilization=0.90",
    "# GPU blocks: 1478, # CPU blocks: 2048",
    "Maximum concurrency for 29000 tokens per request: 0.82x",
)


def read(*lines: str, end: str = "\n", **asked: str) -> LogAnswer:
    text = end.join(lines).encode() + end.encode()
    return answer_of([text[at : at + 1000] for at in range(0, len(text), 1000)], **asked)


def figures(answer: LogAnswer) -> dict[str, object]:
    return {each.quantity: each.logged for each in answer.observations}


def docker(line: str) -> str:
    return json.dumps({"log": line + "\n", "stream": "stderr", "time": "2026-07-06T22:50:34Z"})


PASTED = {
    "as it is": lambda line: line,
    "quoted": lambda line: "> " + line,
    "colours": lambda line: f"\x1b[1;36m{line}\x1b[0;0m",
    "colours without their escapes": lambda line: f"[1;36m{line}[0;0m",
    "kubernetes": lambda line: f"[pod/vllm-0/server] 2026-07-06T22:50:34.123456789Z stderr F {line}",
    "journald": lambda line: f"Jul 06 22:50:34 box vllm[107]: {line}",
    "compose": lambda line: f"vllm-1  | {line}",
    "docker": docker,
}  # fmt: skip


@pytest.mark.parametrize("how", PASTED)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_log_is_read_however_it_was_pasted(how: str, end: str) -> None:
    answer = read("```", *map(PASTED[how], LOG), "```", end=end)
    assert (answer.model, answer.version) == ("qwen3.6-35b-a3b", "0.24.0")
    assert answer.flags["max_model_len"] == 131072
    assert figures(answer)["tokens"] == 567978
    assert [each.line for each in answer.observations] == [4, 5, 6]
    assert all(each.agrees for each in answer.observations)


def test_lines_that_a_terminal_broke_are_read_whole() -> None:
    broken = [FIGURES[1][:80], FIGURES[1][80:], FIGURES[2][:90], FIGURES[2][90:]]
    answer = read(ARGS, ENGINE, FIGURES[0], *broken)
    assert figures(answer)["tokens"] == 567978
    assert not answer.disagrees


def test_a_line_that_was_cut_is_not_a_smaller_number() -> None:
    answer = read(ARGS, ENGINE, FIGURES[0], FIGURES[1][:-9], FIGURES[2])
    assert "tokens" not in figures(answer)
    assert "line 4 is cut" in "; ".join(answer.notes)
    with pytest.raises(UsageError, match="line 3 is cut before its number ends"):
        read(ARGS, ENGINE, FIGURES[1][:-9])


def test_the_last_of_several_starts_is_answered() -> None:
    before = [line.replace("5.98 GiB", "4.00 GiB").replace("567,978", "379,941") for line in LOG]
    answer = read(*before, "INFO 200 OK", *LOG)
    assert [each.line for each in answer.observations] == [9, 10, 11]
    assert any("2 starts in this log" in note for note in answer.notes)


def test_two_models_in_one_log_are_told_by_their_lines() -> None:
    other = [line.replace("qwen3.6-35b-a3b-nvfp4", "Qwen3-8B") for line in LOG]
    with pytest.raises(UsageError, match=r"two models.*nvfp4 in line 2, /cache/Qwen3-8B in line 7"):
        read(*LOG, *other)
    assert read(*LOG, *other, model="qwen3.6-35b-a3b-nvfp4").disagrees is False


def test_two_engines_in_one_log() -> None:
    sglang = "[TP0] KV Cache is allocated. #tokens: 46611, K size: 1.42 GB, V size: 1.42 GB"
    with pytest.raises(UsageError, match="vLLM in line 3, SGLang in line 6; --engine"):
        read(*LOG, sglang)
    assert read(*LOG, sglang, engine="vllm").engine == "vllm"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("hello", "world"), "no line says what a cache took"),
        (("", "2024 text_generation_launcher: Args"), "line 2 is of text-generation-inference"),
        ((ENGINE,), "line 1 is of vLLM, and none says what its cache took"),
        (FIGURES, "does not say which model"),
        ((*(line.replace("qwen3.6-35b-a3b-nvfp4", "acme-1t") for line in LOG),),
         r"line 2 names the model '/cache/acme-1t', which no shipped spec is: give --model"),
        ((ARGS.replace("131072", "-3"), FIGURES[0]), "line 1: --max-model-len -3 is no number"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_about_is_said(lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(*lines)


def test_a_drafter_whose_layers_the_log_does_not_show() -> None:
    drafting = ARGS.replace("'max_num_seqs': 1", "'speculative_config': {'method': 'dflash', 'model': "
                            "'/cache/draft', 'num_speculative_tokens': 7}")  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"line 1: the layers of the drafter \(dflash\)"):
        read(drafting, *FIGURES)


def test_a_log_of_the_first_engine() -> None:
    """https://github.com/vllm-project/vllm/issues/10517: vLLM 0.6.4."""
    answer = read("vLLM Version: 0.6.4", *LLAMA)
    assert figures(answer) == {
        "available_bytes": 3103113871, "num_blocks": 1478, "cpu_blocks": 2048,
        "max_concurrency": answer.observations[3].logged,
    }  # fmt: skip
    assert not answer.disagrees
    assert "vLLM does not start" in answer.verdict[0]
    assert "--max-model-len 23648" in {each.change for each in answer.advice}


def test_what_the_log_does_not_say_is_assumed_by_name() -> None:
    answer = read(*LLAMA)
    assert not answer.disagrees
    assert any("0.8.5" in each or "the release" in each for each in answer.assumed)


def test_flags_of_the_command_line_hold_over_the_log() -> None:
    answer = read(*LOG, flags="--kv-cache-dtype auto")
    assert answer.disagrees
    with pytest.raises(UsageError, match="--max-model-len"):
        read(*LOG, flags="--host 0.0.0.0")


def test_the_memory_for_a_long_log_does_not_grow() -> None:
    """Lines of one kind are looked at once, and lines without an end are not kept."""
    line = (
        b'INFO [loggers.py:123] Engine 000: GPU KV cache usage: 12.3%, "POST /v1 HTTP/1.1" 200 OK\n'
    )

    def pieces():  # type: ignore[no-untyped-def]
        yield "\n".join(LOG).encode() + b"\n"
        for _ in range(12):
            yield line * (PIECE_BYTES // len(line))
        yield b"x" * (3 * PIECE_BYTES)

    assert not answer_of(pieces()).disagrees


def test_a_file_of_windows(tmp_path: Path) -> None:
    from kvcalc.logs.sources import pieces_of

    file = tmp_path / "log.txt"
    file.write_bytes("\n".join(LOG).encode("utf-16"))
    with pieces_of(str(file)) as pieces:
        assert not answer_of(pieces).disagrees


@pytest.mark.parametrize(
    "line",
    [
        "size = 1.00 MiB ( 1 cells, 1 layers, 1/1 seqs), " + "(a): 1 Mi " * 6000,
        "non-default args: {" + "'a': '" * 10000,
        "vllm serve x " + "--a '{" * 10000,
        "Load weight end. " + "type=a avail mem=" * 3500,
        "KV cache size: " + "[1;" * 20000,
        '{"log":"' + "\\" * 60000 + " KV cache size: ",
    ],
    ids=lambda line: line[:12],
)
def test_no_line_makes_an_expression_run_for_long(line: str) -> None:
    import time

    before = time.process_time()
    with pytest.raises(UsageError):
        read(line)
    assert time.process_time() - before < 1


@pytest.mark.parametrize(
    "line",
    [
        "Model loading took {} GiB and 3.5 seconds", "Maximum concurrency for {} tokens per request: 1.00x",
        "llama_kv_cache: size = {} MiB (  8192 cells,  32 layers,  1/1 seqs), K (f16):  512.00 MiB",
        "KV self size  = {} MiB, K (f16):  512.00 MiB, V (f16):  512.00 MiB",
    ],
)  # fmt: skip
def test_a_number_that_no_engine_prints_is_no_figure(line: str) -> None:
    """It was an internal error: 400 digits are beyond a float."""
    plain, hostile = (read(*LOG, more, engine="vllm") for more in ("", line.format("9" * 400)))
    assert hostile.observations == plain.observations
