"""What transformers builds of multimodal configs, measured: `python -m tests.convert.towers_measured`.

``drawn``: random small dimensions of every type that has a reader of its towers: the parameters of the
whole model, and a digest of its towers' tensors by layer and shape (what libraries fuse taken apart).
``defaults``: every type of CONFIG_MAPPING that has a causal or conditional-generation class, with the
class's own defaults: the parameters that transformers builds, and what kvcalc says of them. For
multimodal types the config stands there, so that tests count it again without transformers.
Types named behind the command are measured alone.
tests/convert/towers_measured.json holds what came out. `--show TYPE` prints where the tensors differ.
"""

import hashlib
import json
import re
import sys
from collections import Counter
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from kvcalc.convert.hf import TRANSFORMERS, spec_from_config
from kvcalc.convert.model_types import FLAT, TEXT_CONFIGS
from kvcalc.errors import KvcalcError
from kvcalc.memory.towers import tower_groups
from kvcalc.memory.weights import summarise
from kvcalc.spec.model import ModelSpec
from tests.convert.tower_draws import TYPES, draw_whole

FILE = Path(__file__).with_name("towers_measured.json")
NUM_DRAWS = 3
# A draw that the class cannot build is followed by another.
NUM_TRIES = 30

Canonical = tuple[str, tuple[int, ...]]

_LANGUAGE = re.compile(
    r"(^|\.)(language_model|text_model|lm_head|language_head)\.|^model\.(layers|embed_tokens|norm)\."
)
_LAYER = re.compile(
    r"\.(layers?|blocks|encoders|copies|deepstack_merger_list|merger_list|deepstack_mergers)\.(\d+)\."
)

# Keys that no tower and no decoder is told by.
_SAID_NOTHING = re.compile(
    r"^_|token_id|token_index|dropout|_eps$|initializer|output_(hidden|att)|return_dict|^id2label"
    r"|^label2id|transformers_version|chunk_size_feed|problem_type|pinpoints|act(ivation)?(_function)?$"
)
# Layers of two kinds in turn are two sequences here, each counted from 0; the last merge of several is
# a projector of its own; timm counts a MobileNet's blocks by stage, others theirs within a stage.
_WITHOUT_LAYERS = (
    "granite4_vision",
    "florence2",
    "gemma3n",
    "janus",
    "vibevoice_asr",
    "lfm3_vl",
    "minicpm_ocr",
    "minicpmv4_6",
    "minicpmv4_7",
)
_FUSED = re.compile(
    r"(\.|_)(qkv|to_kv|multihead_attn\.in_proj)\.(weight|bias)$|in_proj_(weight|bias)$"
)


