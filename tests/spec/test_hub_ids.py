"""Ids of the hub whose config was read: each has a shipped shape, and says what differs from it."""

import pytest

from kvcalc.cli.app import main
from kvcalc.convert.locate import locate
from kvcalc.errors import NotFoundError
from kvcalc.memory.weights import summarise
from kvcalc.spec import catalog, hub_ids
from tests.convert import hub_ids as importer


@pytest.mark.slow
def test_the_file_says_what_the_configs_say() -> None:
    """Every config is imported again: ``python -m tests.convert.hub_ids`` writes the file."""
    entries, _ = importer.written()
    with open(hub_ids.FILE, encoding="utf-8") as file:
        assert importer.text(entries) == file.read()


def test_every_id_has_a_spec_and_is_there_once() -> None:
    entries = list(hub_ids.entries())
    assert {entry.spec for entry in entries} <= set(catalog.shipped())
    ids = [entry.id.lower() for entry in entries]
    assert ids == sorted(set(ids))
    assert len(ids) >= 1_200
    assert sum(bool(entry.source) for entry in entries) >= 1_190
    assert sum(bool(entry.files) for entry in entries) >= 1_370


def test_every_id_has_the_parameters_that_its_files_hold() -> None:
    """Those that specs name themselves, too: a base's vocabulary is often not its instruct's."""
    specs = {name: catalog.load(path) for name, path in catalog.shipped().items()}
    models = {entry.id: entry.of(specs[entry.spec]) for entry in hub_ids.entries()}
    rows = [row for row in importer.facts() if row.id in models]
    assert len(rows) >= 1_370
    wrong = [row.id for row in rows if not importer.parameters_are(models[row.id], row)]
    assert wrong == []


def test_no_id_of_quantised_files_has_a_shape_in_bf16() -> None:
    """Qwen3.6-27B-FP8 takes 28 GiB, not the 51 of its shape: the name of its files says so."""
    specs = {name: catalog.load(path) for name, path in catalog.shipped().items()}
    quantised = [each for each in hub_ids.entries() if importer.QUANTISED.search(each.id)]
    assert len(quantised) >= 35
    wrong = [e.id for e in quantised if e.of(specs[e.spec]).own_dtype == "bf16"]
    assert wrong == []


# The context and the vocabulary of each config as published, the total of the model's files or card.
@pytest.mark.parametrize(
    ("hub_id", "spec", "context", "vocabulary", "total"),
    [
        # The card: 32,768 tokens; YaRN reaches the base's 131,072.
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b", 32_768, 152_064, 7_615_616_512),
        ("Qwen/QwQ-32B", "qwen2.5-32b", 40_960, 152_064, 32_763_876_352),
        ("Qwen/Qwen3-8B-Base", "qwen3-8b", 32_768, 151_936, 8_190_735_360),
        # Its base's head is tied; its files have one.
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "qwen2-1.5b", 131_072, 151_936, 1_777_088_000),
        # Its files have no head.
        ("Qwen/Qwen3-Embedding-8B", "qwen3-8b", 40_960, 151_665, 7_567_295_488),
        # https://huggingface.co/Qwen/Qwen3-4B-Instruct-2507: 262,144 natively; Qwen3-4B: 32,768 + 8,192.
        ("Qwen/Qwen3-4B-Instruct-2507", "qwen3-4b", 262_144, 151_936, 4_022_468_096),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", "qwen3-235b-a22b", 262_144, 151_936, 235_093_634_560),
        # Its predecessor's window went, the third's vocabulary was yet to come.
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistral-7b-v0.3", 32_768, 32_000, 7_241_732_096),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b", 131_072, 128_256, 8_030_261_248),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama-3.1-8b", 131_072, 128_256, 8_030_261_248),
        ("zai-org/GLM-4.7", "glm-4.5", 202_752, 151_552, None),
        ("microsoft/Phi-4-reasoning", "phi-4", 32_768, 100_352, 14_659_507_200),
    ],
)  # fmt: skip
def test_published_models(
    hub_id: str, spec: str, context: int, vocabulary: int, total: int | None
) -> None:
    found = locate(hub_id)
    assert found.path.endswith(f"/{spec}.yaml")
    assert found.spec.max_position_embeddings == context
    assert found.spec.vocab_size == vocabulary
    assert total is None or summarise(found.spec).total == total
    assert found.assumptions[0].startswith(
        f"{hub_id} has the shape of {spec}, its context is {context:,}"
    )


