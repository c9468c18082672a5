"""Where transformers keeps each matrix of the inventory: ``python -m tests.convert.tensor_names``.

Random configs of every model_type are built on the meta device; each layer's matrices are held
against the inventory's by shape, then by name. What comes out is written to
kvcalc/convert/tensor_names.json: by type, the inventory's name and the module paths that hold it, as
the classes call them and as checkpoints do (transformers' own conversion, reverted).
"""

import json
import re
import sys
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

from kvcalc.convert.hf import class_defaults, spec_from_config
from kvcalc.convert.model_types import CONVERTERS
from kvcalc.memory.inventory import parameter_groups
from kvcalc.spec.model import ModelSpec
from tests.convert.class_defaults import is_of_this_release
from tests.convert.draws import draw
from tests.convert.oracle import build

TABLE = Path(__file__).parents[2] / "kvcalc" / "convert" / "tensor_names.json"
SEEDS = 4
_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block|albert_layers)\.(\d+)\.")
_EXPERT = re.compile(r"(?<=experts\.)(\d+)(?=\.)")
Shape = tuple[int, ...]
Place = tuple[str, int]


def main() -> int:
    """Write the table; print what did not match."""
    before = {
        model_type: entry["names"]
        for entry in json.loads(TABLE.read_text("utf-8"))
        for model_type in entry["types"]
    }
    found: dict[str, dict[str, list[str]]] = {}
    for model_type in sys.argv[1:] or CONVERTERS:
        if not is_of_this_release(model_type):
            found[model_type] = before.get(model_type, {})
            continue
        try:
            found[model_type] = names_of_type(model_type)
        except Exception as error:
            print(f"{model_type}: {type(error).__name__}: {str(error)[:150]}")
    if not sys.argv[1:]:
        TABLE.write_text(text(found), "utf-8")
    else:
        print(text(found))
    return 0


def text(found: dict[str, dict[str, list[str]]]) -> str:
    """The table with one entry for types that share all their names."""
    shared: dict[str, list[str]] = {}
    for model_type, names in found.items():
        shared.setdefault(json.dumps(names), []).append(model_type)
    rows = [
        f'{{"types": {json.dumps(types)},\n "names": {names}}}' for names, types in shared.items()
    ]
    return "[\n" + ",\n".join(rows) + "\n]\n"


def names_of_type(model_type: str) -> dict[str, list[str]]:
    """The paths of every matrix that several draws agree about."""
    votes: dict[str, dict[tuple[str, ...], int]] = {}
    for seed in range(SEEDS):
        config = draw(model_type, seed, class_defaults()[model_type]["defaults"])
        spec = spec_from_config(config, "drawn", "draws.py").spec
        model = build(config)
        for tree in trees(model):
            for ours, theirs in matched(spec, tree):
                votes.setdefault(ours, {}).setdefault(theirs, 0)
                votes[ours][theirs] += 1
    names: dict[str, list[str]] = {}
    for ours, options in votes.items():
        best = max(options.values())
        paths = [path for theirs, count in options.items() if 3 * count >= best for path in theirs]
        names[ours] = list(dict.fromkeys(paths))
    return names


def trees(model: Any) -> Iterator[dict[str, Shape]]:
    """Names and shapes as the class has them, and as a checkpoint would."""
    own = {name: tuple(value.shape) for name, value in model.named_parameters()}
    yield own
    from transformers.core_model_loading import revert_weight_conversion

    try:
        state = revert_weight_conversion(model, dict(model.state_dict()))
    except Exception:
        return
    other = {name: tuple(value.shape) for name, value in state.items()}
    if other.keys() != own.keys():
        yield other


