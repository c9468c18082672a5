"""GGUF: headers against the ``gguf`` package, models against shipped specs, splits, refusals."""

import struct
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
from gguf import GGMLQuantizationType as Type

from kvcalc import load
from kvcalc.convert.gguf import TYPES, Items, read_gguf
from kvcalc.convert.gguf_architectures import ARCHITECTURES
from kvcalc.convert.gguf_model import load_gguf
from kvcalc.convert.write import spec_text
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import FileError, SpecError, UnsupportedError
from kvcalc.memory.cache import cache_function
from kvcalc.memory.weights import ledger, summarise
from kvcalc.spec.loader import load_spec_text
from tests.convert.gguf_files import SMALL, SMALL_TENSORS, Tensor, of_spec, small, write

# ---------------------------------------------------------------- the reader


@pytest.mark.parametrize("kind", list(Type), ids=lambda kind: kind.name)
def test_block_sizes_are_those_of_the_gguf_package(kind: Type) -> None:
    name, elements, num_bytes = TYPES[kind.value]
    # ggml-common.h: block_q8_1 is two halves and 32 bytes; the package has its scales of 2023.
    expected = (32, 36) if kind is Type.Q8_1 else gguf.GGML_QUANT_SIZES[kind]
    assert (elements, num_bytes) == expected
    assert name.lower() == kind.name.lower()


def test_a_type_newer_than_the_package() -> None:
    # ggml-common.h: QK2_0 64, block_q2_0 an fp16 scale and 64 / 4 bytes.
    assert TYPES[42] == ("q2_0", 64, 18)


def test_header_as_the_package_reads_it(tmp_path: Path) -> None:
    keys = {
        "general.name": "Größe", "llama.list": [1, 2, 3], "llama.flag": True,
        "tokenizer.ggml.tokens": ["a", "", "日本"], "llama.scale": 0.5,
    }  # fmt: skip
    path = small(tmp_path, keys)
    # The package reads whole files only, so the data is put behind the header.
    header = read_gguf(path)
    path.write_bytes(path.read_bytes().ljust(header.total_bytes, b"\0"))
    header = read_gguf(path)
    assert not header.is_partial
    assert header.total_bytes == path.stat().st_size
    theirs = gguf.GGUFReader(path)
    assert [tensor.name for tensor in header.tensors] == [t.name for t in theirs.tensors]
    assert [tensor.num_bytes for tensor in header.tensors] == [
        int(t.n_bytes) for t in theirs.tensors
    ]
    assert [tensor.shape for tensor in header.tensors] == [
        tuple(int(size) for size in reversed(t.shape)) for t in theirs.tensors
    ]
    assert header.values["general.name"] == "Größe"
    assert header.values["llama.list"] == Items(3, (1, 2, 3))
    assert header.values["llama.flag"] is True
    assert header.values["llama.scale"] == 0.5
    assert header.values["tokenizer.ggml.tokens"] == Items(3)
    assert set(header.values) == {name for name in theirs.fields if not name.startswith("GGUF.")}


def test_big_endian(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.add_uint32("llama.block_count", 7)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    assert read_gguf(tmp_path / "big.gguf").values["llama.block_count"] == 7


def test_version_2_is_version_3_in_little_endian(tmp_path: Path) -> None:
    path = small(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:4] + struct.pack("<I", 2) + data[8:])
    assert read_gguf(path).version == 2
    assert load_gguf(path).spec.hidden_size == 64


