"""What lies where, held to figures that llama.cpp's loader printed: in MiB, two decimals."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvcalc.convert.gguf_model import load_gguf
from kvcalc.deployment.hardware import find
from kvcalc.engines.llama_cpp.compute import Constants, constants
from kvcalc.engines.llama_cpp.file import model_file
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.local import LocalFit, LocalQuestion, fit_local
from kvcalc.engines.llama_cpp.memory import Machine, Unnamed, load
from kvcalc.engines.llama_cpp.placement import HOST, place
from kvcalc.engines.llama_cpp.placing import Placing
from kvcalc.engines.llama_cpp.runners import runner_of
from kvcalc.errors import KvcalcError
from kvcalc.file_types import recipe
from kvcalc.gguf.model import gguf_model
from kvcalc.gguf.quantise import tensor_types
from kvcalc.spec.catalog import load as spec_of
from kvcalc.units import GIB
from tests.gguf.headers import keys_of, with_tensors, write


def mib(num_bytes: int) -> str:
    return f"{float(Fraction(num_bytes, 1 << 20)):.2f}"


@pytest.mark.parametrize(
    ("model", "dtype", "devices", "flags", "printed"),
    [
        # gguf-parser-go, issue 42: one layer of OLMoE is the output.
        ("olmoe-1b-7b", "q4_k_m", 1, {"num_gpu_layers": 1}, ["80.60"]),
        # HilbertRaum, i9-9900x-rtx-3090 (b9849, Vulkan): all 49 layers.
        ("qwen3-30b-a3b", "q4_k_m", 1, {}, ["17524.42"]),
        # Hermes 3 Llama 3.1 8B Q4_0, 15 of 33 layers (CUDA, 2026-06-28).
        ("llama-3.1-8b", "q4_0", 1, {"num_gpu_layers": 15}, ["2049.43"]),
        # Gemma 3 1B Q8_0 (Vulkan): the tied table is on the device too.
        ("gemma-3-1b", "q8_0", 1, {}, ["1013.54"]),
        # gpt-oss-20b on eight CANN devices (2025-08), all experts in RAM; the last has the output.
        ("gpt-oss-20b", "mxfp4_moe", 8, {"num_cpu_moe": None},
         ["109.20", "81.90", "81.90", "81.90", "81.90", "81.90", "81.90", "641.43"]),
    ],
)  # fmt: skip
def test_model_buffers(
    model: str, dtype: str, devices: int, flags: dict[str, object], printed: list[str]
) -> None:
    placed = place(model_file(spec_of(model), dtype), [1] * devices, Placing(**flags))  # type: ignore[arg-type]
    assert [mib(placed.model_bytes(number)) for number in range(devices)] == printed


def test_the_token_table_stays_in_ram() -> None:
    for model, dtype, printed in (("qwen3-30b-a3b", "q4_k_m", "166.92"), ("gemma-3-1b", "q8_0", "306.00"),
                                  ("llama-3.1-8b", "q4_0", "281.81")):  # fmt: skip
        placed = place(model_file(spec_of(model), dtype), [1], Placing())
        assert mib(placed.model_bytes(HOST)) == printed


def test_the_last_layers_go_first_and_ties_round_as_the_loader_does() -> None:
    file = model_file(spec_of("tinyllama-1.1b"), "q8_0")  # 22 layers
    placed = place(file, [1, 1], Placing(num_gpu_layers=6, shares=(3.0, 1.0)))
    assert placed.layers[:17] == (HOST,) * 17
    # 6 * 3/4 = 4.5: the library puts 5 of 6 on the first (upper_bound of 4/6 and 5/6 over 0.75).
    assert placed.layers[17:] == (0, 0, 0, 0, 0, 1)
    empty = place(file, [1, 1, 1], Placing(shares=(1.0, 0.0, 1.0)))
    assert set(empty.layers) == {0, 2}


def test_caches_lie_with_their_layers() -> None:
    flags = LlamaCppFlags(ctx_size=32768, parallel=1)
    loaded = load(spec_of("llama-3.1-8b"), "q4_0", flags)
    machine = Machine(devices=(find("rtx-4090"),))
    table = loaded.table(machine, Placing(num_gpu_layers=15))
    # 4,096 MiB over 32 layers; 14 of them are on the device, whose 15th is the output.
    assert [use.cache_bytes >> 20 for use in table.uses] == [14 * 128, 18 * 128]
    host = loaded.table(machine, Placing(offload_cache=False))
    assert [use.cache_bytes >> 20 for use in host.uses] == [0, 4096]
    # 128,256 tokens x 4 bytes (the log: 0.49).
    assert mib(table.uses[-1].output_bytes) == "0.49"


@pytest.mark.parametrize(
    ("model", "dtype", "context", "ubatch", "device", "host"),
    [
        # HilbertRaum (b9849, Vulkan, RTX 3090).
        ("qwen3-30b-a3b", "q4_k_m", 8192, 2048, "368.04", "64.05"),
        # llama.cpp v0.5.0's library, Vulkan on Mesa's software device: header-only files.
        ("llama-3.1-8b", "q8_0", 4096, 512, "104.01", "20.01"),
        ("llama-3.1-8b", "q8_0", 16384, 2048, "464.04", "128.05"),
        ("llama-3.1-8b", "q8_0", 16384, 128, "29.00", "8.00"),
        ("qwen2.5-vl-7b", "q8_0", 16384, 512, "141.02", "30.02"),
        ("qwen3-vl-8b", "q8_0", 4096, 512, "124.02", "44.02"),
        ("gpt-oss-20b", "mxfp4_moe", 4096, 512, None, None),
    ],
)  # fmt: skip
def test_compute_buffers(
    model: str, dtype: str, context: int, ubatch: int, device: str | None, host: str | None
) -> None:
    loaded = load(spec_of(model), dtype, LlamaCppFlags(ctx_size=context, parallel=1, ubatch=ubatch))
    table = loaded.table(Machine(devices=(find("rtx-4090"),)), Placing())
    assert table.predicted
    if device is not None:
        assert [mib(use.compute.least) for use in table.uses] == [device, host]


def test_widths_of_a_plain_graph_that_were_not_measured() -> None:
    """Qwen2.5-VL 7B with half its feed-forward: 28,416 floats less of the 64,008 that were measured."""
    spec = spec_of("qwen2.5-vl-7b")
    (name,) = spec.blocks
    narrow: Any = spec.blocks[name].ffn
    block = replace(spec.blocks[name], ffn=replace(narrow, intermediate_size=9472))
    found = constants(replace(spec, blocks={name: block}), "qwen2vl", 1)
    assert found == Constants((35_592, 35_592), 7177, measured=False)


def test_weights_in_ram_make_a_band_that_holds_what_was_printed() -> None:
    """Qwen3-30B-A3B Q8_0 and Llama-3.1-8B Q8_0 on the library's software device, micro-batch 512."""
    machine = Machine(devices=(find("rtx-4090"),))
    for model, placing, context, printed in (
        ("qwen3-30b-a3b", Placing(num_cpu_moe=None), 4096, 268.01),
        ("qwen3-30b-a3b", Placing(num_cpu_moe=None), 16384, 280.01),
        ("qwen3-30b-a3b", Placing(num_gpu_layers=40), 16384, 312.0),
        ("llama-3.1-8b", Placing(num_gpu_layers=15), 4096, 151.5),
        ("llama-3.1-8b", Placing(num_gpu_layers=15), 16384, 191.5),
    ):
        flags = LlamaCppFlags(ctx_size=context, parallel=1, ubatch=512)
        band = load(spec_of(model), "q8_0", flags).table(machine, placing).uses[0].compute
        assert band.most is not None
        assert band.least / (1 << 20) <= printed <= band.most / (1 << 20)


