"""What mlx-lm makes of small random models: `python -m tests.mlx.measured`, in an environment with it.

For every config of tests/mlx/configs.json: the bytes of the weights in the model's own format and
under every recipe, and what the caches hold after `generate_step`'s prefill of some prompts. The
result, tests/mlx/measured.json, is replayed without mlx. The package needs nothing beside itself:
`pip install "mlx[cpu]==0.32.4" mlx-lm==0.32.2` runs on Linux without a GPU.
"""

import contextlib
import io
import json
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.engines.releases import Sources

CONFIGS = Path(__file__).with_name("configs.json")
FILE = Path(__file__).with_name("measured.json")
# What of its release says what changed (tests/engines/releases.py).
SOURCES = Sources(
    package="mlx_lm",
    classes=("models/cache.py",),
    functions=("models/cache.py", "utils.py", "generate.py"),
)

# --dtype -> what mlx_lm.convert is asked for.
RECIPES: dict[str, dict[str, Any]] = {
    **{f"mlx-{bits}bit": {"bits": bits, "group_size": 64} for bits in (2, 3, 4, 5, 6, 8)},
    **{f"mlx-{bits}bit-g{group}": {"bits": bits, "group_size": group}
       for bits, group in ((4, 32), (8, 32), (4, 128), (3, 32), (6, 128))},
    **{f"mlx-{mode}": {"mode": mode} for mode in ("mxfp4", "mxfp8", "nvfp4")},
    **{f"mlx-mixed-{name.replace('_', '-')}": {"mixed": f"mixed_{name}"}
       for name in ("2_6", "3_4", "3_6", "4_6")},
}  # fmt: skip
# The recipe whose config.json, with a setting for each module, is kept as well.
AS_SAVED = ("mlx-4bit", "mlx-mixed-3-6")


def build(config: dict[str, Any]) -> Any:
    """A random model in its config's format, as convert casts it."""
    import mlx.core as mx
    from mlx.utils import tree_map_with_path
    from mlx_lm.utils import _get_classes

    config = dict(config)
    if config["model_type"] == "mamba2":
        config["intermediate_size"] = config["expand"] * config["hidden_size"]
    own, arguments = _get_classes(config)
    model = own(arguments.from_dict(config))
    inner = getattr(model, "language_model", model)
    text = config.get("text_config", config)
    tied = text.get("tie_word_embeddings", True)
    if "lm_head" in inner and tied and config["model_type"] in _POPPED:
        inner.pop("lm_head")  # sanitize does so where the files hold no head
        inner.tie_word_embeddings = True
    cast = getattr(model, "cast_predicate", lambda name: True)

    def as_saved(name: str, value: Any) -> Any:
        if cast(name) and mx.issubdtype(value.dtype, mx.floating):
            return value.astype(mx.bfloat16)
        return value

    model.update(tree_map_with_path(as_saved, model.parameters()))
    return model


_POPPED = ("gemma3", "gemma3_text", "recurrent_gemma")


def weight_bytes(model: Any) -> int:
    """Bytes of all parameters of a model."""
    from mlx.utils import tree_flatten

    return sum(value.nbytes for _, value in tree_flatten(model.parameters()))


