"""safetensors: headers, shards, comparison with the config's inventory, hostile files."""

import contextlib
import json
import os
import struct
import sys
import time
from dataclasses import replace
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvcalc import load
from kvcalc.cli.app import main
from kvcalc.convert.checkpoint import attach, attach_hub, component_of
from kvcalc.convert.files import load_model
from kvcalc.convert.hf import Imported
from kvcalc.convert.safetensors import BITS, Checkpoint, read_checkpoint, read_header
from kvcalc.convert.stored import StoredTensor
from kvcalc.convert.write import spec_text
from kvcalc.errors import FileError, KvcalcError, NotFoundError, SpecError, UnsupportedError
from kvcalc.spec.loader import load_spec_text
from kvcalc.spec.stored import StoredWeights
from tests.convert.costs import cost_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

Tensors = dict[str, tuple[str, list[int]]]

CONFIG = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "head_dim": 16,
    "tie_word_embeddings": False, "max_position_embeddings": 512, "attention_bias": False,
    "mlp_bias": False,
}  # fmt: skip


def llama(dtype: str = "BF16") -> Tensors:
    """The tensors of the config above, as transformers names them."""
    tensors: Tensors = {"model.embed_tokens.weight": (dtype, [100, 64])}
    for index in range(2):
        place = f"model.layers.{index}."
        tensors |= {
            f"{place}input_layernorm.weight": (dtype, [64]),
            f"{place}self_attn.q_proj.weight": (dtype, [64, 64]),
            f"{place}self_attn.k_proj.weight": (dtype, [32, 64]),
            f"{place}self_attn.v_proj.weight": (dtype, [32, 64]),
            f"{place}self_attn.o_proj.weight": (dtype, [64, 64]),
            f"{place}post_attention_layernorm.weight": (dtype, [64]),
            f"{place}mlp.gate_proj.weight": (dtype, [96, 64]),
            f"{place}mlp.up_proj.weight": (dtype, [96, 64]),
            f"{place}mlp.down_proj.weight": (dtype, [64, 96]),
        }
    tensors |= {"model.norm.weight": (dtype, [64]), "lm_head.weight": (dtype, [100, 64])}
    return tensors


def header(tensors: Tensors) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in tensors.items():
        bits = BITS[dtype]
        for size in shape:
            bits *= size
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + bits // 8]}
        at += bits // 8
    return json.dumps(entries).encode()


def data_bytes(tensors: Tensors) -> int:
    last = list(json.loads(header(tensors)).values())[-1]
    return int(last["data_offsets"][1])


def save(path: Path, tensors: Tensors, *, data: bool = True) -> Path:
    text = header(tensors)
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    if data:
        with path.open("r+b") as file:
            file.truncate(8 + len(text) + data_bytes(tensors))
    return path


def model(folder: Path, tensors: Tensors, **config: object) -> Path:
    """A folder with a config and one file of tensors."""
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    save(folder / "model.safetensors", tensors)
    return folder


def stored(source: Path) -> tuple[Imported, StoredWeights]:
    found = load_model(str(source))
    assert found is not None
    assert found.weights is not None
    return found, found.weights


# ---------------------------------------------------------------- bytes

# 100 * 64 = 6,400 in each table; attention 2 * (64 + 32 + 32 + 64) * 64; ffn 2 * 3 * 96 * 64;
# 5 norms of 64. In bf16 twice that.
EXPECTED = {"embedding": 12_800, "attention": 49_152, "ffn": 73_728, "norm": 640, "head": 12_800}


def test_one_file(tmp_path: Path) -> None:
    found, weights = stored(model(tmp_path, llama()))
    assert weights.by_component == EXPECTED
    assert weights.by_dtype == {"BF16": 149_120}
    assert weights.bytes == 149_120
    assert weights.beside == ()
    assert found.assumptions == ()
    assert f"{tmp_path.name}: 149,120 bytes of weights (BF16 149,120)" in found.spec.notes
    assert replace(load_spec_text(spec_text(found)), expect=None) == found.spec


