"""The shipped specs' index: it says what the YAML says, and a file that changed is read."""

from dataclasses import replace
from pathlib import Path

import pytest

from kvcalc.memory import shipped as listed
from kvcalc.spec import catalog, index
from kvcalc.spec.dump import dump
from kvcalc.spec.loader import load_spec_file, load_spec_text


def test_the_written_files_are_up_to_date() -> None:
    for place, text in listed.texts().items():
        again = "python -m kvcalc.memory.shipped writes it"
        assert Path(place).read_text("utf-8") == text, f"{place}: {again}"


def test_every_line_reads_as_the_yaml_does() -> None:
    for path in catalog.shipped().values():
        indexed, read = index.spec_of(path), load_spec_file(path)
        assert indexed == read
        # Equal is not enough: True equals 1.
        assert repr(indexed) == repr(read)


def test_a_file_that_changed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = tmp_path / "llama"
    family.mkdir()
    file = family / "llama-3-8b.yaml"
    text = catalog.find("llama-3-8b").read_text("utf-8")
    monkeypatch.setattr(catalog, "_root", lambda: str(tmp_path))
    file.write_text(text, "utf-8")
    assert index.spec_of(file) == catalog.load("llama-3-8b")
    wider = replace(load_spec_file(file), vocab_size=128_257, expect=None)
    file.write_text(dump(wider), "utf-8")
    assert index.spec_of(file) is None
    assert catalog.load("llama-3-8b").vocab_size == 128_257
    [row] = listed.records([file])
    assert row["parameters"] == 8_030_261_248 + 2 * 4096


def test_what_has_no_form_is_not_written() -> None:
    spec = load_spec_text(
        "name: a\nsource: a test\nhidden_size: 8\nvocab_size: 16\ntie_word_embeddings: false\n"
        "blocks:\n  a:\n"
        "    attention: {kind: mha, num_attention_heads: 1, num_key_value_heads: 1, head_dim: 8}\n"
        "layers: [{repeat: 2, blocks: [a]}]\nbudgets: [{context: 8k, cache: 1MiB}]\n"
    )
    with pytest.raises(AssertionError, match="has no form in the index"):
        index.to_text(spec)
