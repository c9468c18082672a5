"""PLE of Qwen4-Exp: literal numbers of transformers 5.23's Qwen4ExpTextPLELayer on the meta device."""

from kvcalc.frozen import changed
from kvcalc.spec import catalog
from kvcalc.spec.consistency import findings
from kvcalc.stack.ngram_embedding import NGramEmbedding, primes_from

FLASH_NEXT = NGramEmbedding(
    hidden_size=2560, hc_mult=4, ple_embed_dim=2560, ple_conv_kernel_size=4, ngram_size=3,
    heads_per_ngram=8, ngram_vocab_size_base=20_000_000,
)  # fmt: skip


def test_the_published_layer() -> None:
    shapes = {tensor.name: tensor.shape for tensor in FLASH_NEXT.parameters(2560)}
    assert shapes["ple_embedding.ngram_embedding.weight"] == (320_001_536, 160)
    assert sum(tensor.numel for tensor in FLASH_NEXT.parameters(2560)) == 51_233_085_440
    assert [(tensor.name, tensor.shape) for tensor in FLASH_NEXT.cache()] == [
        ("conv_state", (10240, 9))
    ]
    assert not list(FLASH_NEXT.check())


def test_each_layer_has_primes_of_its_own() -> None:
    assert primes_from(50, 4, 0) == (53, 59, 61, 67)
    assert primes_from(50, 4, 1) == (71, 73, 79, 83)
    # Two are the first.
    assert primes_from(1, 3, 0) == (2, 3, 5)


def test_what_contradicts_itself() -> None:
    assert [field for field, _ in changed(FLASH_NEXT, ple_embed_dim=2561).check()] == [
        "ple_embed_dim"
    ]
    assert [field for field, _ in changed(FLASH_NEXT, ngram_size=1).check()] == ["ngram_size"]
    spec = catalog.load("qwen3.8-flash-next")
    streams = changed(spec.hyper_connections, hc_mult=2)
    found = {field for _, field, _ in findings(changed(spec, hyper_connections=streams, mtp=None))}
    assert found == {"blocks.ngram.ngram.hc_mult"}