def canonical(name: str, shapes: dict[str, tuple[int, ...]]) -> list[Canonical]:
    """A tensor as its layer and its axes longer than one; what is fused of q, k and v taken apart."""
    layer = _LAYER.search(name)
    where, shape = layer[2] if layer else "", shapes[name]
    axes = tuple(size for size in shape if size != 1) or (1,)
    if name.endswith(".pos_emb.position_embeddings"):
        # MoonViT keeps its positions as rows and columns.
        axes = (prod(axes[:-1]), axes[-1])
    if _FUSED.search(name):
        # Of fewer key and value heads the query has as many rows as columns.
        columns = shapes[re.sub("bias$", "weight", name)][-1]
        rest = axes[0] - columns
        rows = [axes[0] // 2] * 2 if "to_kv" in name else [columns, rest // 2, rest // 2]
        return [(where, (each, *axes[1:])) for each in rows]
    return [(where, axes)]


def taken_apart(shapes: dict[str, tuple[int, ...]]) -> list[Canonical]:
    """Named tensors in their canonical form."""
    return [each for name in shapes for each in canonical(name, shapes)]


def theirs(model: Any) -> list[Canonical]:
    """The tensors of a built model's towers."""
    return taken_apart({
        name: tuple(tensor.shape)
        for name, tensor in model.named_parameters()
        if not _LANGUAGE.search(name)
    })  # fmt: skip


def ours(spec: ModelSpec) -> list[Canonical]:
    """The tensors of a spec's towers, buffers not."""
    return taken_apart({
        group.prefix.format(layer) + tensor.name: tensor.shape
        for group in tower_groups(spec)
        for layer in group.layers or ("",)
        for tensor in group.tensors
        if not tensor.buffer
    })  # fmt: skip


def digest(value: Any) -> str:
    """Tells two values apart."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def tensors_digest(model_type: str, found: list[Canonical]) -> str:
    """A digest of tensors in any order."""
    by_layer = model_type not in _WITHOUT_LAYERS
    return digest(sorted([where * by_layer, list(axes)] for where, axes in found))


def agrees(spec: ModelSpec, expected: str) -> bool:
    """Whether a spec's towers have the measured tensors."""
    return tensors_digest(spec.model_type or "", ours(spec)) == expected


def class_of(model_type: str) -> str | None:
    """The causal or conditional-generation class of a type."""
    from transformers.models.auto import modeling_auto

    for name in ("MULTIMODAL_LM", "IMAGE_TEXT_TO_TEXT", "SEQ_TO_SEQ_CAUSAL_LM",
                 "SPEECH_SEQ_2_SEQ", "CAUSAL_LM"):  # fmt: skip
        found = getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES").get(model_type)
        if found:
            return str(found if isinstance(found, str) else found[0])
    return None


def build(config: dict[str, Any]) -> Any:
    """The class of a config, on the meta device."""
    import torch
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    cls = getattr(transformers, class_of(config["model_type"]) or "")
    inner = {key: deepcopy(value) for key, value in config.items() if key != "model_type"}
    with torch.device("meta"):
        return cls(CONFIG_MAPPING[config["model_type"]].from_dict(inner))


def drawn_rows(model_type: str) -> list[list[Any]]:
    """[seed, digest of the draw, parameters, digest of the towers' tensors] of the draws that build."""
    rows: list[list[Any]] = []
    for seed in range(NUM_TRIES):
        config = draw_whole(model_type, seed)
        try:
            model = build(config)
        except Exception as error:
            print(
                f"{model_type} {seed}: {type(error).__name__}: {str(error)[:100]}", file=sys.stderr
            )
            continue
        total = sum(parameter.numel() for parameter in model.parameters())
        rows.append([seed, digest(config), total, tensors_digest(model_type, theirs(model))])
        if len(rows) == NUM_DRAWS:
            break
    return rows


def default_row(model_type: str) -> dict[str, Any] | None:
    """One type at its class's defaults; None where the class cannot build them, or there is none."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    name = class_of(model_type)
    if name is None:
        return None
    try:
        config = json.loads(json.dumps(CONFIG_MAPPING[model_type]().to_dict(), default=str))
        model = build(config)
    except Exception:
        return None
    total = sum(parameter.numel() for parameter in model.parameters())
    row: dict[str, Any] = {"class": name, "parameters": total}
    row |= said_of(config | {"architectures": [name]}, total)
    if model_type in TEXT_CONFIGS or model_type in FLAT:
        row["config"] = stripped(config) | {"architectures": [name]}
    return row


def said_of(config: dict[str, Any], total: int) -> dict[str, Any]:
    """equal, what is left out by name, or why it is refused; ``wrong`` is none of these."""
    try:
        spec = spec_from_config(config, "default", "defaults").spec
        ours = summarise(spec).total
    except KvcalcError as error:
        return {"refused": str(error).removeprefix("config.json: ").partition(";")[0][:100]}
    except Exception as error:
        return {"refused": f"an error of kvcalc's: {error}"}
    if ours == total:
        return {"kvcalc": "equal"}
    if spec.left_out:
        return {"kvcalc": ours, "left_out": "; ".join(spec.left_out)[:160]}
    return {"kvcalc": ours, "wrong": total - ours}


def stripped(config: dict[str, Any]) -> dict[str, Any]:
    """A config without keys that change nothing, to keep the table small."""
    return {
        key: stripped(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if value is not None and not _SAID_NOTHING.search(key)
    }


@cache
def table() -> dict[str, Any]:
    """The file as it is."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    return found


def text(found: dict[str, Any]) -> str:
    """One type a line, so that a diff of two releases reads well."""
    parts = [f'"{key}": {json.dumps(found[key])}' for key in ("transformers", "date", "counts")]
    for half in ("drawn", "defaults"):
        lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in found[half].items()]
        parts.append(f'"{half}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def show(model_type: str) -> None:
    """Where the tensors of the first draw differ."""
    for seed in range(NUM_TRIES):
        config = draw_whole(model_type, seed)
        try:
            model = build(config)
        except Exception as error:
            print(seed, error)
            continue
        spec = spec_from_config(config, "drawn", "draws").spec
        built, best = Counter(theirs(model)), Counter(ours(spec))
        total = sum(parameter.numel() for parameter in model.parameters())
        print(seed, total - summarise(spec).total, spec.left_out)
        print("  only theirs", dict(built - best))
        print("  only ours  ", dict(best - built))
        if best != built or total != summarise(spec).total:
            print(json.dumps(config))
            return


def main(only: list[str]) -> None:
    """only: the types to measure again; all where none is named."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    before = table() if only else {"drawn": {}, "defaults": {}}
    drawn = {name: drawn_rows(name) for name in TYPES if not only or name in only}
    rows = {name: default_row(name) for name in CONFIG_MAPPING if not only or name in only}
    measured = {name: row for name, row in rows.items() if row is not None}
    drawn = dict(sorted({**before["drawn"], **drawn}.items()))
    defaults = dict(sorted({**before["defaults"], **measured}.items()))
    counts = {
        "types": len(defaults),
        "equal": sum(row.get("kvcalc") == "equal" for row in defaults.values()),
        "left out by name": sum("left_out" in row for row in defaults.values()),
        "refused": sum("refused" in row for row in defaults.values()),
        "wrong": sum("wrong" in row for row in defaults.values()),
    }
    today = datetime.now(UTC).date().isoformat()
    found = {"transformers": TRANSFORMERS, "date": today, "counts": counts, "drawn": drawn,
             "defaults": defaults}  # fmt: skip
    FILE.write_text(text(found), "utf-8")
    print(counts)


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    if "--show" in sys.argv:
        show(sys.argv[sys.argv.index("--show") + 1])
    else:
        main(sys.argv[1:])