def test_a_name_without_its_organisation() -> None:
    for name in ("meta-llama-3.1-8b-instruct", "Llama-3.1-8B-Instruct", "llama-3-8b-instruct"):
        assert locate(name).assumptions
    assert locate("LLAMA-2-7B-CHAT").path == "model_specs/llama/llama-2-7b.yaml"
    # Names of before: the organisation's, the repository's.
    assert locate("CohereForAI/aya-23-8B").spec.name == "aya-23-8b"
    assert locate("meta-llama/Llama-3-8B-Instruct").path == "model_specs/llama/llama-3-8b.yaml"
    assert locate("meta-llama/Llama-2-7b-chat").path == "model_specs/llama/llama-2-7b.yaml"
    # The id that a spec is written for is that model: there is nothing to say.
    assert locate("Qwen/Qwen3-8B").assumptions == locate("qwen3-8b").assumptions == ()


@pytest.mark.parametrize(
    "arguments",
    [("estimate",), ("compare",), ("explain",), ("capacity", "--engine", "vllm", "--gpu", "h100"),
     ("capacity", "--engine", "llama.cpp", "--ctx-size", "8k"), ("fit", "--gpu", "h100"),
     ("fit", "--gpu", "rtx-4090", "--dtype", "q4_k_m"), ("fit", "qwen3-4b", "--gpu", "h100")],
)  # fmt: skip
def test_every_answer_says_whose_shape_it_is(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*arguments, "Qwen/Qwen3-4B-Instruct-2507"])
    said = "Qwen/Qwen3-4B-Instruct-2507 has the shape of qwen3-4b, its context is 262,144 tokens"
    # An explanation is text, in lines of its own.
    assert said in " ".join(capsys.readouterr().out.split())


def test_an_unknown_id_is_told_the_nearest_shape() -> None:
    assert hub_ids.near("x/Qwen3-4B-Nobody") == "the nearest known shape is qwen3-4b"
    assert "llama-3.1-8b" in hub_ids.near("x/Nobodys-Llama-3.1-8B-Tune")
    assert hub_ids.near("someone/nothing-like-it") == ""
    with pytest.raises(NotFoundError, match="the nearest known shape is qwen3-4b "):
        catalog.find("qwen3-4b-nobody")


def test_a_shipped_name_reads_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise AssertionError("the list of ids was read")

    monkeypatch.setattr(hub_ids, "_text", refuse)
    assert catalog.locate("qwen3-8b").spec.name == "qwen3-8b"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Qwen/Qwen3-Reranker-0.6B", "qwen3-0.6b"),
        ("x/Qwen3-VL-Reranker-2B", "qwen3-vl-2b"),
        ("x/Qwen3-25B-A3B-Tune", "qwen3-30b-a3b"),
        ("x/Falcon-H1-5B", "falcon-h1-7b"),
        ("x/glm-4.9-air", "glm-4.5-air"),
        ("x/Mixtral-8x7B-tune", "mixtral-8x7b"),
        ("x/DeepSeek-V3-tune", "deepseek-v3"),
        ("x/SmolLM2-500M", "smollm2-360m"),
        ("zai-org/GLM-5.3-Flash", "glm-5.3-flash"),
        ("x/GLM-5.3", "glm-5.3"),
    ],
)
def test_the_nearest_shape_is_of_the_family_and_the_size(name: str, nearest: str) -> None:
    assert hub_ids.near(name) == f"the nearest known shape is {nearest}"
