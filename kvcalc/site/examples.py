"""Made-up models of the mechanisms that no shipped model has, so that their pages show numbers, too."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from kvcalc.report.answers.mechanisms import Section
from kvcalc.site.subject import Subject, subjects
from kvcalc.spec.catalog import Found
from kvcalc.spec.loader import load_spec_text

_SPEC = """\
name: example-{kind}
source: dimensions made up for this page
hidden_size: 4096
vocab_size: 32000
tie_word_embeddings: true
blocks:
  layer:
    {slot}: {{kind: {kind}, {fields}}}
    ffn: {{kind: gated, intermediate_size: 11008}}
layers:
  - {{repeat: 32, blocks: [layer]}}
"""


def examples(sections: Iterable[Section]) -> Iterator[Subject]:
    """One for each mechanism whose file has an ``EXAMPLE``, the fields of a layer."""
    texts = [
        _text(section.module, name)
        for section in sections for name in section.names if example_of(section.module)
    ]  # fmt: skip
    yield from subjects(("", Found(load_spec_text(text), "")) for text in texts)


def example_of(module: str) -> dict[str, Any] | None:
    """Dimensions of the paper where it states some; None where a shipped model has the mechanism."""
    found: dict[str, Any] | None = getattr(import_module(module), "EXAMPLE", None)
    return found


def _text(module: str, kind: str) -> str:
    fields = ", ".join(f"{name}: {value}" for name, value in (example_of(module) or {}).items())
    return _SPEC.format(kind=kind, slot=module.split(".")[1], fields=fields)