def test_bytes_of_a_small_file(tmp_path: Path) -> None:
    found = load_gguf(small(tmp_path))
    weights = found.weights
    assert weights is not None
    # 100 * 64 * 2; 3 * 64 * 4; 3 * 64 rows of 64 in q8_0: 192 * 2 * 34; ffn: 18,432 / 32 * 18.
    assert weights.by_component == {
        "embedding": 12_800, "norm": 768, "attention": 13_056, "ffn": 10_368
    }  # fmt: skip
    assert weights.by_dtype == {"q8_0": 13_056, "f16": 12_800, "q4_0": 10_368, "f32": 768}
    assert weights.bytes == 36_992
    assert summarise(found.spec).total == 100 * 64 + 3 * 64 + 192 * 64 + 3 * 96 * 64
    assert found.spec.tie_word_embeddings is True
    assert "holds" in found.assumptions[0]
    assert "its header is whole" in found.assumptions[0]


# llama.cpp tools/quantize/README.md, the table of Llama-3.1-8B (the same tensors): bits per weight of
# the formats that it does not mix with others.
@pytest.mark.parametrize(
    ("matrix", "num_bytes", "bits_per_weight"),
    [
        (Type.Q8_0, 8_532_934_656, "8.5008"),
        (Type.Q6_K, 6_588_170_240, "6.5633"),
        (Type.F16, 16_061_054_976, "16.0005"),
    ],
)
def test_llama_3_8b_as_published(
    tmp_path: Path, matrix: Type, num_bytes: int, bits_per_weight: str
) -> None:
    keys, tensors = of_spec(load("llama-3-8b"), "llama", matrix)
    found = load_gguf(write(tmp_path / "Llama-3-8B.Q8_0.gguf", "llama", keys, tensors))
    assert found.weights is not None
    assert found.weights.bytes == num_bytes
    assert found.weights.by_dtype["f32"] == 1_064_960
    assert f"{8 * num_bytes / 8_030_261_248:.4f}" == bits_per_weight
    assert found.spec.name == "llama-3-8b.q8-0"


# ---------------------------------------------------------------- architectures

