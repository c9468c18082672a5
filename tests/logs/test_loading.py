"""``Model loading took`` held against what vLLM's classes allocate.

llm-d-incubation/llm-d-planner, accuracy/results/v0.19.0 (Apache-2.0): vLLM 0.19.0 on H100-80GB. torch's
allocator rounds up: Qwen2.5 7B's 28 gate_up matrices of 259 MiB, and its others, take 57 MiB more.
"""

import pytest

from kvcalc.logs.read import answer_of

# (model, ranks, stages, dtype, quantization, GiB logged, least, kvcalc, most of the bytes, agrees)
Row = tuple[str, int, int, str, str, str, int, int, int, bool | None]
ROWS: tuple[Row, ...] = (
    (
        "deepseek-ai/DeepSeek-V2-Lite-Chat",
        1,
        1,
        "bfloat16",
        "None",
        "29.43",
        31412968448,
        31433940400,
        31803039152,
        True,
    ),
    (
        "RedHatAI/Qwen2.5-7B-Instruct-fp8-dynamic",
        1,
        1,
        "bfloat16",
        "compressed-tensors",
        "8.14",
        8705944576,
        8739499456,
        8948166080,
        True,
    ),
    (
        "google/gemma-2-2b-it",
        1,
        1,
        "bfloat16",
        "None",
        "4.90",
        5228683776,
        5232878498,
        5425816482,
        True,
    ),
    (
        "google/gemma-3-12b-it",
        1,
        1,
        "bfloat16",
        "None",
        "23.31",
        24374650080,
        24978663394,
        25506097122,
        True,
    ),
    (
        "ibm-granite/granite-3.1-2b-instruct",
        1,
        1,
        "bfloat16",
        "None",
        "4.74",
        5067313152,
        5084091008,
        5379789440,
        True,
    ),
    (
        "ibm-granite/granite-3.1-8b-instruct",
        1,
        1,
        "bfloat16",
        "None",
        "15.25",
        16342196224,
        16375751296,
        16671449728,
        True,
    ),
    (
        "meta-llama/Llama-3.1-8B-Instruct",
        1,
        1,
        "bfloat16",
        "None",
        "14.99",
        16060522496,
        16094077440,
        16332104192,
        True,
    ),
    (
        "meta-llama/Llama-3.1-8B-Instruct",
        1,
        1,
        "bfloat16",
        "fp8",
        "8.49",
        9081200640,
        9114755584,
        9352782336,
        True,
    ),
    (
        "meta-llama/Llama-3.1-8B-Instruct",
        1,
        1,
        "float16",
        "None",
        "14.99",
        16060522496,
        16094077440,
        16332104192,
        True,
    ),
    (
        "meta-llama/Llama-3.1-8B-Instruct",
        1,
        1,
        "float32",
        "None",
        "29.98",
        32121044992,
        32154599936,
        32392626688,
        True,
    ),
    (
        "meta-llama/Llama-3.1-8B-Instruct",
        1,
        2,
        "bfloat16",
        "None",
        "7.51",
        8030257152,
        8063811840,
        8183349504,
        True,
    ),
    (
        "meta-llama/Llama-3.1-8B-Instruct",
        1,
        4,
        "bfloat16",
        "None",
        "3.28",
        3489792000,
        3523346560,
        3583115392,
        True,
    ),
    (
        "meta-llama/Llama-3.1-8B-Instruct",
        2,
        1,
        "bfloat16",
        "None",
        "7.51",
        8030527488,
        8064082432,
        8302109184,
        True,
    ),
    (
        "meta-llama/Llama-3.1-8B-Instruct",
        4,
        1,
        "bfloat16",
        "None",
        "3.77",
        4015529984,
        4049084928,
        4287111680,
        True,
    ),
    (
        "microsoft/phi-4",
        1,
        1,
        "bfloat16",
        "None",
        "27.39",
        29319014400,
        29319014400,
        29615761408,
        True,
    ),
    (
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        2,
        1,
        "bfloat16",
        "None",
        "43.51",
        46704107520,
        46712496640,
        46916968960,
        True,
    ),
    (
        "openai/gpt-oss-20b",
        2,
        1,
        "bfloat16",
        "mxfp4",
        "7.01",
        6998169216,
        7031724032,
        7185864704,
        None,
    ),
    (
        "Qwen/Qwen2.5-7B-Instruct",
        1,
        1,
        "bfloat16",
        "None",
        "14.25",
        15231233024,
        15264787904,
        15473454528,
        True,
    ),
    (
        "Qwen/Qwen2.5-7B-Instruct",
        2,
        1,
        "bfloat16",
        "None",
        "7.12",
        7615820800,
        7649375680,
        7858042304,
        True,
    ),
    (
        "Qwen/Qwen2.5-7B-Instruct",
        4,
        1,
        "bfloat16",
        "None",
        "3.55",
        3808114688,
        3841669568,
        4050336192,
        True,
    ),
    (
        "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8",
        1,
        1,
        "float16",
        "compressed-tensors",
        "8.49",
        9081200640,
        9114755584,
        9352782336,
        True,
    ),
    (
        "RedHatAI/Qwen2.5-7B-Instruct-quantized.w8a8",
        1,
        1,
        "bfloat16",
        "compressed-tensors",
        "8.14",
        8705944576,
        8739499456,
        8948166080,
        True,
    ),
)