def matched(spec: ModelSpec, tree: dict[str, Shape]) -> Iterator[tuple[str, tuple[str, ...]]]:
    ours: dict[Place, list[tuple[str, Shape]]] = {}
    only_encoder = spec.head == "none" and spec.encoder is None
    for group in parameter_groups(spec):
        encoder = group.prefix.startswith("encoder") or only_encoder
        for tensor in group.tensors:
            if len(tensor.shape) < 2 or tensor.buffer:
                continue
            name = (group.prefix + tensor.name).replace("layers.{}.", "").removesuffix(".weight")
            for place in [("e" if encoder else "d", i) for i in group.layers] or [("", -1)]:
                ours.setdefault(place, []).append((name, tensor.shape))
    theirs: dict[Place, dict[str, Shape]] = {}
    experts: dict[tuple[Place, str], list[Shape]] = {}
    for name, shape in tree.items():
        if len(shape) < 2:
            continue
        hit = _LAYER.search(name)
        encoder = only_encoder or (".encoder." in f".{name}" and "decoder" not in name)
        place = ("e" if encoder else "d", int(hit[1])) if hit else ("", -1)
        path = name if hit is None else name[: hit.start(1)] + "{}" + name[hit.end(1) :]
        path = path.removesuffix(".weight")
        if _EXPERT.search(path):
            experts.setdefault((place, _EXPERT.sub("*", path)), []).append(shape)
        else:
            theirs.setdefault(place, {})[path] = shape
    for (place, path), shapes in experts.items():
        theirs.setdefault(place, {})[path] = (len(shapes), *shapes[0])
    for place, own in ours.items():
        yield from _pair(own, theirs.get(place, {}))


def _pair(
    ours: list[tuple[str, Shape]], theirs: dict[str, Shape]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    left, right = dict(ours), dict(theirs)
    scored = sorted(
        (
            (_alike(a, b) + 2 * (s == t), a, b)
            for a, s in left.items()
            for b, t in right.items()
            if _same(s, t)
        ),
        reverse=True,
    )
    for _, a, b in scored:
        if a in left and b in right:
            del left[a], right[b]
            yield a, (b,)
    # One of ours from several of theirs (gate and up), or several of ours in one of theirs (qkv).
    for a, shape in sorted(left.items(), key=lambda item: -prod(item[1])):
        for parts in _sums(shape, right):
            for part in parts:
                del right[part]
            yield a, parts
            del left[a]
            break
    for b, shape in sorted(right.items(), key=lambda item: -prod(item[1])):
        for parts in _sums(shape, left):
            for part in parts:
                del left[part]
                yield part, (b,)
            break


def _same(a: Shape, b: Shape) -> bool:
    a, b = (tuple(size for size in shape if size != 1) for shape in (a, b))
    return a in (b, b[::-1], (*b[:-2], *b[:-3:-1]))


def _sums(whole: Shape, parts: dict[str, Shape]) -> Iterator[tuple[str, ...]]:
    fitting = [name for name, shape in parts.items() if len(shape) == len(whole)]
    best: list[tuple[float, tuple[str, ...]]] = []
    for count in (2, 3, 4, 5):
        for chosen in combinations(fitting[:14], count):
            shapes = [parts[name] for name in chosen]
            for turned in (whole, whole[::-1], (*whole[:-2], *whole[:-3:-1])):
                for axis in range(len(whole)):
                    rest = turned[:axis] + turned[axis + 1 :]
                    if sum(s[axis] for s in shapes) == turned[axis] and all(
                        s[:axis] + s[axis + 1 :] == rest for s in shapes
                    ):
                        best.append((min(_alike(a, b) for a in chosen for b in chosen), chosen))
    yield from (chosen for _, chosen in sorted(best, reverse=True))


def _words(name: str) -> set[str]:
    return set(re.split(r"[._]", name)) - {"", "layers", "model", "{}", "weight", "proj"}


_SAME = {"attention": {"attn", "self"}, "ffn": {"mlp", "feed", "forward", "moe"}, "q": {"query", "q"},
         "k": {"key"}, "v": {"value"}, "o": {"out", "dense", "output", "c"}, "gate": {"w1", "gate"},
         "up": {"w3", "fc1", "c", "fc", "dense", "h", "4h", "intermediate", "wi"},
         "down": {"w2", "fc2", "output", "wo"}, "router": {"gate", "router"},
         "embedding": {"embed", "wte", "tokens", "word", "embeddings", "shared"}, "head": {"lm", "head"},
         "shared": {"shared"}, "recurrent": {"mamba", "linear", "mixer", "time", "temporal"},
         "cross": {"encoder", "crossattention", "EncDecAttention"}}  # fmt: skip


def _alike(a: str, b: str) -> float:
    own, other = _words(a), _words(b)
    wider = own.union(*(_SAME.get(word, set()) for word in own))
    leaf = a.rsplit(".", 1)[-1] == b.rsplit(".", 1)[-1]
    return 4 * leaf + len(wider & other) + SequenceMatcher(None, a, b).ratio()


if __name__ == "__main__":
    raise SystemExit(main())
