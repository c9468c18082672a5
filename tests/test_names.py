"""One rule for every kind of name: a hint means the same, or there is none."""

import pytest

import kvcalc
from kvcalc.cli.app import COMMANDS
from kvcalc.deployment.hardware import device_names
from kvcalc.dtypes import WEIGHT_FORMATS, weight_format
from kvcalc.errors import NotFoundError, UnknownFormatError, UsageError
from kvcalc.names import family, hint, meant, parts
from kvcalc.spec.catalog import find, shipped
from kvcalc.units import parse_memory


def test_a_name_is_its_runs_of_letters_and_digits() -> None:
    assert parts("Llama_3.8B") == parts("llama3-8b") == ("llama", "3", "8", "b")
    assert parts("chat-glm2") == ("chatglm", "2")
    assert parts("llama-38b") != parts("llama-3-8b")


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("contxt", ["context", "contexts"], ["context"]),
        ("estmate", ["estimate", "compare"], ["estimate"]),
        ("lama-3-8b", ["llama-3-8b", "llama-3-70b"], ["llama-3-8b"]),
        ("llama3-8b", ["llama-3-8b", "llama-3.2-1b"], ["llama-3-8b"]),
        ("mian", ["main", "mine"], ["main"]),
        ("vlm", ["vllm", "sglang"], ["vllm"]),
        # Another number, another code, another word: none of them means the same.
        ("q4_k_m", ["q4_0", "q4_1"], []),
        ("llama-4", ["llama-7b", "llama-30b"], []),
        ("--quant", ["--quiet", "--tp"], []),
        ("uint8", ["int8", "int4"], []),
        ("bf8", ["fp8", "bf16"], []),
        ("nvfp4", ["mxfp4", "fp4"], []),
        ("gptq", ["awq", "gpu"], []),
        ("m3-max", ["mi355x", "max-1550"], []),
        ("h1000", ["h100", "h200"], []),
        ("x" * 5000, ["x"], []),
        ("", ["x"], []),
    ],
)  # fmt: skip
def test_what_a_word_means(word: str, known: list[str], found: list[str]) -> None:
    assert meant(word, known) == found


def test_a_family_is_told_with_what_tells_its_members_apart() -> None:
    known = ["rx-7900-xt", "rx-7900-xtx", "rx-7800-xt", "h100"]
    facts = {"rx-7900-xt": "20 GiB", "rx-7900-xtx": "24 GiB"}
    assert family("rx 790", known) == []
    assert hint("RX 7900", known, facts) == "it may be rx-7900-xt (20 GiB) or rx-7900-xtx (24 GiB)"
    assert hint("h10", known) == ""


@pytest.mark.parametrize("word", ["m3-max", "rtx-4065", "h101", "mi400"])
def test_no_accelerator_is_offered_for_another(word: str) -> None:
    assert meant(word, device_names()) == []


@pytest.mark.parametrize(
    ("word", "told"),
    [("awq", "its groups: awq_g32, awq_g64, awq_g128"), ("bf61", "did you mean 'bf16'"),
     ("int4_g12", "its groups: int4_g128, int4_g64, int4_g32"), ("fp7", "known: fp32, "),
     ("nvfp5", "known: fp32, ")],
)  # fmt: skip
def test_number_formats(word: str, told: str) -> None:
    assert word not in WEIGHT_FORMATS
    with pytest.raises(UnknownFormatError, match=told):
        weight_format(word)


@pytest.mark.parametrize(
    ("word", "told"),
    [("llama-4", "it may be llama-4-maverick or llama-4-scout"),
     ("llama-3-8b-chat", "did you mean llama-3-8b?"),
     ("gemma3", "it may be gemma-3-12b, gemma-3-1b, "), ("llama-9", "no model 'llama-9' \\(")],
)  # fmt: skip
def test_models(word: str, told: str) -> None:
    assert word not in shipped()
    with pytest.raises(NotFoundError, match=told):
        find(word)


def test_commands() -> None:
    assert hint("compair", tuple(COMMANDS)) == "did you mean compare?"
    assert hint("exit", tuple(COMMANDS)) == ""


def test_a_memory_needs_its_unit() -> None:
    assert (parse_memory("0"), parse_memory("1048576"), parse_memory("24B")) == (0, 1 << 20, 24)
    with pytest.raises(ValueError, match="'24' has no unit: write 24GiB, or 24B"):
        parse_memory("24")
    # nvidia-smi prints MiB without saying so to everyone who copies the number.
    with pytest.raises(ValueError, match="'24564' has no unit: write 24564MiB, or 24564B"):
        parse_memory("24564")
    for size in (24, "24", 24564):
        with pytest.raises(UsageError, match="has no unit"):
            kvcalc.fit("llama-3-8b", gpu_memory=size)
        with pytest.raises(UsageError, match="has no unit"):
            kvcalc.capacity("llama-3-8b", "vllm", available=size)


def test_a_word_that_begins_names_is_no_slip_of_another() -> None:
    known = ["bart-base", "bert-base-cased", "bert-base-uncased"]
    assert hint("bert-base", known) == "it may be bert-base-cased or bert-base-uncased"
    assert hint("brat-base", known) == "did you mean bart-base?"
    assert hint("bert-base-case", known) == "did you mean bert-base-cased?"
