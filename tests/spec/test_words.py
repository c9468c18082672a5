"""What a newcomer writes, and what is said instead of an unknown word."""

import pytest

from kvcalc.spec.loader import read_spec
from kvcalc.spec.words import INSTEAD, NAMES, near

FIELDS = ("hidden_size", "num_attention_heads", "num_key_value_heads", "max_position_embeddings")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("n_embd", " (did you mean 'hidden_size'?)"),
        ("d_model", " (did you mean 'hidden_size'?)"),
        ("n_heads", " (did you mean 'num_attention_heads'?)"),
        ("n_kv_heads", " (did you mean 'num_key_value_heads'?)"),
        ("num_key_value_head", " (did you mean 'num_key_value_heads'?)"),
        ("Max-Context", " (did you mean 'max_position_embeddings'?)"),
        ("hiden_size", " (did you mean 'hidden_size'?)"),
        ("rope_theta", " (it takes no memory: leave it out)"),
        ("colour", ""),
    ],
)
def test_other_people_s_names(word: str, said: str) -> None:
    assert near(word, FIELDS) == said


def test_no_name_is_another_s_for_itself() -> None:
    for own, others in NAMES.items():
        assert own not in others.split()
        assert len(set(others.split())) == len(others.split()), own
    assert not set(INSTEAD) & set(NAMES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "name: x\n  hidden_size: 4\n",
            "not YAML: a key is indented too far, or text with a colon",
        ),
        ("blocks:\n    a: 1\n  b: 3\n", "not YAML: a line is indented differently from those"),
        ("blocks:\n\ta: 1\n", "not YAML: indent with spaces, not tabs"),
        ("name: 'x\n", "not YAML: a quote is not closed"),
    ],
)
def test_bad_indentation_in_plain_words(text: str, said: str) -> None:
    [problem] = read_spec(text).problems
    assert problem.message.startswith(said)
    assert problem.message.endswith(")")