# Spec, architecture, parameters, bytes per token in bf16, fixed bytes: the shipped specs' numbers,
# which stand there with their sources (measured on transformers' models or printed by publishers).
MODELS = [
    ("llama-3-8b", "llama", 8_030_261_248, 131_072, 0),
    ("mixtral-8x7b", "llama", 46_702_792_704, 131_072, 0),
    ("qwen2.5-7b", "qwen2", 7_615_616_512, 57_344, 0),
    ("qwen3-8b", "qwen3", 8_190_735_360, 147_456, 0),
    ("qwen1.5-moe-a2.7b", "qwen2moe", 14_315_784_192, 196_608, 0),
    ("qwen3-30b-a3b", "qwen3moe", 30_532_122_624, 98_304, 0),
    ("gemma-7b", "gemma", 8_537_680_896, 458_752, 0),
    ("gemma-2-9b", "gemma2", 9_241_705_984, 172_032, 704_643_072),
    ("gemma-3-27b", "gemma3", 27_009_346_304, 81_920, 436_207_616),
    ("gemma-3n-e2b", "gemma3n", 4_435_182_688, 8_192, 16_777_216),
    ("gemma-3n-e4b", "gemma3n", 6_835_235_568, 8_192, 16_777_216),
    ("phi-3-mini-4k", "phi3", 3_821_079_552, 0, 804_913_152),
    ("phi-4", "phi3", 14_659_507_200, 204_800, 0),
    ("phi-3.5-moe", "phimoe", 41_873_153_344, 0, 17_179_869_184),
    ("deepseek-v2-lite", "deepseek2", 15_706_484_224, 31_104, 0),
    ("deepseek-v3", "deepseek2", 671_026_404_352, 70_272, 0),
    ("gpt-oss-20b", "gpt-oss", 20_914_757_184, 24_576, 3_145_728),
    ("gpt-oss-120b", "gpt-oss", 116_829_156_672, 36_864, 4_718_592),
    ("mamba-2.8b", "mamba", 2_768_345_600, 0, 22_937_600),
    ("falcon-mamba-7b", "mamba", 7_272_665_088, 0, 36_700_160),
    ("mamba2-2.7b", "mamba2", 2_702_599_680, 0, 169_836_544),
    ("mamba-codestral-7b", "mamba2", 7_285_403_648, 0, 272_367_616),
    ("falcon-7b", "falcon", 6_921_720_704, 8_192, 0),
    ("falcon-40b", "falcon", 41_303_293_952, 122_880, 0),
    ("falcon-h1-0.5b", "falcon-h1", 521_411_104, 18_432, 28_698_624),
    ("command-r-v01", "command-r", 34_980_831_232, 1_310_720, 0),
    ("command-r-plus", "command-r", 103_810_674_688, 262_144, 0),
    ("command-r7b", "cohere2", 8_028_033_024, 32_768, 402_653_184),
    ("nemotron-h-8b", "nemotron_h", 8_100_852_736, 16_384, 102_137_856),
    ("qwen3-next-80b-a3b", "qwen3next", 79_674_391_296, 24_576, 77_266_944),
    ("lfm2-1.2b", "lfm2", 1_170_340_608, 12_288, 81_920),
    ("lfm2-8b-a1b", "lfm2moe", 8_339_929_856, 12_288, 147_456),
    ("olmo-7b", "olmo", 6_888_095_744, 524_288, 0),
    ("olmo-2-7b", "olmo2", 7_298_617_344, 524_288, 0),
    ("olmo-3-7b", "olmo2", 7_298_011_136, 131_072, 1_610_612_736),
    ("olmoe-1b-7b", "olmoe", 6_919_161_856, 131_072, 0),
    ("granite-3.1-8b", "granite", 8_170_848_256, 163_840, 0),
    ("granite-3.1-3b-a800m", "granitemoe", 3_298_793_472, 65_536, 0),
    ("granite-4.0-h-tiny", "granitehybrid", 6_939_037_248, 8_192, 57_341_952),
    ("glm-4-32b-0414", "glm4", 32_566_081_536, 62_464, 0),
    ("glm-4.5-air", "glm4moe", 106_852_245_504, 188_416, 0),
    ("jamba-1.5-mini", "jamba", 51_570_323_328, 16_384, 16_056_320),
    ("stablelm-3b-4e1t", "stablelm", 2_795_443_200, 327_680, 0),
    # Its window of 4096 is in no GGUF file: 32 layers * 2 * 4 heads * 128 * 2 bytes.
    ("starcoder2-7b", "starcoder2", 7_173_923_840, 65_536, 0),
]


@pytest.mark.parametrize(
    ("name", "architecture", "parameters", "per_token", "fixed"),
    MODELS,
    ids=lambda value: str(value),
)
def test_models(
    tmp_path: Path, name: str, architecture: str, parameters: int, per_token: int, fixed: int
) -> None:
    spec = load(name)
    keys, tensors = of_spec(spec, architecture)
    found = load_gguf(write(tmp_path / "model.gguf", architecture, keys, tensors))
    cache = cache_function(found.spec, CacheDtypes())
    assert summarise(found.spec).total == parameters
    assert summarise(found.spec).active == summarise(spec).active
    assert (cache.bytes_per_token, cache.fixed_bytes()) == (per_token, fixed)
    assert found.spec.model_type == spec.model_type
    # The spec's own formats give the file's bytes back.
    assert found.weights is not None
    given_back = ledger(found.spec, "checkpoint")
    assert given_back.bytes == found.weights.bytes
    assert {part: size for part, size in given_back.by_component.items() if size} == (
        found.weights.by_component
    )
    assert replace(load_spec_text(spec_text(found)), expect=None) == found.spec
    if fixed and name != "starcoder2-7b":
        # The same in the middle of windows, where the layer pattern counts.
        own = cache_function(spec, CacheDtypes())
        assert [cache.at(tokens) for tokens in (1, 100, 700, 5000)] == [
            own.at(tokens) for tokens in (1, 100, 700, 5000)
        ]


