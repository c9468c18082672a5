"""``kvcalc explain --all``: everything that a spec can say, taken from the code that reads it."""

import inspect
import os
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any, get_args, get_origin

from kvcalc.frozen import frozen
from kvcalc.report.sheet import Answer, Sheet, Verbatim
from kvcalc.spec.fields import SpecField, spec_fields

_PACKAGES = (
    ("Attention", "kvcalc.attention"),
    ("Recurrent and convolutional mixers", "kvcalc.recurrent"),
    ("Feed-forward layers", "kvcalc.ffn"),
    ("Models that draft", "kvcalc.stack.drafts"),
    ("Towers and projectors", "kvcalc.towers"),
)
_MODEL = "kvcalc.spec.model"
# (names, module, class) of what is no kind: how it is asked for, and where it is described.
_SPEC = (
    ("spec, model, norm, norms, final_norm", _MODEL, "ModelSpec"),
    ("blocks, block, share_weights, shared blocks", _MODEL, "Block"),
    ("layers, repeat, pattern, loops", _MODEL, "LayerGroup"),
    ("embedding", _MODEL, "Embedding"),
    ("encoder", _MODEL, "Encoder"),
    ("weight_formats", _MODEL, "TensorFormat"),
    ("checkpoint", _MODEL, "PublishedCount"),
    ("expect", _MODEL, "Expect"),
    ("budgets, budget", _MODEL, "Budget"),
)
_STACK = (
    ("recursion, mor", "kvcalc.stack.recursion", "Recursion"),
    ("indexer, dsa", "kvcalc.attention.dsa", "Indexer"),
    ("adapter", "kvcalc.stack.shared_adapter", "SharedAdapter"),
    ("mtp", "kvcalc.stack.mtp", "MultiTokenPrediction"),
    ("hyper_connections", "kvcalc.stack.hyper_connections", "HyperConnections"),
    ("altup", "kvcalc.stack.altup", "AltUp"),
    ("laurel", "kvcalc.stack.laurel", "Laurel"),
    ("ngram, ple", "kvcalc.stack.ngram_embedding", "NGramEmbedding"),
    ("per_layer_embeddings", "kvcalc.stack.per_layer_embeddings", "PerLayerEmbeddings"),
)

_ENDS = """\
name: {name}
source: where the dimensions were read
hidden_size: 1024
vocab_size: 32000
tie_word_embeddings: true
blocks:
"""
_ATTENTION = "{kind: gqa, num_attention_heads: 16, num_key_value_heads: 4, head_dim: 64}"
# Whole specs, by the first name of the section that they belong to.
EXAMPLES: dict[str, str] = {
    "spec": f"""\
{_ENDS.format(name="a-plain-decoder")}\
  decoder:
    attention: {_ATTENTION}
    ffn: {{kind: gated, intermediate_size: 4096}}
layers:
  - {{repeat: 24, blocks: [decoder]}}
""",
    "recursion": f"""\
{_ENDS.format(name="a-mixture-of-recursions")}\
  decoder:
    attention: {_ATTENTION}
    ffn: {{kind: gated, intermediate_size: 4096}}
layers:
  - {{repeat: 26, blocks: [decoder]}}
recursion:
  {{num_recursions: 3, sharing: middle_cycle, kv_cache: per_recursion, routing: expert_choice,
   capacities: [1, 2/3, 1/3]}}
""",
    "blocks": f"""\
{_ENDS.format(name="a-shared-block")}\
  state:
    recurrent: {{kind: mamba2, num_heads: 32, head_dim: 64, state_size: 64, n_groups: 1, conv_kernel: 4}}
  shared:
    attention: {_ATTENTION}
    ffn: {{kind: gated, intermediate_size: 4096}}
    share_weights: true
layers:
  - {{repeat: 6, blocks: [state, state, state, state, state, shared]}}
""",
    "encoder": f"""\
{_ENDS.format(name="an-encoder-decoder")}\
  encoder:
    attention: {_ATTENTION.replace("}", ", mask: bidirectional}")}
    ffn: {{kind: dense, intermediate_size: 4096}}
  decoder:
    attention: {_ATTENTION}
    cross_attention: {_ATTENTION.replace("gqa", "cross")}
    ffn: {{kind: dense, intermediate_size: 4096}}
layers:
  - {{repeat: 12, blocks: [decoder]}}
encoder:
  layers: [{{repeat: 12, blocks: [encoder]}}]
""",
}