def test_the_reference_library_writes_what_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    tensors = {
        "a": torch.zeros(3, 5, dtype=torch.bfloat16), "b": torch.zeros(7, dtype=torch.float8_e4m3fn),
        "c": torch.zeros((), dtype=torch.int64), "d": torch.zeros(2, 0), "e": torch.zeros(9).bool(),
    }  # fmt: skip
    save_file(tensors, tmp_path / "x.safetensors")
    found = read_header(tmp_path / "x.safetensors")
    assert {tensor.name: (tensor.dtype, tensor.shape, tensor.num_bytes) for tensor in found.tensors} == {
        "a": ("BF16", (3, 5), 30), "b": ("F8_E4M3", (7,), 7), "c": ("I64", (), 8),
        "d": ("F32", (2, 0), 0), "e": ("BOOL", (9,), 9),
    }  # fmt: skip
    assert found.total_bytes == found.present_bytes == (tmp_path / "x.safetensors").stat().st_size


def test_formats_smaller_than_a_byte(tmp_path: Path) -> None:
    path = save(tmp_path / "x.safetensors", {"a": ("F4", [4, 32]), "b": ("F6_E2M3", [4, 4])})
    assert [tensor.num_bytes for tensor in read_header(path).tensors] == [64, 12]


def test_a_partial_download_is_said_to_be_one(tmp_path: Path) -> None:
    model(tmp_path, llama())
    save(tmp_path / "model.safetensors", llama(), data=False)
    found, weights = stored(tmp_path)
    assert weights.bytes == 149_120
    assert "its headers are whole, its tensors are not" in found.assumptions[0]


def shards(folder: Path) -> list[Path]:
    items = list(llama().items())
    (folder / "config.json").write_text(json.dumps(CONFIG))
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    halves = [dict(items[:9]), dict(items[9:])]
    for name, half in zip(names, halves, strict=True):
        save(folder / name, half)
    weight_map = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return [folder / name for name in names]