@pytest.mark.parametrize(("name", "architecture"), [row[:2] for row in MODELS])
def test_tensor_names_are_those_of_the_architecture(name: str, architecture: str) -> None:
    """The test's own files: every name is one that the gguf package lists for the architecture."""
    number = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[number]}
    _, tensors = of_spec(load(name), architecture)
    for tensor, _, _ in tensors:
        parts = tensor.split(".")
        if parts[0] == "blk":
            parts[1] = "{bid}"
        if parts[-1] in ("weight", "bias"):
            parts.pop()
        assert ".".join(parts) in known


@pytest.mark.parametrize(
    ("name", "keys", "told"),
    [
        ("mistral-7b-v0.1", {}, True), ("mistral-7b-v0.1", {"llama.rope.freq_base": 10000.0}, True),
        # Later Mistral 7B have no window and another base; Llama-3-8B has another vocabulary.
        ("mistral-7b-v0.3", {"llama.rope.freq_base": 1000000.0}, False), ("llama-3-8b", {}, False),
        ("llama-2-7b", {}, False),
    ],
)  # fmt: skip
def test_the_window_that_llama_files_leave_out_is_told(
    tmp_path: Path, name: str, keys: dict[str, object], told: bool
) -> None:
    spec = load(name)
    blocks = {
        name: replace(block, attention=replace(block.attention, sliding_window=None))
        for name, block in spec.blocks.items()
    }  # fmt: skip
    own, tensors = of_spec(replace(spec, blocks=blocks), "llama")
    found = load_gguf(write(tmp_path / "model.gguf", "llama", own | keys, tensors))
    assert any("leave its window of 4096" in note for note in found.assumptions) == told


def test_architectures_are_llama_cpps() -> None:
    assert set(gguf.MODEL_ARCH_NAMES.values()) >= set(ARCHITECTURES)


def test_deepseek_before_the_latent_was_absorbed(tmp_path: Path) -> None:
    """Files of before April 2025: whole kv_b matrices, head widths in key_length."""
    keys, tensors = of_spec(load("deepseek-v2-lite"), "deepseek2")
    for key in ("key_length_mla", "value_length_mla"):
        keys[f"deepseek2.attention.{key.removesuffix('_mla')}"] = keys.pop(
            f"deepseek2.attention.{key}"
        )
    old: list[Tensor] = []
    for name, shape, kind in tensors:
        if name.endswith("attn_k_b.weight"):
            old.append((name.replace("attn_k_b", "attn_kv_b"), (16 * (128 + 128), 512), kind))
        elif not name.endswith("attn_v_b.weight"):
            old.append((name, shape, kind))
    found = load_gguf(write(tmp_path / "old.gguf", "deepseek2", keys, old))
    assert summarise(found.spec).total == 15_706_484_224
    assert cache_function(found.spec, CacheDtypes()).bytes_per_token == 31_104


def test_mixtral_with_a_tensor_per_expert(tmp_path: Path) -> None:
    """Files of before April 2024."""
    keys, tensors = of_spec(load("mixtral-8x7b"), "llama")
    old: list[Tensor] = []
    for name, shape, kind in tensors:
        if "_exps" in name:
            old += [(name.replace("_exps", f".{e}"), shape[1:], kind) for e in range(shape[0])]
        else:
            old.append((name, shape, kind))
    found = load_gguf(write(tmp_path / "old.gguf", "llama", keys, old))
    assert summarise(found.spec).total == 46_702_792_704
    assert found.weights is not None
    # fp16 matrices of 2 bytes; the router and 65 norms of 4096 are in fp32.
    assert found.weights.by_component["experts"] == 32 * 8 * 3 * 4096 * 14336 * 2


