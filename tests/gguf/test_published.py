"""Files that people published and lines that llama.cpp's loader printed.

A file is its tensors and a header of vocabulary and keys. The header is the same for every type of a
conversion, so a wrong type of one tensor would stand out: the rests of one publisher's files agree
to the byte, and 5,953,536 is the data offset that another source printed for Qwen2.5-Coder-7B.
Sizes: the publishers' download lists. Loader lines print the tensors alone.
"""

import pytest

from kvcalc.gguf.model import gguf_model
from kvcalc.memory.towers import language_model_of
from kvcalc.memory.weights import ledger
from kvcalc.spec.catalog import load

# File, model, type, bytes of the file, bytes that its header leaves.
FILES = [
    ("Qwen3-30B-A3B-Instruct-2507-Q6_K", "qwen3-30b-a3b", "q6_k", 25_092_532_640, 5_970_336),
    ("Qwen3-30B-A3B-Instruct-2507-Q8_0", "qwen3-30b-a3b", "q8_0", 32_483_932_576, 5_970_336),
    ("Qwen3-Coder-30B-A3B-Instruct-Q4_K_M", "qwen3-30b-a3b", "q4_k_m", 18_556_689_568, 5_973_152),
    ("Meta-Llama-3.1-8B-Instruct-Q8_0", "llama-3.1-8b", "q8_0", 8_540_775_840, 7_840_928),
    (
        "Meta-Llama-3.1-8B-Instruct-IQ4_XS",
        "llama-3.1-8b",
        "iq4_xs+imatrix",
        4_447_667_616,
        7_840_928,
    ),
    ("Llama-3.2-3B-Instruct-Q4_K_M", "llama-3.2-3b", "q4_k_m", 2_019_377_696, 7_837_984),
    ("Llama-3.2-3B-Instruct-Q8_0", "llama-3.2-3b", "q8_0", 3_421_899_296, 7_837_984),
    ("qwen2.5-coder-7b-instruct-q4_k_m", "qwen2.5-7b", "q4_k_m", 4_683_073_536, 5_953_536),
    ("qwen2.5-coder-7b-instruct-q6_k", "qwen2.5-7b", "q6_k", 6_254_198_784, 5_953_536),
    ("Qwen2.5-7B-Instruct-Q4_K_M", "qwen2.5-7b", "q4_k_m", 4_683_074_240, 5_954_240),
    ("DeepSeek-R1-Distill-Qwen-14B-Q6_K", "qwen2.5-14b", "q6_k", 12_124_683_424, 5_967_008),
    ("qwen2.5-coder-14b-instruct-q4_k_m", "qwen2.5-14b", "q4_k_m", 8_988_110_272, 5_967_296),
    (
        "Mistral-Small-3.2-24B-Q4_K_M",
        "mistral-small-24b",
        "q4_k_m",
        14_333_922_848,
        7_896_608,
    ),
    (
        "mistralai_Mistral-Small-3.2-Q4_K_M",
        "mistral-small-24b",
        "q4_k_m",
        14_333_915_264,
        7_889_024,
    ),
    ("google_gemma-3-27b-it-Q4_K_M", "gemma-3-27b", "q4_k_m", 16_546_404_992, 6_279_168),
    ("google_gemma-3-27b-it-Q6_K", "gemma-3-27b", "q6_k", 22_166_690_432, 6_279_168),
    ("microsoft_Phi-4-mini-instruct-Q8_0", "phi-4-mini", "q8_0", 4_084_611_456, 8_251_392),
    ("Qwen3-4B-Q4_K_M", "qwen3-4b", "q4_k_m", 2_497_280_256, 5_956_352),
    ("gemma-3-4b-it-Q4_K_M", "gemma-3-4b", "q4_k_m", 2_489_757_856, 6_405_024),
    ("gemma-3-1b-it-Q4_K_M", "gemma-3-1b", "q4_k_m", 806_058_240, 6_533_120),
    ("gpt-oss-20b-mxfp4", "gpt-oss-20b", "mxfp4_moe", 12_109_566_560, 13_008_224),
    ("Qwen2.5-3B-Instruct-Q4_K_M", "qwen2.5-3b", "q4_k_m", 1_929_903_264, 5_956_768),
    ("Llama-3.2-1B-Instruct-Q4_K_M", "llama-3.2-1b", "q4_k_m", 807_694_464, 7_831_552),
    ("Mistral-7B-Instruct-v0.3-Q4_K_M", "mistral-7b-v0.3", "q4_k_m", 4_372_812_000, 757_984),
    ("tinyllama-1.1b-chat-v1.0.Q4_K_M", "tinyllama-1.1b", "q4_k_m", 668_788_096, 1_709_440),
    ("mistral-7b-instruct-v0.2.Q4_K_M", "mistral-7b-v0.1", "q4_k_m", 4_368_439_584, 735_520),
    ("gemma4-e2b-it-qat-q4", "gemma-4-e2b", "q4_0", 3_349_516_256, 15_816_532),
    ("gemma4-26b-a4b-it-qat-q4", "gemma-4-26b", "q4_0", 14_439_363_584, 15_824_776),
    ("gemma4-31b-it-qat-q4", "gemma-4-31b", "q4_0", 17_651_001_568, 15_835_120),
    ("ministral3-8b-instruct-2512-q4", "ministral-3-8b", "q4_k_m", 5_198_911_904, 8_411_552),
]
# Model, type, what the loader printed ("file size", bits per weight), tensors by type where printed.
LINES = [
    # llama-server logs of 2026: b9849 and neighbours.
    ("qwen3-30b-a3b", "q4_k_m", "17.28 GiB (4.86 BPW)", {"f32": 241, "q4_K": 289, "q6_K": 49}),
    ("qwen3-30b-a3b", "q8_0", "30.25 GiB (8.51 BPW)", {"f32": 241, "q8_0": 338}),
    ("llama-3.1-8b", "q4_0", "4.33 GiB (4.64 BPW)", {"f32": 66, "q4_0": 225, "q6_K": 1}),
    ("llama-3.1-8b", "q4_k_m", "4.58 GiB (4.89 BPW)", {"f32": 66, "q4_K": 193, "q6_K": 33}),
    ("gemma-3-1b", "q8_0", "1013.54 MiB (8.50 BPW)", {}),
    ("gpt-oss-20b", "mxfp4_moe", "11.27 GiB (4.63 BPW)", {}),
    ("gemma-4-e4b", "q4_0", "4.79 GiB (5.51 BPW)", {"f32": 321, "q4_0": 342, "q6_K": 2}),
    ("qwen3-0.6b", "q4_0+imatrix", "358.78 MiB (5.05 BPW)", {"q4_0": 193, "q4_1": 3, "q6_K": 1}),
    ("qwen3-235b-a22b", "q6_k", "179.75 GiB (6.57 BPW)", {}),
    ("qwen3-235b-a22b", "q8_0", "232.77 GiB (8.51 BPW)", {}),
    # ik_llama.cpp prints three digits.
    ("qwen3-235b-a22b", "q4_k_m", "132.386 GiB (4.837 BPW)", {}),
    ("glm-4-32b-0414", "iq4_xs+imatrix", "16.38 GiB (4.32 BPW)", {}),
    ("qwen3-32b", "q4_k_m", "18.40 GiB (4.82 BPW)", {}),
    # llama.cpp v0.5.0's own dry run over a header of true size.
    ("llama-3.1-8b", "q4_k_m", "4685.30 MiB (4.89 BPW)", {}),
    ("llama-3.1-8b", "gguf-f16", "15317.02 MiB (16.00 BPW)", {"f16": 226, "f32": 66}),
]


@pytest.mark.parametrize(("file", "model", "dtype", "size", "header"), FILES)
def test_a_file_is_its_tensors_and_a_header(
    file: str, model: str, dtype: str, size: int, header: int
) -> None:
    # A projector is a file of its own (test_projector.py).
    assert size - ledger(language_model_of(load(model))[0], dtype).bytes == header


@pytest.mark.parametrize(("model", "dtype", "printed", "types"), LINES)
def test_the_loader_prints_so(model: str, dtype: str, printed: str, types: dict[str, int]) -> None:
    spec, _ = language_model_of(load(model))
    made = ledger(spec, dtype)
    elements = sum(tensor.numel for tensor in gguf_model(spec).tensors)
    size, unit, bits = printed.split()[:3]
    digits = len(size.partition(".")[2])
    num_bytes = made.bytes / {"GiB": 2**30, "MiB": 2**20}[unit]
    assert f"{num_bytes:.{digits}f}" == size
    places = len(bits.partition(".")[2])
    assert f"{made.bytes * 8 / elements:.{places}f}" == bits.strip("(")
    counted = {each.type: each.tensors for each in made.types}
    assert counted | types == counted
