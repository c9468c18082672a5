"""Weights as vLLM's classes allocate them: reasons, refusals, and the command that shows them."""

import json

import pytest

import kvcalc
from kvcalc.cli.app import main
from kvcalc.deployment.hardware import find
from kvcalc.engines.loaded import Loaded
from kvcalc.engines.vllm.loading import loaded
from kvcalc.errors import UnsupportedError
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import load


def held(name: str, layout: Layout, gpu: str | None = None, dtype: str | None = None) -> Loaded:
    spec = load(name)
    device = None if gpu is None else find(gpu)
    found = loaded(spec, dtype or spec.own_dtype, layout, None, device)
    assert isinstance(found, Loaded), found
    return found


# Built with vLLM 0.33.0's GptOssForCausalLM on the meta device, a platform that reports compute
# capability 9.0 (Triton's kernel), and 10.0 and 8.0 (TRT-LLM's and Marlin's).
@pytest.mark.parametrize(
    ("name", "gpu", "tensor", "num_bytes"),
    [("gpt-oss-120b", "h100-80gb", 1, 65_248_815_744),
     ("gpt-oss-120b", "h100-80gb", 2, 33_328_681_344),
     ("gpt-oss-120b", "h200", 4, 17_368_614_144),
     ("gpt-oss-120b", "h100-80gb", 8, 8_711_167_680),
     ("gpt-oss-20b", "h100-80gb", 8, 1_812_945_408),
     ("gpt-oss-120b", "b200", 1, 70_756_592_256),
     ("gpt-oss-120b", "a100-80gb", 4, 18_453_300_480)],
)  # fmt: skip
def test_padded_experts(name: str, gpu: str, tensor: int, num_bytes: int) -> None:
    assert held(name, Layout(tensor), gpu).bytes_per_device == (num_bytes,) * tensor


@pytest.mark.parametrize(
    ("name", "layout", "gpu"),
    [("gpt-oss-120b", Layout(4, 2), "h100-80gb"), ("deepseek-v3", Layout(8), None),
     ("llama-3-8b", Layout(2, 4), None), ("gpt2", Layout(4), None),
     ("qwen2.5-0.5b", Layout(2, 3), None), ("mixtral-8x7b", Layout(4, expert=True), None)],
)  # fmt: skip
def test_the_reasons_add_up(name: str, layout: Layout, gpu: str | None) -> None:
    found = held(name, layout, gpu)
    reasons = sum(reason.bytes for reason in found.reasons)
    assert found.checkpoint_bytes + reasons == sum(found.bytes_per_device)
    assert all(reason.why for reason in found.reasons)
    assert len(found.bytes_per_device) == layout.devices


def test_each_reason_has_its_bytes() -> None:
    # 47 rows of padding to 50,304, of 768 bf16 numbers; and one float32 A beside a bf16 one of
    # 64 layers x 5,120 x 16, with 24 rows of 2,560.
    assert {each.name: each.bytes for each in held("gpt2", Layout()).reasons} == {
        "vocabulary padded": 72_192
    }
    assert {each.name: each.bytes for each in held("mamba-2.8b", Layout()).reasons} == {
        "float32": 10_485_760,
        "vocabulary padded": 122_880,
    }
    # 96 attentions of 1,280 zeros in bf16; the table of tokens stands whole on each rank.
    assert {each.name: each.bytes for each in held("whisper-large-v3", Layout()).reasons} == {
        "biases of keys": 245_760
    }


def test_without_a_gpu_the_kernels_are_named() -> None:
    spec = load("gpt-oss-120b")
    said = loaded(spec, "checkpoint", Layout(4), None, None)
    assert isinstance(said, str)
    assert all(word in said for word in ("17,368,614,144", "18,453,300,480", "--gpu"))


