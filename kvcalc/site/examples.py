"""Made-up models of the mechanisms that no shipped model has, so that their pages show numbers, too."""

from collections.abc import Iterable, Iterator

from kvcalc.report.answers.mechanisms import Section
from kvcalc.site.subject import Subject, subjects
from kvcalc.spec.catalog import Found
from kvcalc.spec.loader import load_spec_text

_GROUPED = "num_attention_heads: 32, num_key_value_heads: 8, head_dim: 128"
# Kind -> its fields. Dimensions of the papers where they state some.
_FIELDS = {
    "gta": f"{_GROUPED}, rope_dim: 64",
    "gla": "num_attention_heads: 16, num_latent_heads: 2, head_dim: 128, q_lora_rank: 1024, "
    "kv_lora_rank: 256, qk_rope_dim: 64",
    "tpa": "num_attention_heads: 47, head_dim: 64, rank: 2, v_rank: 2, q_rank: 6",
    "differential": _GROUPED,
    "nsa": "num_attention_heads: 64, num_key_value_heads: 4, head_dim: 192, v_head_dim: 128, "
    "kernel_size: 32, kernel_stride: 16, block_size: 64, topk: 16, window_size: 512",
    "moa": "num_attention_heads: 32, num_key_value_heads: 16, head_dim: 128, num_experts: 8, "
    "num_experts_per_tok: 2",
    "cca": f"{_GROUPED}, cca_time0: 2, cca_time1: 2",
    "moba": f"{_GROUPED}, moba_chunk_size: 4096, moba_topk: 12",
    "retnet": "num_heads: 16, head_k_dim: 256, head_v_dim: 512",
}
_SLOTS = {"retnet": "recurrent"}
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
    """One for each kind that has one written above."""
    kinds = [name for section in sections for name in section.names if name in _FIELDS]
    yield from subjects(("", Found(load_spec_text(_text(kind)), "")) for kind in kinds)


def _text(kind: str) -> str:
    slot = _SLOTS.get(kind, "attention")
    return _SPEC.format(kind=kind, slot=slot, fields=_FIELDS[kind])