def quantised(config: dict[str, Any], recipe: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model under a recipe, and the config that is saved with it."""
    from mlx_lm.convert import mixed_quant_predicate_builder
    from mlx_lm.utils import quantize_model

    model = build(config)
    with contextlib.redirect_stdout(io.StringIO()):
        mixed = recipe.get("mixed")
        predicate = mixed_quant_predicate_builder(mixed, model) if mixed else None
        group = recipe.get("group_size", 64 if mixed else None)
        mode = recipe.get("mode", "affine")
        made: tuple[Any, dict[str, Any]] = quantize_model(
            model, dict(config), group, recipe.get("bits"), mode=mode, quant_predicate=predicate
        )
        return made


def measure(config: dict[str, Any]) -> dict[str, Any]:
    """Bytes by recipe; null where the conversion fails."""
    found: dict[str, Any] = {"bf16": weight_bytes(build(config))}
    saved = {}
    for name, recipe in RECIPES.items():
        try:
            model, written = quantised(config, recipe)
        except ValueError:
            found[name] = None
            continue
        found[name] = weight_bytes(model)
        if name in AS_SAVED:
            saved[name] = _short(written["quantization"])
    return {"weights": found, "saved": saved, "caches": measure_caches(config)}


# Prompts, and --max-kv-size and --kv-bits beside them, with quantisation from the first token on.
LENGTHS = (1, 7, 257, 300, 1000, 2305, 4500)
MAX_KV_SIZE = 128
VARIANTS: dict[str, dict[str, Any]] = {
    "max_kv_size": {"lengths": (300, 2305), "max_kv_size": MAX_KV_SIZE},
    "kv_bits_8": {"lengths": (300, 2305), "kv_bits": 8},
    "kv_bits_4": {"lengths": (300,), "kv_bits": 4},
}


def measure_caches(config: dict[str, Any]) -> dict[str, Any]:
    """[bytes after the prompt, the most at the end of a step of the prefill] by length.

    null where the class fails. Nothing is computed: arrays have their shapes before they are made.
    """
    model = build(config)
    found: dict[str, Any] = {str(length): held(model, length) for length in LENGTHS}
    for name, variant in VARIANTS.items():
        how = {key: value for key, value in variant.items() if key != "lengths"}
        found[name] = {str(length): held(model, length, **how) for length in variant["lengths"]}
    return found


def held(
    model: Any, length: int, max_kv_size: int | None = None, kv_bits: int | None = None
) -> list[int] | None:
    """generate_step's prefill: length - 1 tokens in steps of 2,048, then the last one alone."""
    import mlx.core as mx
    from mlx_lm.generate import maybe_quantize_kv_cache
    from mlx_lm.models.cache import make_prompt_cache

    caches = make_prompt_cache(model, max_kv_size)
    steps, left = [], length - 1
    while left:
        steps.append(min(2048, left))
        left -= steps[-1]
    peak = total = 0
    try:
        for step in (*steps, 1):
            model(mx.zeros((1, step), mx.int32), cache=caches)
            # Quantised or not, the step's own arrays are there before.
            peak = max(peak, sum(cache.nbytes for cache in caches))
            maybe_quantize_kv_cache(caches, 0, 64, kv_bits)
            total = sum(cache.nbytes for cache in caches)
    except (ValueError, NotImplementedError, AttributeError, TypeError):
        if kv_bits is None:
            raise
        return None
    return [total, peak]


def _short(quantization: dict[str, Any]) -> dict[str, Any]:
    """The key as saved; what is said of several modules alike is said once, of their list."""
    usual = {name: value for name, value in quantization.items() if not isinstance(value, dict)}
    groups: dict[str, list[str]] = {}
    for name, value in quantization.items():
        if isinstance(value, dict):
            groups.setdefault(json.dumps(value, sort_keys=True), []).append(name)
    return {
        "usual": usual,
        "modules": [[json.loads(each), names] for each, names in groups.items()],
    }


def section() -> str:
    """mlx-lm prints no sizes: its own classes, built small and at random, are what it is held to."""
    table = json.loads(FILE.read_text("utf-8"))
    configs = json.loads(CONFIGS.read_text("utf-8"))
    lines = [
        "## mlx-lm", "",
        f"It logs no sizes. These are what mlx-lm {table['mlx_lm']} on mlx {table['mlx']} made and kept on "
        f"a CPU, on {table['date']}: small random models of every class that kvcalc knows, weights under "
        "18 recipes, caches after prompts of 1 to 4,500 tokens. The tests hold kvcalc to all of them, to "
        "the byte (`tests/mlx`, written by `python -m tests.mlx.measured`); some of them:", "",
        "| model | model_type | weights in mlx-4bit | cache after 1,000 tokens | peak of 4,500 tokens |",
        "|---|---|---:|---:|---:|",
    ]  # fmt: skip
    for entry in configs:
        row = table["models"][entry["name"]]
        shown = (row["weights"]["mlx-4bit"], row["caches"]["1000"][0], row["caches"]["4500"][1])
        figures = " | ".join("fails" if each is None else f"{each:,}" for each in shown)
        lines.append(f"| {entry['name']} | {entry['config']['model_type']} | {figures} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every config, or those named, and write the table."""
    configs = json.loads(CONFIGS.read_text("utf-8"))
    old = json.loads(FILE.read_text("utf-8"))["models"] if FILE.exists() else {}
    wanted = sys.argv[1:]
    models = {}
    for entry in configs:
        name = entry["name"]
        if wanted and name not in wanted:
            models[name] = old[name]
            continue
        models[name] = measure(entry["config"])
        print(name)
    table = {
        "mlx_lm": version("mlx-lm"), "mlx": version("mlx"),
        "date": datetime.now(UTC).date().isoformat(), "models": models,
    }  # fmt: skip
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in models.items())
    head = json.dumps({key: value for key, value in table.items() if key != "models"})
    FILE.write_text(head[:-1] + ', "models": {\n' + rows + "\n}}\n", "utf-8")


if __name__ == "__main__":
    main()