@frozen
class Section:
    """One thing that a spec can say. names: what it is asked for by; the first is the heading's."""

    chapter: str
    heading: str
    names: tuple[str, ...]
    module: str
    class_name: str

    def render(self) -> str:
        """Equation and sources where there are any, the fields, and an example."""
        loaded = import_module(self.module)
        cls = getattr(loaded, self.class_name)
        own = self.module != _MODEL
        parts = [f"{self.heading}\n{'-' * len(self.heading)}"]
        if own:
            parts.append(inspect.cleandoc(loaded.__doc__ or ""))
        parts += _described(cls)
        if self.names[0] in EXAMPLES:
            indented = EXAMPLES[self.names[0]].replace("\n", "\n    ").rstrip()
            parts.append(f"Example:\n\n    {indented}")
        return "\n\n".join(parts) + "\n"


def sections() -> Iterator[Section]:
    """Everything that a spec can say, the whole first."""
    for chapter, rows in (("The spec", _SPEC), ("Beside the mechanisms", _STACK)):
        for words, module, class_name in rows:
            names = tuple(words.split(", "))
            yield Section(chapter, f"{names[0]}:", names, module, class_name)
    for chapter, package in _PACKAGES:
        registry = dict(import_module(package).KINDS)
        registry.update(getattr(import_module(package), "CROSS_KINDS", {}))
        by_file: dict[tuple[str, str], list[str]] = {}
        for kind, home in registry.items():
            by_file.setdefault(home, []).append(kind)
        for home, kinds in by_file.items():
            yield Section(chapter, f"kind: {', '.join(kinds)}", tuple(kinds), *home)


def answer(name: str, text: str) -> Answer:
    """A description as an answer. name: what was asked for."""
    return Answer(
        lambda: [Sheet("", "", (Verbatim(tuple(text.splitlines())),))],
        lambda: {"name": name, "text": text},
    )


def render() -> str:
    """Each section under its chapter."""
    parts, chapter = [], ""
    for section in sections():
        if section.chapter != chapter:
            chapter = section.chapter
            parts.append(f"{chapter}\n{'=' * len(chapter)}\n")
        parts.append(section.render())
    return "\n".join(parts)


def find(name: str) -> Section | None:
    """The section that is asked for by a name, however it is written; None for a path, and where there
    is none."""
    if os.path.exists(name):
        return None
    word = name.lower().replace("-", "_")
    for section in sections():
        if word in (other.replace(" ", "_") for other in section.names):
            return section
    return None


def _described(cls: Any) -> Iterator[str]:
    """The docstring of a class, what its fields take, and the same of the mappings in it."""
    yield inspect.cleandoc(cls.__doc__ or "")
    known = spec_fields(cls)
    required = [name for name, field in known.items() if field.required and name != "kind"]
    lines = [f"Required: {', '.join(required)}."] if required else ["Nothing is required."]
    for name, field in known.items():
        choices = get_args(field.kind) if name != "kind" and not is_dataclass(field.kind) else ()
        words = [choice for choice in choices if isinstance(choice, str)]
        if words:
            lines.append(f"{name} is one of {', '.join(words)}{_default(field)}.")
        elif get_origin(field.kind) is tuple and get_args(choices[0]):
            lines.append(f"{name} is a list of any of {', '.join(get_args(choices[0]))}.")
    yield "\n".join(lines)
    for field in known.values():
        if is_dataclass(field.kind):
            yield from _described(field.kind)


def _default(field: SpecField) -> str:
    return f"; {field.default} if absent" if isinstance(field.default, str) else ""