def test_shards_by_folder_index_or_any_of_them(tmp_path: Path) -> None:
    first, second = shards(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    for source in (tmp_path, index, first, second):
        assert stored(source)[1].by_component == EXPECTED
    index.unlink()
    for source in (tmp_path, first, second):
        assert stored(source)[1].by_component == EXPECTED


def test_estimate_takes_the_files_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = llama() | {"lm_head.weight": ("F32", [100, 64])}
    with pytest.raises(SystemExit):
        main(["estimate", str(model(tmp_path, tensors)), "--context", "100", "--format", "json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["weights"]["bytes"] == 149_120 + 12_800
    assert answer["weights"]["by_component"]["head"] == 25_600
    assert answer["weights"]["by_dtype"] == {"BF16": 136_320, "F32": 25_600}
    assert answer["workload"]["dtype"] == "checkpoint"
    assert any("BF16 136,320, F32 25,600" in note for note in answer["assumptions"])


def test_a_dtype_that_is_asked_for_is_not_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["estimate", str(model(tmp_path, llama())), "--dtype", "fp32", "--format", "json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["weights"]["bytes"] == 298_240
    assert "by_dtype" not in answer["weights"]


def test_devices_share_one_format_and_not_a_mixture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["estimate", str(model(tmp_path, llama())), "--tp", "2", "--format", "json"]
    with pytest.raises(SystemExit):
        main(arguments)
    # Half of every matrix, the 5 norms of 64 whole: (149,120 - 640) / 2 + 640.
    assert json.loads(capsys.readouterr().out)["weights"]["per_device_bytes"] == [74_880, 74_880]
    model(tmp_path, llama() | {"lm_head.weight": ("F32", [100, 64])})
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] == "unsupported"
    assert "say --dtype" in error["message"]


# ---------------------------------------------------------------- what is more, what is missing


def test_what_stands_beside_the_model(tmp_path: Path) -> None:
    extra: Tensors = {
        "vision_tower.blocks.0.attn.qkv.weight": ("BF16", [96, 32]),
        "multi_modal_projector.linear.weight": ("BF16", [64, 32]),
        "model.layers.2.self_attn.q_proj.weight": ("BF16", [64, 64]),
        "mtp.fc.weight": ("BF16", [64, 128]),
        "model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", [8]),
        "model.layers.0.self_attn.q_norm.weight": ("BF16", [16]),
        "model.layers.1.self_attn.q_norm.weight": ("BF16", [16]),
    }
    found, weights = stored(model(tmp_path, llama() | extra))
    assert weights.by_component == EXPECTED
    assert dict(weights.beside) == {
        "vision parts (2 tensors)": 2 * (96 * 32 + 64 * 32),
        "multi-token-prediction layers (2 tensors)": 2 * (64 * 64 + 64 * 128),
        "buffers that libraries compute (1 tensor)": 32,
        "not in the config: model.layers.N.self_attn.q_norm.weight (2 tensors)": 64,
    }
    assert found.assumptions == ()


def test_a_copy_of_a_tied_head_and_a_missing_head(tmp_path: Path) -> None:
    tied, weights = stored(model(tmp_path, llama(), tie_word_embeddings=True))
    assert dict(weights.beside) == {"copies of the token table (1 tensor)": 12_800}
    assert weights.bytes == 136_320
    assert tied.assumptions == ()
    tensors = llama()
    del tensors["lm_head.weight"]
    found, weights = stored(model(tmp_path, tensors))
    assert weights.bytes == 136_320
    assert found.assumptions == (
        f"missing in {tmp_path}: head.weight (1 tensor, 6,400 parameters)",
    )


def test_fused_matrices_are_the_same_weights(tmp_path: Path) -> None:
    tensors = llama()
    for index in range(2):
        place = f"model.layers.{index}."
        for name in ("q", "k", "v"):
            del tensors[f"{place}self_attn.{name}_proj.weight"]
        tensors[f"{place}self_attn.qkv_proj.weight"] = ("BF16", [128, 64])
        for name in ("gate", "up"):
            del tensors[f"{place}mlp.{name}_proj.weight"]
        tensors[f"{place}mlp.gate_up_proj.weight"] = ("BF16", [192, 64])
    found, weights = stored(model(tmp_path, tensors))
    assert weights.by_component == EXPECTED
    assert (weights.beside, found.assumptions) == ((), ())


def test_fp8_blocks_with_their_scales(tmp_path: Path) -> None:
    tensors = llama()
    for name in [name for name in tensors if "_proj" in name]:
        tensors[name] = ("F8_E4M3", tensors[name][1])
        tensors[f"{name}_scale_inv"] = ("F32", [1, 1])
    found, weights = stored(model(tmp_path, tensors))
    # A byte per element, and 4 for the one scale of each of 2 * 4 and 2 * 3 matrices.
    assert weights.by_component["attention"] == 24_576 + 2 * 4 * 4
    assert weights.by_component["ffn"] == 36_864 + 2 * 3 * 4
    assert weights.by_dtype == {"F8_E4M3": 61_440, "BF16": 26_240, "F32": 56}
    assert found.assumptions == (
        "14 tensors with scales and zero points of quantised matrices (56 bytes) counted with the "
        "weights",
    )


@pytest.mark.parametrize(("bits", "words"), [(4, 8), (8, 4)])
def test_gptq_packs_elements_in_words(tmp_path: Path, bits: int, words: int) -> None:
    tensors = llama()
    for name in [name for name in tensors if "_proj" in name]:
        (rows, columns), stem = tensors.pop(name)[1], name.removesuffix(".weight")
        tensors[f"{stem}.qweight"] = ("I32", [columns // words, rows])
        tensors[f"{stem}.qzeros"] = ("I32", [1, rows // words])
        tensors[f"{stem}.scales"] = ("F16", [1, rows])
        tensors[f"{stem}.g_idx"] = ("I32", [columns])
    quantization = {"quant_method": "gptq", "bits": bits, "group_size": 128}
    found, weights = stored(model(tmp_path, tensors, quantization_config=quantization))
    assert weights.beside == ()
    assert not [note for note in found.assumptions if "missing" in note]
    assert not any("a spec has no words for" in note for note in found.assumptions)
    # 61,440 elements of the 14 matrices packed, 896 zero points as narrow, 960 words of g_idx.
    assert weights.by_dtype["I32"] == {4: 35_008, 8: 66_176}[bits]


def test_deepseek_v3_with_a_tensor_per_expert() -> None:
    """Every expert in tensors of its own, as the hub has them: 45,395 in all."""
    attention = {
        "self_attn.q_a_proj": (1536, 7168), "self_attn.q_a_layernorm": (1536,),
        "self_attn.q_b_proj": (24576, 1536), "self_attn.kv_a_proj_with_mqa": (576, 7168),
        "self_attn.kv_a_layernorm": (512,), "self_attn.kv_b_proj": (32768, 512),
        "self_attn.o_proj": (7168, 16384), "input_layernorm": (7168,),
        "post_attention_layernorm": (7168,),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (129280, 7168), "lm_head.weight": (129280, 7168),
        "model.norm.weight": (7168,),
    }  # fmt: skip
    for index in range(61):
        place = f"model.layers.{index}."
        shapes |= {f"{place}{name}.weight": shape for name, shape in attention.items()}
        experts = {"": 18432} if index < 3 else {f"experts.{e}.": 2048 for e in range(256)}
        if index >= 3:
            experts["shared_experts."] = 2048
            shapes[f"{place}mlp.gate.weight"] = (256, 7168)
            shapes[f"{place}mlp.gate.e_score_correction_bias"] = (256,)
        for expert, width in experts.items():
            shapes[f"{place}mlp.{expert}gate_proj.weight"] = (width, 7168)
            shapes[f"{place}mlp.{expert}up_proj.weight"] = (width, 7168)
            shapes[f"{place}mlp.{expert}down_proj.weight"] = (7168, width)
    tensors = tuple(
        StoredTensor(name, shape, "BF16", 2 * prod(shape)) for name, shape in shapes.items()
    )
    checkpoint = Checkpoint(path="v3", tensors=tensors, total_bytes=0, present_bytes=0)
    found = attach(Imported(load("deepseek-v3")), checkpoint)
    assert len(tensors) == 45_395
    assert found.weights is not None
    # 671,026,404,352 parameters and 58 router biases of 256, which are buffers.
    assert found.weights.bytes == 2 * (671_026_404_352 + 14_848)
    assert found.weights.by_component["experts"] == 2 * 58 * 256 * 3 * 2048 * 7168
    assert (found.weights.beside, found.assumptions) == ((), ())


def test_names_of_many_libraries() -> None:
    expected = {
        "transformer.h.3.attn.c_attn.weight": "attention",
        "transformer.wte.weight": "embedding",
        "transformer.ln_f.weight": "norm",
        "gpt_neox.layers.1.attention.query_key_value.weight": "attention",
        "model.layers.4.mlp.experts.17.down_proj.weight": "experts",
        "model.layers.4.mlp.gate.weight": "router",
        "model.layers.4.mlp.gate_proj.weight": "ffn",
        "model.layers.4.mlp.shared_experts.up_proj.weight": "ffn",
        "model.layers.4.block_sparse_moe.gate.weight": "router",
        "model.layers.0.self_attn.q_norm.weight": "attention",
        "model.layers.0.linear_attn.in_proj_qkvz.weight": "recurrent",
        "backbone.layers.0.mixer.in_proj.weight": "recurrent",
        "backbone.layers.7.mixer.q_proj.weight": "attention",
        "lm_head.weight": "head",
    }
    assert {name: component_of(name) for name in expected} == expected


def test_without_a_config_the_bytes_are_said(tmp_path: Path) -> None:
    path = save(tmp_path / "model.safetensors", llama())
    with pytest.raises(NotFoundError, match=r"21 tensors of 149,120 bytes, and no config.json"):
        load_model(str(path))


# ---------------------------------------------------------------- the hub


def hub(metadata: object) -> SimpleNamespace:
    """huggingface_hub with an API that answers with ``metadata``, or raises it."""

    def get(repo_id: str, *, revision: str) -> object:
        assert (repo_id, revision) == ("org/name", "abc")
        if isinstance(metadata, Exception):
            raise metadata
        return metadata

    return SimpleNamespace(HfApi=lambda: SimpleNamespace(get_safetensors_metadata=get))


def test_headers_from_the_hub(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    imported = load_model(str(tmp_path / "config.json"))
    assert imported is not None
    infos = {
        name: SimpleNamespace(dtype=info["dtype"], shape=info["shape"],
                              data_offsets=info["data_offsets"])
        for name, info in json.loads(header(llama())).items() if name != "__metadata__"
    }  # fmt: skip
    metadata = SimpleNamespace(files_metadata={"model.safetensors": SimpleNamespace(tensors=infos)})
    arguments = ("org/name", "abc", tmp_path / "config.json")
    found, notes = attach_hub(imported, *arguments, hub(metadata))
    assert found.weights is not None
    assert found.weights.by_component == EXPECTED
    assert notes == ()
    assert attach_hub(imported, *arguments, None) == (imported, ())
    failed, notes = attach_hub(imported, *arguments, hub(TimeoutError("slow")))
    assert failed.weights is None
    assert notes == (
        "the headers of org/name were not read (TimeoutError): weights by the config and --dtype",
    )
    # What lies in the cache beside the config is read first.
    save(tmp_path / "model.safetensors", llama())
    assert attach_hub(imported, *arguments, hub(TimeoutError()))[0].weights is not None


# ---------------------------------------------------------------- hostile files


def entry(**changed: object) -> bytes:
    info = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changed
    return json.dumps({"a": info}).encode()


HOSTILE = {
    "not JSON": (b"{]", "is not JSON"),
    "not an object": (b"[1, 2]", "not a JSON object"),
    "not UTF-8": (b'{"\xff": 1}', "not UTF-8"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "a long number": (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
    "twice": (b'{"a": 1, "a": 2}', "has 'a' twice"),
    "no entry": (b'{"a": 1}', "has to have dtype, shape and data_offsets"),
    "more keys": (entry(extra=1), "has to have dtype, shape and data_offsets"),
    "dtype": (entry(dtype="F3"), "dtype F3, whose size is not known"),
    "dtype of a number": (entry(dtype=3), "has no dtype"),
    "negative shape": (entry(shape=[-2]), "a shape that is none"),
    "fraction": (entry(shape=[2.0]), "a shape that is none"),
    "truth": (entry(shape=[True, 2]), "a shape that is none"),
    "many axes": (entry(shape=[1] * 99), "a shape that is none"),
    "2^62 * 2^62": (entry(shape=[1 << 62, 1 << 62]), "cannot take the 8 bytes"),
    "wrong size": (entry(shape=[3]), "cannot take the 8 bytes"),
    "backwards": (entry(data_offsets=[8, 0]), "data_offsets that are none"),
    "one offset": (entry(data_offsets=[8]), "data_offsets that are none"),
    "a gap": (entry(data_offsets=[8, 16]), "leaves a gap before it"),
    "half a byte": (entry(dtype="F4", shape=[3], data_offsets=[0, 1]), "cannot take the 1 bytes"),
    "many commas": (b"{" + b"," * 600_000 + b"}", "more entries than a checkpoint has tensors"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers(tmp_path: Path, case: str) -> None:
    text, message = HOSTILE[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    with pytest.raises(KvcalcError) as caught:
        read_header(path)
    assert message in caught.value.message
    assert str(path) in caught.value.message


def test_lying_lengths(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for data, message in (
        (b"", "0 bytes are no safetensors file"),
        (
            struct.pack("<Q", 1 << 60) + b"{}",
            "1152921504606846976 bytes, and the file ends after 10",
        ),
        (struct.pack("<Q", 100) + b"{}", "cut off, or not a safetensors file"),
        (struct.pack("<Q", 2) + b"{}xx", "2 bytes that belong to no tensor"),
    ):
        path.write_bytes(data)
        with pytest.raises(SpecError, match=message):
            read_header(path)
    overlapping = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
    }
    text = json.dumps(overlapping).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(12))
    with pytest.raises(SpecError, match="'b' overlaps what stands before it"):
        read_header(path)


def test_broken_shards(tmp_path: Path) -> None:
    first, second = shards(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    second.unlink()
    with pytest.raises(FileError, match=r"missing shards: model-00002-of-00002"):
        read_checkpoint(tmp_path)
    second.symlink_to(first)
    with pytest.raises(SpecError, match=r"the same file as model-00001-of-00002"):
        read_checkpoint(tmp_path)
    second.unlink()
    second.write_bytes(first.read_bytes())
    with pytest.raises(SpecError, match="is in another file of it as well"):
        read_checkpoint(tmp_path)
    for name in ("../secret.safetensors", "/etc/passwd", 7, "x.bin"):
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(SpecError, match="no file beside the index"):
            read_checkpoint(tmp_path)
    index.write_text("{}")
    with pytest.raises(SpecError, match="weight_map is missing"):
        read_checkpoint(tmp_path)
    index.unlink()
    second.unlink()
    first.rename(tmp_path / "other-00001-of-99999.safetensors")
    with pytest.raises(SpecError, match="99999 shards"):
        read_checkpoint(tmp_path / "other-00001-of-99999.safetensors")


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_checkpoint(tmp_path / "none.safetensors")
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(FileError, match="not a regular file"):
        read_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "model.safetensors")
    with pytest.raises(FileError, match="cannot read"):
        read_checkpoint(tmp_path)


def test_several_checkpoints_in_one_folder(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", {"a": ("F32", [1])})
    save(tmp_path / "b.safetensors", {"a": ("F32", [1])})
    with pytest.raises(UnsupportedError, match="name the file that is meant"):
        read_checkpoint(tmp_path)
    # Mistral's repositories hold the weights twice; the model's own files are those meant.
    save(tmp_path / "model.safetensors", {"a": ("F32", [1])})
    save(tmp_path / "consolidated.safetensors", {"b": ("F32", [2])})
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert [tensor.name for tensor in found.tensors] == ["a"]


def large(case: str, path: Path) -> None:
    """A gigabyte that costs nothing to write, whose header asks for much memory."""
    text = {
        "zeros": b"",
        "lists": b'{"a": [' + b"[]," * 250_000 + b"1]}",
        "numbers": b'{"a": [' + b"1e5," * 500_000 + b"1]}",
        "strings": b'{"a": [' + b'"%s",' * 500_000 + b"1]}",
        "tensors": header({f"model.layers.{i}.x": ("F32", [1]) for i in range(80_000)}),
    }[case]
    length = (1 << 29) if case == "zeros" else len(text)
    path.write_bytes(struct.pack("<Q", length) + text)
    with path.open("r+b") as file:
        file.truncate(1 << 30)


@linux
@pytest.mark.parametrize("case", ["zeros", "lists", "numbers", "strings", "tensors"])
def test_a_gigabyte_costs_little(tmp_path: Path, case: str) -> None:
    path = tmp_path / "model.safetensors"
    large(case, path)
    message, peak_bytes, seconds = cost_of(path)
    assert str(path) in message
    assert peak_bytes < 200_000_000
    assert seconds < 2


# ---------------------------------------------------------------- fuzzing

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["F32", "BF16", "I32"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "a.weight"]), inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def _only_expected(folder: Path, data: bytes) -> None:
    """A model or an error that kvcalc raises on purpose, soon."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(data)
    started = time.process_time()
    with contextlib.suppress(KvcalcError):
        load_model(str(folder))
    assert time.process_time() - started < 2


@settings(max_examples=300, deadline=None)
@given(value=_JSON)
def test_fuzz_headers(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    text = json.dumps(value).encode()
    _only_expected(tmp_path_factory.getbasetemp(), struct.pack("<Q", len(text)) + text)


@settings(max_examples=300, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
       end=st.integers(0, 4000))  # fmt: skip
def test_fuzz_changed_bytes(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], end: int
) -> None:
    text = header(llama())
    data = bytearray(struct.pack("<Q", len(text)) + text)
    for place, value in edits:
        data[place] = value
    _only_expected(tmp_path_factory.getbasetemp(), bytes(data[: end or None]))


_SHAPES = st.lists(st.sampled_from([1, 2, 16, 32, 64, 96, 100]), max_size=3)


@settings(max_examples=200, deadline=None)
@given(changed=st.dictionaries(st.sampled_from([*llama(), "model.layers.9.x", "visual.a", "lm_head.x"]),
                               st.tuples(st.sampled_from(["BF16", "U8", "I32", "F8_E4M3"]), _SHAPES),
                               max_size=5),
       dropped=st.lists(st.sampled_from(list(llama())), max_size=5))  # fmt: skip
def test_every_byte_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, changed: Tensors, dropped: list[str]
) -> None:
    """Whatever the tensors: what is counted and what stands beside are the file's bytes."""
    tensors = {name: tensor for name, tensor in llama().items() if name not in dropped} | changed
    folder = model(tmp_path_factory.mktemp("any"), tensors)
    found = load_model(str(folder))
    assert found is not None
    assert found.weights is not None
    beside = sum(num_bytes for _, num_bytes in found.weights.beside)
    assert found.weights.bytes + beside == data_bytes(tensors)
    assert sum(found.weights.by_dtype.values()) == found.weights.bytes
