"""safetensors: headers, shards, comparison with the config's inventory, the hub."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kvcalc import load
from kvcalc.cli.app import main
from kvcalc.convert.checkpoint import attach, attach_hub, component_of
from kvcalc.convert.files import load_model
from kvcalc.convert.imported import Imported
from kvcalc.convert.safetensors import Checkpoint, Kinds, read_header
from kvcalc.convert.write import spec_text
from kvcalc.errors import NotFoundError
from kvcalc.spec.loader import load_spec_text
from kvcalc.spec.stored import StoredWeights
from tests.convert.safetensors_files import CONFIG, Tensors, header, llama, model, save, shards


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


def test_devices_share_formats_tensor_by_tensor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["estimate", str(model(tmp_path, llama())), "--tp", "2", "--format", "json"]
    with pytest.raises(SystemExit):
        main(arguments)
    # Half of every matrix, the 5 norms of 64 whole: (149,120 - 640) / 2 + 640.
    assert json.loads(capsys.readouterr().out)["weights"]["per_device_bytes"] == [74_880, 74_880]
    model(tmp_path, llama() | {"lm_head.weight": ("F32", [100, 64])})
    with pytest.raises(SystemExit):
        main(arguments)
    # The head alone takes four bytes: half of 100 x 64 at two bytes more.
    assert json.loads(capsys.readouterr().out)["weights"]["per_device_bytes"] == [81_280, 81_280]


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
    kinds = Kinds()
    kinds.add({name: ("BF16", *shape) for name, shape in shapes.items()})
    checkpoint = Checkpoint(path="v3", tensors=kinds.tensors(), total_bytes=0, present_bytes=0)
    found = attach(Imported(load("deepseek-v3")), checkpoint)
    assert sum(tensor.number for tensor in checkpoint.tensors) == 45_395
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
