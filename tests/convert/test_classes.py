"""Every class of transformers 5.23 counts what it builds: classes.json, replayed; and published totals."""

import json
from typing import Any

import pytest

from kvcalc.convert.hf import TRANSFORMERS, spec_from_config
from kvcalc.errors import SpecError, UnsupportedError
from kvcalc.memory.weights import summarise
from kvcalc.spec.dump import dump
from kvcalc.spec.loader import load_spec_text
from tests.convert.classes import FILE, config

TABLE = json.loads(FILE.read_text("utf-8"))
TYPES = [name for name, entry in TABLE.items() if isinstance(entry, dict)]


def test_the_table_is_of_the_release() -> None:
    assert TABLE["transformers"] == TRANSFORMERS
    assert sum(len(TABLE[name]) for name in TYPES) >= 550


@pytest.mark.parametrize("model_type", TYPES)
def test_a_class_counts_what_it_builds(model_type: str) -> None:
    wrong: dict[str, Any] = {}
    for seed in (0, 1):
        values = config(model_type, seed)
        for name, totals in TABLE[model_type].items():
            if totals[seed] is None:
                continue
            try:
                spec = spec_from_config(values | {"architectures": [name]}, "drawn", "x").spec
            except UnsupportedError:
                assert seed, "the first draw of every class imports"
                continue
            if summarise(spec).total != totals[seed]:
                wrong[f"{name} {seed}"] = (summarise(spec).total, totals[seed])
    assert wrong == {}


def total(**values: Any) -> int:
    return summarise(spec_from_config(values, "published", "x").spec).total


BERT: dict[str, Any] = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
}  # fmt: skip


def test_published_totals() -> None:
    """dslim/bert-base-NER, deepset/roberta-base-squad2, answerdotai/ModernBERT-base, distilbert-sst-2
    and flan-t5-xl: the sums of their safetensors' headers (parameters)."""
    nine = {str(index): "x" for index in range(9)}
    assert total(model_type="bert", architectures=["BertForTokenClassification"], id2label=nine,
                 vocab_size=28996, max_position_embeddings=512, type_vocab_size=2,
                 **BERT) == 107_726_601  # fmt: skip
    assert total(model_type="roberta", architectures=["RobertaForQuestionAnswering"], vocab_size=50265,
                 max_position_embeddings=514, type_vocab_size=1, **BERT) == 124_056_578  # fmt: skip
    assert total(model_type="modernbert", architectures=["ModernBertForMaskedLM"], vocab_size=50368,
                 max_position_embeddings=8192,
                 **BERT | {"num_hidden_layers": 22, "intermediate_size": 1152}) == 149_655_232  # fmt: skip
    assert total(model_type="distilbert", architectures=["DistilBertForSequenceClassification"],
                 dim=768, hidden_dim=3072, n_layers=6, n_heads=12, vocab_size=30522,
                 max_position_embeddings=512) == 66_955_010  # fmt: skip
    assert total(model_type="t5", architectures=["T5ForConditionalGeneration"], d_model=2048, d_ff=5120,
                 d_kv=64, num_heads=32, num_layers=24, num_decoder_layers=24, vocab_size=32128,
                 feed_forward_proj="gated-gelu", tie_word_embeddings=False) == 2_849_757_184  # fmt: skip


def test_a_classs_tensors_are_read_back_and_named() -> None:
    values = config("bert", 0) | {"architectures": ["BertForTokenClassification"]}
    spec = spec_from_config(values, "drawn", "x").spec
    assert spec.class_tensors == {"classifier.weight": (3, 96), "classifier.bias": (3,)}
    assert not spec.pooler
    assert load_spec_text(dump(spec)) == spec


def test_a_reward_models_head_is_two_matrices() -> None:
    """Qwen2.5-Math-RM-72B's modeling_qwen2_rm.py: Linear(H, H), ReLU, Linear(H, 1)."""
    values = config("qwen2", 0)
    trunk = total(**values, architectures=["Qwen2Model"])
    hidden = values["hidden_size"]
    found = total(**values, architectures=["Qwen2ForRewardModel"]) - trunk
    assert (hidden, found) == (192, 37_249)


@pytest.mark.parametrize(
    ("labels", "message"),
    [({"num_labels": 4}, "num_labels"), ({"num_labels": 2.5, "id2label": {}}, "num_labels"),
     ({"num_labels": 0, "id2label": {}}, "num_labels")],
)  # fmt: skip
def test_labels_that_disagree_are_refused(labels: dict[str, Any], message: str) -> None:
    values = config("bert", 0) | {"architectures": ["BertForSequenceClassification"]} | labels
    with pytest.raises(Exception, match=message):
        total(**values)


@pytest.mark.parametrize(
    ("line", "message"),
    [("{'': [2]}", "a key is a word"), ("{a b.weight: [2]}", "words with dots"),
     ("{a.weight: []}", "one to four sizes"), ("{a.weight: [1000000000, 1000000000]}", "2\\^50"),
     ("{a.weight: [0]}", "at least 1"), ("{a.weight: x}", "expected a")],
)  # fmt: skip
def test_tensors_that_no_class_has_are_refused(line: str, message: str) -> None:
    values = config("bert", 0) | {"architectures": ["BertModel"]}
    text = dump(spec_from_config(values, "drawn", "x").spec) + f"class_tensors: {line}\n"
    with pytest.raises(SpecError, match=message):
        load_spec_text(text)