def test_gemma_3n_without_the_key_of_shared_layers(tmp_path: Path) -> None:
    keys, tensors = of_spec(load("gemma-3n-e4b"), "gemma3n")
    del keys["gemma3n.attention.shared_kv_layers"]
    found = load_gguf(write(tmp_path / "old.gguf", "gemma3n", keys, tensors))
    assert cache_function(found.spec, CacheDtypes()).bytes_per_token == 8_192
    assert any("layers from 20 on" in note for note in found.assumptions)
    assert found.weights is not None
    # 15 layers' K and V (2 * 512 rows of 2048 in fp16) and their K norm (256 in fp32).
    assert dict(found.weights.beside) == {
        "keys and values that layers sharing a cache hold unused": 15 * (2 * 512 * 2048 * 2 + 1024)
    }


def test_gemma_3_says_its_own_pattern(tmp_path: Path) -> None:
    keys, tensors = of_spec(load("gemma-3-27b"), "gemma3")
    keys["gemma3.attention.sliding_window_pattern"] = [True] * 61 + [False]
    found = load_gguf(write(tmp_path / "one.gguf", "gemma3", keys, tensors))
    # One global layer of 62: 2 * 16 heads * 128 * 2 bytes.
    assert cache_function(found.spec, CacheDtypes()).bytes_per_token == 8_192


def test_layers_that_predict_further_tokens_stand_apart(tmp_path: Path) -> None:
    keys, tensors = of_spec(load("glm-4.5-air"), "glm4moe")
    keys["glm4moe.block_count"] += 1
    keys["glm4moe.nextn_predict_layers"] = 1
    tensors.append(("blk.46.nextn.eh_proj.weight", (4096, 8192), Type.F16))
    found = load_gguf(write(tmp_path / "mtp.gguf", "glm4moe", keys, tensors))
    assert summarise(found.spec).total == 106_852_245_504
    assert found.weights is not None
    assert found.weights.beside == (("multi-token-prediction layers", 67_108_864),)
    assert found.spec.left_out == ("multi-token-prediction layers",)


# ---------------------------------------------------------------- refused by name


