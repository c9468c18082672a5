"""--dtype mlx-*: to the byte of what mlx-lm makes of small random models of every class.

tests/mlx/measured.json says the release and the date. Literal figures beside it are mlx_lm's own, too.
"""

import json
from functools import cache
from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.memory.weights import ledger
from kvcalc.mlx.classes import BY_TYPE
from kvcalc.mlx_types import MLX_WORDS, mlx_recipe
from kvcalc.spec.catalog import load, shipped
from kvcalc.spec.model import ModelSpec
from tests.mlx.measured import CONFIGS, FILE

ENTRIES = {entry["name"]: entry["config"] for entry in json.loads(CONFIGS.read_text("utf-8"))}


@cache
def table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def spec_of(name: str) -> ModelSpec:
    return spec_from_config(ENTRIES[name], name, "config.json").spec


def made(spec: ModelSpec, dtype: str) -> int | None:
    """Bytes, or None where mlx-lm's conversion is said to fail."""
    try:
        return ledger(spec, dtype).bytes
    except UnsupportedError:
        return None


def test_the_table_is_of_the_release_that_the_code_states() -> None:
    from kvcalc.mlx.classes import RELEASE

    assert table()["mlx_lm"] == RELEASE
    assert len(table()["models"]) == len(ENTRIES) >= 80


@pytest.mark.parametrize("name", ENTRIES)
def test_every_recipe_to_the_byte(name: str) -> None:
    spec = spec_of(name)
    measured = table()["models"][name]["weights"]
    found = {dtype: made(spec, dtype) for dtype in measured if dtype != "bf16"}
    assert found == {dtype: each for dtype, each in measured.items() if dtype != "bf16"}


# Files of these name modules that share a row of the inventory with others, or that it has not.
NOT_READ = {"gemma3n", "longcat_flash"}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_config_that_mlx_lm_saved_is_the_same_model(name: str) -> None:
    row = table()["models"][name]
    special = BY_TYPE[ENTRIES[name]["model_type"]].eight
    for dtype, saved in row["saved"].items():
        if dtype == "mlx-4bit" and not special and len(row["saved"]) > 1:
            continue  # nothing is listed there
        quantization = dict(saved["usual"])
        for setting, modules in saved["modules"]:
            quantization |= dict.fromkeys(modules, setting)
        config = ENTRIES[name] | {"quantization": quantization, "quantization_config": quantization}
        if name in NOT_READ:
            with pytest.raises(UnsupportedError, match=r"quantization.*MLX"):
                spec_from_config(config, name, "config.json")
            continue
        spec = spec_from_config(config, name, "config.json").spec
        assert ledger(spec, "checkpoint").bytes == row["weights"][dtype]


def test_literal_figures() -> None:
    # A Llama of 3 layers (192 wide, 650 rows) that mlx_lm 0.32.2 made on 2026-11-29: 715,704 bytes at
    # 4 bits and groups of 64; gpt-oss keeps its experts in the mxfp4 of its checkpoint.
    config = dict(ENTRIES["llama"], vocab_size=650)
    spec = spec_from_config(config, "llama", "config.json").spec
    assert ledger(spec, "mlx-4bit").bytes == 715_704
    assert ledger(spec, "mlx-mixed-3-6").bytes == 589_512
    types = {each.type: each.tensors for each in ledger(load("gpt-oss-20b"), "mlx-4bit").types}
    assert types["mlx-mxfp4"] == 24 * 3
    assert types["mlx-8bit"] == 24  # routers


def test_shipped_decoders_have_a_class() -> None:
    """What mlx-lm has a class for gets an answer; what it has not is refused by name."""
    answered = 0
    for name in shipped():
        spec = load(name)
        if spec.model_type in BY_TYPE:
            try:
                assert ledger(spec, "mlx-4bit").bytes > 0
                answered += 1
            except UnsupportedError as error:
                assert "mlx-lm" in str(error)  # noqa: PT017
    assert answered >= 180
    with pytest.raises(UnsupportedError, match="model_type 't5' has no class of mlx-lm"):
        ledger(load("t5-base"), "mlx-4bit")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("mlx-4bit", "mlx-4bit"),
        ("MLX-4bit-g64", "mlx-4bit"),
        ("mlx-8bit-g32", "mlx-8bit-g32"),
        ("mlx-mxfp4-g32", "mlx-mxfp4"),
        ("mlx-mixed-3-6", "mlx-mixed-3-6"),
        ("mlx4_g64", "mlx-4bit"),
        ("mlx8_g128", "mlx-8bit-g128"),
    ],
)
def test_names(text: str, word: str) -> None:
    found = mlx_recipe(text)
    assert found is not None
    assert found.word == word
    assert mlx_recipe(word) == found


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("mlx-7bit", "2, 3, 4, 5, 6, 8 bits"),
        ("mlx-4bit-g48", "32, 64, 128"),
        ("mlx-nvfp4-g32", "groups of 16"),
        ("mlx-mixed-5-8", "did you mean"),
        ("mlx-4bits", "did you mean 'mlx-4bit'"),
    ],
)
def test_names_that_are_none(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        mlx_recipe(text)


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(KvcalcError, match=r"down_proj.*--dtype mlx-3bit"):
        ledger(load("mamba-2.8b"), "mlx-mixed-3-6")
    narrow = dict(ENTRIES["qwen3_moe"], hidden_size=224)
    spec = spec_from_config(narrow, "narrow", "config.json").spec
    with pytest.raises(UnsupportedError, match=r"groups of 64.*width of 224"):
        ledger(spec, "mlx-8bit-g32")


@pytest.mark.mlx
@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "deepseek_v3", "gemma4", "granite"])
def test_measured_again(name: str) -> None:
    pytest.importorskip("mlx_lm")
    from tests.mlx.measured import measure

    assert measure(ENTRIES[name])["weights"] == table()["models"][name]["weights"]


def test_all_words_are_recipes() -> None:
    assert [recipe.word for word in MLX_WORDS if (recipe := mlx_recipe(word))] == list(MLX_WORDS)