def log(row: Row) -> bytes:
    model, ranks, stages, dtype, method, logged, *_ = row
    return (
        f"INFO Initializing a V1 LLM engine (v0.19.0) with config: model='{model}', dtype=torch.{dtype}, "
        f"max_seq_len=8192, tensor_parallel_size={ranks}, pipeline_parallel_size={stages}, "
        f"quantization={method}, kv_cache_dtype=auto, enable_prefix_caching=True\n"
        f"INFO Model loading took {logged} GiB memory and 9.100000 seconds\n"
        "INFO Available KV cache memory: 40.00 GiB\n"
    ).encode()


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}-{row[2]}-{row[3]}-{row[4]}"
)
def test_what_loading_took(row: Row) -> None:
    found = answer_of([log(row)], gpu="h100")
    own = next(each for each in found.observations if each.quantity == "loaded_bytes")
    assert (own.least, own.predicted, own.most, own.agrees) == row[6:]


def test_a_figure_that_no_class_makes_disagrees() -> None:
    row: Row = ("Qwen/Qwen2.5-7B-Instruct", 1, 1, "bfloat16", "None", "13.90", 0, 0, 0, None)
    found = answer_of([log(row)], gpu="h100")
    own = next(each for each in found.observations if each.quantity == "loaded_bytes")
    assert own.agrees is False
    assert own.reason.startswith("-2.23 %: not explained")
    assert found.disagrees


def test_replicas_of_the_attention_share_the_rest() -> None:
    """SGLang's class on the meta device, eight replicas on eight ranks: 9,785,405,440 bytes of parameters
    and 20,971,520 of tables on each (sglang_loaded.jsonl)."""
    text = (
        "server_args=ServerArgs(model_path='Qwen/Qwen3-30B-A3B', dtype='auto', tp_size=8, pp_size=1, "
        "dp_size=8, enable_dp_attention=True)\n"
        "[DP0 TP0] Load weight end. type=Qwen3MoeForCausalLM, dtype=torch.bfloat16, avail mem=60.00 GB, "
        "mem usage=9.20 GB\n"
        "[DP0 TP0] KV Cache is allocated. #tokens: 400000, K size: 18.31 GB, V size: 18.31 GB\n"
    )
    found = answer_of([text.encode()], gpu="h100")
    own = next(each for each in found.observations if each.quantity == "loaded_bytes")
    assert (own.least, own.predicted) == (9_785_405_440, 9_806_376_960)
    assert own.agrees


def test_releases_that_nobody_read_are_said() -> None:
    row: Row = ("Qwen/Qwen2.5-7B-Instruct", 1, 1, "bfloat16", "None", "14.25", 0, 0, 0, None)
    for version, said in (
        ("0.99.0", "vLLM 0.99.0 is newer than 0.33.0, the newest release that was read"),
        ("0.0.1", "line 1: vLLM 0.0.1 is no release whose rules were read; 0.1.7 is the oldest"),
    ):
        found = answer_of([log(row).replace(b"v0.19.0", f"v{version}".encode())], gpu="h100")
        assert any(note.startswith(said) for note in found.notes), found.notes


FILE = """\
loaded meta data with 35 key-value pairs and 310 tensors from Qwen3-0.6B-{0}.gguf (version GGUF V3)
print_info: file type   = {1}
print_info: file size   = {2} (8.50 BPW)
llama_context: n_seq_max     = 1
llama_context: n_ctx         = 4096
llama_context: n_ubatch      = 512
size =  448.00 MiB (  4096 cells,  28 layers,  1/1 seqs), K (f16):  224.00 MiB, V (f16):  224.00 MiB
"""


@pytest.mark.parametrize(
    ("name", "kind", "size", "num_bytes", "agrees"),
    [
        ("Q8_0", "Q8_0", "604.15 MiB", 633495552, True),
        ("Q8_0", "Q8_0", "604.25 MiB", 633495552, None),
        ("UD-Q4_K_XL", "Q4_K - Medium", "386.43 MiB", None, None),
    ],
)
def test_a_file_by_its_type(
    name: str, kind: str, size: str, num_bytes: int | None, agrees: bool | None
) -> None:
    """604.15 MiB: lemonade-sdk's log of Qwen3 0.6B in Q8_0, rocm-qwen3-0.6b.txt."""
    found = answer_of([FILE.format(name, kind, size).encode()], engine="llama.cpp")
    own = next(each for each in found.observations if each.quantity == "file_bytes")
    assert (own.predicted, own.agrees) == (num_bytes, agrees)