def test_unknown_architecture(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf", "llama5", {}, [])
    with pytest.raises(UnsupportedError, match="architecture 'llama5' is not accounted for"):
        load_gguf(path)


def test_a_projector_is_no_language_model(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no language model"):
        load_gguf(write(tmp_path / "mmproj.gguf", "clip", {}, []))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"llama.attention.sliding_window": 4096}, "which layers of llama have a window"),
        ({"llama.attention.chunk_size": 8192}, "'llama.attention.chunk_size' is a key"),
        ({"llama.attention.causal": False}, "attention.causal is false"),
        ({"llama.attention.shared_kv_layers": 1}, "share K and V"),
        ({"llama.attention.key_length": 32}, "hold 12,288 elements"),
        ({"qwen2.block_count": 1}, "another architecture"),
    ],
)
def test_keys_that_matter(tmp_path: Path, keys: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        load_gguf(small(tmp_path, keys))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"llama.block_count": 10**9}, "llama.block_count: 1000000000 is out of range"),
        ({"llama.attention.head_count_kv": 3}, "4 heads cannot share 3 evenly"),
        ({"llama.attention.head_count": [4, 4], "llama.block_count": 3}, "2 entries for 3 layers"),
        ({"llama.embedding_length": 128}, "the token table is 64 wide"),
        ({"llama.attention.head_count": "four"}, "expected a whole number, found four"),
    ],
)
def test_keys_that_are_wrong(tmp_path: Path, keys: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_gguf(small(tmp_path, keys))


def test_tensors_that_are_not_accounted_for(tmp_path: Path) -> None:
    extra = ("blk.0.attn_rel_b.weight", (4, 32), Type.F32)
    with pytest.raises(UnsupportedError, match=r"attn_rel_b.weight is a tensor"):
        load_gguf(small(tmp_path, **{extra[0]: extra}))
    with pytest.raises(UnsupportedError, match=r"attn_k.weight is missing"):
        load_gguf(small(tmp_path, **{"blk.0.attn_k.weight": None}))
    wide = ("blk.0.ffn_up.weight", (128, 64), Type.F16)
    with pytest.raises(UnsupportedError, match="layer 0: the tensors of its ffn hold 20,480"):
        load_gguf(small(tmp_path, **{wide[0]: wide}))
    with pytest.raises(UnsupportedError, match="a layer that block_count leaves out"):
        load_gguf(small(tmp_path, **{"x": ("blk.7.attn_norm.weight", (64,), Type.F32)}))


# ---------------------------------------------------------------- splits


def split(folder: Path, name: str = "m", **wrong: int) -> list[Path]:
    """The small file in two parts; ``wrong`` overrides keys of the second."""
    paths = []
    halves = (SMALL_TENSORS[:5], SMALL_TENSORS[5:])
    for number, tensors in enumerate(halves):
        keys: dict[str, object] = {"split.no": number, "split.count": 2}
        keys["split.tensors.count"] = len(SMALL_TENSORS)
        if number == 0:
            keys = SMALL | keys
        else:
            keys |= {key.replace("_", "."): value for key, value in wrong.items()}
        path = folder / f"{name}-0000{number + 1}-of-00002.gguf"
        paths.append(write(path, "llama", keys, tensors))
    return paths


def test_a_split_by_any_of_its_parts(tmp_path: Path) -> None:
    for part in split(tmp_path):
        found = load_gguf(part)
        assert found.weights is not None
        assert found.weights.bytes == 36_992
        assert found.spec.name == "m"


def test_broken_splits(tmp_path: Path) -> None:
    first, second = split(tmp_path)
    second.rename(tmp_path / "elsewhere.gguf")
    with pytest.raises(FileError, match=r"missing parts of the split: m-00002-of-00002.gguf"):
        read_gguf(first)
    second.symlink_to(first)
    with pytest.raises(SpecError, match=r"the same file as m-00001-of-00002.gguf"):
        read_gguf(first)
    second.unlink()
    second.symlink_to(second)
    with pytest.raises(FileError, match="cannot read"):
        read_gguf(first)
    first.rename(tmp_path / "m.gguf")
    with pytest.raises(SpecError, match="says 2 parts, so it has to be named"):
        read_gguf(tmp_path / "m.gguf")
    for number, (wrong, message) in enumerate(
        [({"split_no": 0}, "split.no is 0"), ({"split_count": 3}, "not that of the other parts")]
    ):
        with pytest.raises(SpecError, match=message):
            read_gguf(split(tmp_path, f"n{number}", **wrong)[0])


def _projector(folder: Path, name: str, width: int) -> None:
    tensors: list[Tensor] = [
        ("v.blk.0.attn_q.weight", (64, 64), Type.F16),
        ("mm.0.weight", (width, 64), Type.F16),
    ]
    write(folder / name, "clip", {"clip.vision.projection_dim": width}, tensors)


def test_the_projector_file_of_the_folder_is_named_with_its_bytes(tmp_path: Path) -> None:
    path = small(tmp_path)
    width = load_gguf(path).spec.hidden_size
    _projector(tmp_path, "mmproj-F16.gguf", width)
    found = load_gguf(path)
    elements = 64 * 64 + width * 64
    said = f"projector file mmproj-F16.gguf ({elements:,} parameters)"
    assert found.weights is not None
    assert (said, 2 * elements) in found.weights.beside
    assert said in found.spec.left_out


def test_a_projector_of_another_width_is_another_models(tmp_path: Path) -> None:
    path = small(tmp_path)
    _projector(tmp_path, "mmproj-F16.gguf", 4321)
    assert load_gguf(path).spec.left_out == ()


def test_a_projector_alone_is_told_by_its_size(tmp_path: Path) -> None:
    _projector(tmp_path, "mmproj-F16.gguf", 32)
    with pytest.raises(UnsupportedError, match="6,144 parameters in 2 tensors of 12,288 bytes"):
        load_gguf(tmp_path / "mmproj-F16.gguf")