def test_a_model_without_a_class_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"vLLM 0\.33\.0 has no class for model_type t5"):
        loaded(load("t5-base"), "bf16", Layout(), None, None)
    # models/nanbeige.py of SGLang 0.5.23.
    with pytest.raises(UnsupportedError, match=r"model_type nanbeige .*--engine sglang runs it"):
        loaded(load("nanbeige4.2-3b"), "bf16", Layout(), None, None)
    with pytest.raises(UnsupportedError, match=r"compute capability 8\.0 on"):
        loaded(load("gpt-oss-20b"), "checkpoint", Layout(), None, find("t4"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(["estimate", *arguments])
    return int(stop.value.code or 0), capsys.readouterr().out


def test_estimate_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("gpt-oss-120b", "--engine", "vllm", "--tp", "4", "--gpu", "h100-80gb")
    status, out = run(capsys, *asked, "--format", "json")
    weights = json.loads(out)["weights"]
    assert status == 0
    assert weights["loaded_bytes_per_device"] == [17_368_614_144] * 4
    assert weights["buffer_bytes_per_device"] == [33_555_008] * 4
    status, out = run(capsys, *asked)
    assert all(word in out for word in ("65,248,815,744", "17,368,614,144", "experts padded"))


def test_several_gpus_are_alike(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("llama-3-8b", "--engine", "vllm", "--tp", "2")
    assert run(capsys, *asked, "--gpu", "h100-80gb", "--gpu", "h100-80gb")[0] == 0
    assert run(capsys, *asked, "--gpu", "h100-80gb", "--gpu", "a100-80gb")[0] == 2
    assert run(capsys, *asked, *("--gpu", "h100-80gb") * 3)[0] == 2


def test_the_library_says_it() -> None:
    found = kvcalc.loaded("gpt-oss-120b", tensor=2, gpu="h100-80gb")
    assert found.bytes_per_device == (33_328_681_344,) * 2
    with pytest.raises(UnsupportedError, match="needs --gpu"):
        kvcalc.loaded("gpt-oss-120b", tensor=2)
    # SGLang's rotary tables are float32: 8,192 positions of 128 numbers.
    other = kvcalc.loaded("llama-3-8b", "sglang")
    assert (other.bytes_per_device, other.buffer_bytes_per_device) == (
        (16_060_522_496,),
        (4_194_304,),
    )
    with pytest.raises(
        UnsupportedError, match=r"SGLang 0\.5\.23 has no class for model_type falcon"
    ):
        kvcalc.loaded("falcon-7b", "sglang")


# max_position_embeddings rows of a head's width in bf16, and four float32 scales a layer.
@pytest.mark.parametrize(
    ("name", "num_bytes"),
    [("llama-3.1-8b", 131_072 * 128 * 2 + 32 * 16), ("glm-4.5-air", 131_072 * 64 * 2 + 46 * 16),
     ("deepseek-v3", 163_840 * 64 * 2 + 61 * 16)],
)  # fmt: skip
def test_rotary_tables_stand_on_every_rank(name: str, num_bytes: int) -> None:
    for tensor in (1, 8):
        found = held(name, Layout(tensor), dtype="bf16")
        assert found.buffer_bytes_per_device == (num_bytes,) * tensor


# 10,485,760 positions of 128 bf16 numbers, 48 layers' scales, and the tower's 577 positions.
def test_llama_4_scout_with_its_tower() -> None:
    found = held("llama-4-scout", Layout(8), dtype="bf16")
    assert found.bytes_per_device == (27_170_135_488,) * 8
    assert found.buffer_bytes_per_device == (2_684_354_560 + 768 + 203_104,) * 8


# "Model loading took" of public start-ups on an H100 (llm-d-planner, v0.19.0), in GiB to two decimals:
# parameters and rotary tables of one rank.
@pytest.mark.parametrize(
    ("name", "tensor", "logged"),
    [("llama-3.1-8b", 1, 14.99), ("llama-3.1-8b", 2, 7.51), ("llama-3.1-8b", 4, 3.77)],
)
def test_model_loading_took(name: str, tensor: int, logged: float) -> None:
    found = held(name, Layout(tensor), "h100-80gb", "bf16").fullest_of_stages(tensor)
    assert round(found[0] / 2**30, 2) == logged


# 61 layers x 128 / 8 heads x (128 + 128) x 512 numbers of two bytes a rank. Both engines' own functions
# were run on the meta device in bf16: SGLang's copies are tensors of their own (post_load_weights), vLLM's
# views of kv_b_proj (MLAAttention.process_weights_after_loading). FP8 was read.
@pytest.mark.parametrize(
    ("engine", "config", "per_rank"),
    [("vllm", "bf16", 0), ("sglang", "bf16", 255_852_544), ("vllm", "fp8_block", 255_852_544),
     ("sglang", "fp8_block", 255_852_544)],
)  # fmt: skip
def test_latent_attention_keeps_its_absorbed_matrices(
    engine: str, config: str, per_rank: int
) -> None:
    from kvcalc.engines.sglang.loading import loaded as sglang
    from tests.engines.test_vllm_loaded import spec_of

    row = (
        {"shipped": "deepseek-v3"}
        if config == "bf16"
        else {"made": "deepseek-v3", "quantised": config}
    )
    spec, dtype = spec_of(row)
    ask = loaded if engine == "vllm" else sglang
    found = ask(spec, dtype, Layout(8), None, find("h200"))
    assert isinstance(found, Loaded)
    assert sum(each.bytes for each in found.after) == 8 * per_rank
    buffers = found.buffer_bytes_per_device or (0,)
    total = found.bytes_per_device[0] + buffers[0] + per_rank
    assert found.fullest_of_stages(8) == [total]
    # Pipeline ranks have those of their layers, 31 and 30 of 61.
    staged = ask(spec, dtype, Layout(8, 2), None, find("h200"))
    assert isinstance(staged, Loaded)
    assert sum(staged.after_bytes_per_device[::8]) == per_rank


def test_estimate_shows_what_is_made_after_loading(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("deepseek-v2-lite", "--engine", "sglang", "--format", "json")
    weights = json.loads(run(capsys, *asked)[1])["weights"]
    # 27 layers x 16 heads x 256 x 512 x 2 bytes.
    assert [each["bytes"] for each in weights["after_loading"]] == [113_246_208]
    assert "absorbed matrices" in run(capsys, *asked[:3])[1]
    plain = json.loads(run(capsys, "llama-3-8b", *asked[1:])[1])["weights"]
    assert "after_loading" not in plain


# vLLM 0.33's own HopperMXScaleLayout, run on tensors of these shapes: 5,888 x 92 and 3,072 x 92 bytes of
# scale for 5,760 x 90 and 2,880 x 90; biases of 5,760 and 2,880 numbers in four bytes; 32 experts, 24
# layers. On Blackwell biases alone, of 5,888 and 3,072; Marlin's stay.
@pytest.mark.parametrize(
    ("gpu", "tensor", "num_bytes"),
    [("h100-80gb", 1, 49_152_000), ("b200", 1, 13_762_560), ("a100-80gb", 1, 0),
     ("h100-80gb", 2, 24 * 32 * (3_072 * 92 - 2_944 * 90 + 3_072 * 48 - 2_880 * 46 + 2 * (2_944 + 2_880)))],
)  # fmt: skip
def test_mxfp4_experts_are_repacked(gpu: str, tensor: int, num_bytes: int) -> None:
    found = held("gpt-oss-20b", Layout(tensor), gpu)
    assert found.after_bytes_per_device == ((num_bytes,) * tensor if num_bytes else ())
    assert [each.name for each in found.after] == ["repacked MXFP4 experts"] * bool(num_bytes)


# vLLM 0.33's own mxfp4_round_up_hidden_size_and_intermediate_size, run as on ROCm: 3,072 x 3,072 at one
# rank, whichever of Triton's and AITER's bf16 kernels it is; 3,072 x 2,944 on Blackwell.
def test_amd_pads_both_sizes_of_an_expert() -> None:
    sizes = [held("gpt-oss-20b", Layout(1), gpu).bytes_per_device[0] for gpu in ("mi300x", "b200")]
    numbers, rows = 3 * 3_072 * (3_072 - 2_944), 2 * (3_072 - 2_944)
    assert sizes[0] - sizes[1] == 24 * 32 * (17 * numbers // 32 + 2 * rows)


# SGLang 0.5.23 keeps the scales as they were loaded beside those of Triton's layout (mxfp4.py): 32 experts
# of 5,888 x 92 and 3,072 x 92 bytes, and biases of 8,640 numbers that grow by two bytes, in 24 layers.
def test_sglang_keeps_scales_twice() -> None:
    found = kvcalc.loaded("gpt-oss-20b", "sglang", gpu="h100-80gb")
    assert found.after_bytes_per_device == (24 * 32 * (5_888 * 92 + 3_072 * 92 + 2 * 8_640),)
    other = kvcalc.loaded("gpt-oss-20b", "sglang", gpu="b200")
    assert other.after_bytes_per_device == (24 * 32 * 2 * (5_888 + 3_072),)