def ask(model: str, dtype: str, *gpus: str, context: int = 32768, **flags: Any) -> LocalFit:
    question = LocalQuestion(
        dtype=dtype, flags=LlamaCppFlags(**flags),
        machine=Machine(devices=tuple(map(find, gpus)), ram=96 * GIB),
    )  # fmt: skip
    return fit_local(spec_of(model), question, context)


def test_the_answer_is_the_one_that_reads_the_least_of_ram() -> None:
    found = ask("gpt-oss-120b", "mxfp4_moe", "rtx-4090")
    assert found.verdict == "fits"
    fewest = found.placing.num_cpu_moe
    assert fewest is not None
    assert 20 <= fewest <= 26
    fewer = ask("gpt-oss-120b", "mxfp4_moe", "rtx-4090", n_cpu_moe=fewest - 1, n_gpu_layers="99")
    assert fewer.verdict != "fits"
    assert f"--n-cpu-moe {fewest}" in found.command


def test_two_devices_are_filled_one_after_the_other_where_the_default_overflows() -> None:
    found = ask("qwen3-30b-a3b", "q8_0", "rtx-3060-12gb", "rtx-3060-12gb")
    assert found.verdict == "fits"
    assert "--tensor-split" in found.command


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"override_tensor": "nothing=CPU"}, "no tensor of qwen3 is called so"),
        ({"override_tensor": "ffn=CUDA3"}, "device 3"),
        ({"override_tensor": "("}, "PATTERN=BUFFER"),
        ({"tensor_split": "0,0"}, "2 shares for 1 device"),
        ({"tensor_split": "0"}, "every share is 0"),
        ({"cpu_moe": True}, "no experts"),
        ({"split_mode": "row"}, "not accounted for"),
        ({"main_gpu": 4, "split_mode": "none"}, "numbered from 0"),
        ({"flash_attn": "off", "cache_type_v": "q8_0"}, "without flash attention"),
        ({"flash_attn": "maybe"}, "choose from on, off, auto"),
        ({"n_gpu_layers": "many"}, "a number of layers"),
    ],
)
def test_what_says_nothing_is_refused(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(KvcalcError, match=said):
        ask("qwen3-8b", "q4_k_m", "rtx-4090", **flags)


def test_more_layers_than_there_are_is_all() -> None:
    found = ask("qwen3-8b", "q4_k_m", "rtx-4090", n_gpu_layers="99")
    assert found.table.placement.num_offloaded == 37
    assert (
        ask("qwen3-8b", "q4_k_m", "rtx-4090", n_gpu_layers="0").table.placement.num_offloaded == 0
    )


def test_an_empty_device_is_said() -> None:
    found = ask("qwen3-8b", "q4_k_m", "rtx-4090", "rtx-3060-12gb", tensor_split="1,0")
    assert "device 1 (rtx-3060-12gb) holds nothing" in found.notes


def test_formats_that_no_file_has_are_refused() -> None:
    for dtype in ("fp8", "bf16"):
        with pytest.raises(KvcalcError, match="no type of one"):
            ask("qwen3-8b", dtype, "rtx-4090")
    with pytest.raises(KvcalcError, match="no architecture"):
        ask("gpt-j-6b", "q4_k_m", "rtx-4090", context=2048)


@pytest.mark.parametrize(
    ("engine", "memory", "context", "slots"),
    [
        # Ollama, docs/context-length.mdx: by VRAM; LM Studio, docs/app/advanced/parallel-requests.
        ("ollama", 12, 4096, 1),
        ("ollama", 24, 32768, 1),
        ("ollama", 80, 262144, 1),
        ("lm-studio", 24, 4096, 4),
    ],
)
def test_programs_that_run_llama_cpp_have_their_defaults(
    engine: str, memory: int, context: int, slots: int
) -> None:
    runner = runner_of(engine)
    assert runner.context is not None
    assert runner.context(memory * GIB)[0] == context
    flags, notes = runner.flags({}, None)
    assert flags.parallel == slots
    assert all(runner.words in note for note in notes)
    with pytest.raises(KvcalcError, match="has no --tensor-split"):
        runner.flags({"tensor_split": "3,1"}, None)


@pytest.mark.parametrize(
    ("model", "layers", "shares", "printed", "host"),
    [
        # llama.cpp v0.5.0's library, one software device listed twice, Q8_0, 2,048 cells, ubatch 512.
        ("smollm-135m", 20, (3.0, 1.0), ["53.85", "43.05"], None),
        ("smollm-135m", 6, (3.0, 1.0), ["17.95", "28.69"], None),
        ("smollm-135m", 17, (1.0, 2.0), ["21.54", "64.59"], None),
        ("smollm-135m", 31, (1.0, 1.0), ["57.45", "78.95"], "10.30"),
        ("qwen3-0.6b", 29, (2.0, 1.0), ["318.93", "285.22"], "12.05"),
        ("gemma-3-270m", 10, (1.0, 3.0), ["16.97", "203.94"], None),
        ("gemma-3-270m", 19, (1.0, 1.0), ["56.56", "215.25"], "18.58"),
        ("qwen2-0.5b", 25, (5.0, 2.0), ["272.14", "228.66"], "11.55"),
    ],
)
def test_two_devices(
    model: str, layers: int, shares: tuple[float, ...], printed: list[str], host: str | None
) -> None:
    flags = LlamaCppFlags(ctx_size=2048, parallel=1, swa_full=True)
    machine = Machine(devices=(Unnamed("a"), Unnamed("b")))
    placing = Placing(num_gpu_layers=layers, shares=shares)
    table = load(spec_of(model), "q8_0", flags).table(machine, placing)
    assert [mib(use.model_bytes) for use in table.uses[:2]] == printed
    if host is not None:
        assert mib(table.uses[2].compute.least) == host


@pytest.mark.parametrize(
    ("model", "layers", "printed"),
    [("smollm-135m", 31, 23.79), ("qwen3-0.6b", 29, 40.04), ("gemma-3-270m", 19, 37.57),
     ("qwen2-0.5b", 25, 47.04)],
)  # fmt: skip
def test_a_pipeline_of_devices_keeps_its_inputs_four_times(
    model: str, layers: int, printed: float
) -> None:
    """The compute buffers of the same loads, equal on both devices."""
    flags = LlamaCppFlags(ctx_size=2048, parallel=1, swa_full=True)
    machine = Machine(devices=(Unnamed("a"), Unnamed("b")))
    table = load(spec_of(model), "q8_0", flags).table(machine, Placing(num_gpu_layers=layers))
    for use in table.uses[:2]:
        assert use.compute.most is not None
        assert use.compute.least <= printed * (1 << 20) * 1.001
        assert printed * (1 << 20) <= use.compute.most * 1.001


@pytest.mark.parametrize(
    ("model", "dtype"), [("gemma-3-270m", "q8_0"), ("deepseek-v2-lite", "q8_0")]
)
def test_a_file_is_placed_as_its_type_is(model: str, dtype: str, tmp_path: Path) -> None:
    """A header with the types of a stock file, read again: every tensor has the same bytes."""
    spec = spec_of(model)
    file = gguf_model(spec)
    asked = recipe(dtype)
    assert asked is not None
    kinds = tensor_types(file, asked)
    tensors = (replace(each, source=kind) for each, kind in zip(file.tensors, kinds, strict=True))
    path = write(tmp_path / "a.gguf", with_tensors(file, tensors), keys_of(spec, file))
    read = model_file(load_gguf(path).spec, "checkpoint")
    assert {each.name: each.bytes for each in read.tensors} == {
        each.name: each.bytes for each in model_file(spec, dtype).tensors
    }


def test_a_published_checkpoint_is_no_gguf_file() -> None:
    for model in ("gpt-oss-20b", "deepseek-v3", "qwen3-8b"):
        with pytest.raises(KvcalcError, match="say --dtype"):
            ask(model, "checkpoint", "h100")
