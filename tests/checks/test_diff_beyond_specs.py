"""``kvcalc diff`` beyond one spec in its place: moves, links, policies, configs of Hugging Face."""

from pathlib import Path

import pytest

from kvcalc.checks.diff import Row
from kvcalc.checks.limits import FieldChange
from tests.checks.test_diff import compare, names
from tests.scratch import Scratch, small


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    """Two specs in specs/, committed on main."""
    scratch = Scratch(tmp_path / "r").init()
    scratch.write("specs/alpha.yaml", small("alpha"))
    scratch.write("specs/beta.yaml", small("beta"))
    scratch.commit()
    monkeypatch.chdir(scratch.folder)
    return scratch


def test_a_folder_that_moved_into_the_paths(scratch: Scratch) -> None:
    scratch.git("mv", "specs", "prod")
    scratch.edit("prod/alpha.yaml", "num_key_value_heads: 4", "num_key_value_heads: 2")
    for path in ("prod", "specs", "."):
        (change,) = compare("main", path).changed
        assert (change.base_path, change.path) == ("specs/alpha.yaml", "prod/alpha.yaml")
        assert names(compare("main", path)) == (["alpha"], [], [])
    # A model that is new all the same, and one that is gone.
    scratch.write("prod/gamma.yaml", small("gamma", kv=1, repeat=1))
    scratch.git("rm", "-qf", "prod/beta.yaml")
    assert names(compare("main", "prod")) == (["alpha"], ["gamma"], [])
    assert names(compare("main", "specs")) == (["alpha"], [], ["beta"])


def test_a_link_stands_for_what_it_leads_to(scratch: Scratch) -> None:
    scratch.write("shared/gamma.yaml", small("gamma"))
    (scratch.folder / "specs/gamma.yaml").symlink_to("../shared/gamma.yaml")
    scratch.commit()
    scratch.write("shared/gamma.yaml", small("gamma", kv=2))
    for path in ("specs", "specs/gamma.yaml", "."):
        (change,) = compare("HEAD", path).changed
        assert change.path == "shared/gamma.yaml"
    # A new link is no new model, as one that git knows is none.
    (scratch.folder / "specs/delta.yaml").symlink_to("alpha.yaml")
    assert names(compare("HEAD")) == (["gamma"], [], [])


def test_a_submodule_that_changed_is_not_passed_over(scratch: Scratch) -> None:
    other = Scratch(scratch.folder.parent / "other").init()
    other.write("gamma.yaml", small("gamma"))
    first = other.commit()
    allow = ("-c", "protocol.file.allow=always")
    scratch.git(*allow, "submodule", "add", "-q", other.folder.as_uri(), "shared")
    scratch.commit()
    assert compare("HEAD").base.notes == ()
    other.write("gamma.yaml", small("gamma", kv=2))
    other.commit()
    Scratch(scratch.folder / "shared").git(*allow, "pull", "-q")
    (note,) = compare("HEAD").base.notes
    assert note == (
        "shared is a submodule that changed, and its specs are not compared here: "
        f"kvcalc diff --base {first} shared"
    )
    assert names(compare(first, "shared")) == (["gamma"], [], [])


def test_a_policy_that_changed(scratch: Scratch) -> None:
    serving = "  - {models: specs/, context: 1k, cache: 1GiB}\n"
    scratch.write("kvcalc.yaml", f"budgets:\n{serving}tolerances: {{all: 1%}}\n")
    scratch.commit()
    more = "  - {models: alpha, weights: 1MiB}\n"
    loose = serving.replace("1GiB", "2GiB")
    scratch.write("kvcalc.yaml", f"budgets:\n{more}{loose}tolerances: {{all: 2%}}\n")
    # Wherever it is asked from: the policy of a folder stands above it.
    for path in ("specs", "specs/alpha.yaml", ".", "kvcalc.yaml"):
        found = compare("HEAD", path)
        (policy,) = found.policies
        assert policy.path == "kvcalc.yaml"
        assert policy.fields == (
            FieldChange("budgets[0]", None, {"weights": 1048576, "models": ["alpha"]}, 2, "added"),
            FieldChange("budgets[1].cache", 1 << 30, 2 << 30, 3, "loosened", ("specs/",)),
            FieldChange("tolerances.all", "1%", "2%", 4, "loosened"),
        )
        assert [found.fails(on) for on in ("increase", "any", "none")] == [True, True, False]
    # Moved within the list, it is the same budget.
    scratch.commit()
    scratch.write("kvcalc.yaml", f"budgets:\n{loose}{more}tolerances: {{all: 2%}}\n")
    assert compare("HEAD").policies == ()


def test_a_nearer_policy_takes_a_folder_from_the_budgets_above(scratch: Scratch) -> None:
    scratch.write(
        "kvcalc.yaml",
        "budgets:\n"
        "  - {models: specs/, weights: 1GiB}\n"
        "  - {models: alpha, weights: 2GiB}\n"
        "  - {models: other/, weights: 3GiB}\n",
    )
    scratch.commit()
    scratch.write("specs/kvcalc.yaml", "budgets: []\n")
    found = compare("HEAD")
    (policy,) = found.policies
    assert policy.path == "specs/kvcalc.yaml"
    assert [(field.field, field.effect) for field in policy.fields] == [
        ("budgets[0] of kvcalc.yaml", "removed"),
        ("budgets[1] of kvcalc.yaml", "removed"),
    ]
    assert [found.fails(on) for on in ("increase", "any", "none")] == [True, True, False]
    # One that holds them on takes nothing away.
    scratch.write("specs/kvcalc.yaml", "budgets: [{models: '*', weights: 1GiB}]\n")
    found = compare("HEAD")
    assert [field.effect for field in found.policies[0].fields] == ["added"]
    assert [found.fails(on) for on in ("increase", "any", "none")] == [False, True, False]


CONFIG = """\
{
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "hidden_size": 64,
  "intermediate_size": 128,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "num_hidden_layers": 2,
  "vocab_size": 1000,
  "tie_word_embeddings": true,
  "transformers_version": "4.50.0"
}
"""


def test_a_config_of_hugging_face(scratch: Scratch) -> None:
    scratch.write("specs/mine/config.json", CONFIG)
    # Another tool's file of that name is none.
    scratch.write("specs/other/config.json", '{"port": 80}\n')
    scratch.commit()
    scratch.edit("specs/mine/config.json", '_heads": 2', '_heads": 4')
    scratch.edit("specs/mine/config.json", "4.50.0", "4.51.0")
    scratch.edit("specs/other/config.json", "80", "81")
    for path in ("specs", "specs/mine/config.json"):
        (change,) = compare("HEAD", path).changed
        assert (change.model, change.path) == ("mine", "specs/mine/config.json")
        # Its own keys, at their lines; the numbers of tests/scratch.py.
        assert change.fields == (FieldChange("num_key_value_heads", 2, 4, 7),)
        assert change.rows[3] == Row("cache_bytes_per_token", 256, 512, False)


@pytest.mark.parametrize(
    ("old", "new", "code", "line", "message"),
    [
        ('"llama"', '"lama"', "KV106", 1, "model_type 'lama' is not accounted for"),
        ('_heads": 2', '_heads": 3', "KV104", 7, "4 query heads cannot share 3 KV heads evenly"),
        ('"vocab_size": 1000,', '"vocab_size": 1000', "KV101", 10, "not JSON: Expecting ','"),
        ('"vocab_size": 1000', '"hidden_size": 64', "KV101", 0, "a key stands twice"),
    ],
)
def test_a_config_that_cannot_be_read(
    scratch: Scratch, old: str, new: str, code: str, line: int, message: str
) -> None:
    scratch.write("specs/mine/config.json", CONFIG)
    scratch.commit()
    scratch.edit("specs/mine/config.json", old, new)
    (broken,) = compare("HEAD", "specs/mine/config.json").broken
    (problem,) = broken.problems
    assert (problem.code, problem.line) == (code, line)
    assert message in problem.message


def test_a_quantization_beside_a_config_is_no_bf16(scratch: Scratch) -> None:
    scratch.write("specs/mine/config.json", CONFIG)
    scratch.write("specs/mine/hf_quant_config.json", "{}\n")
    scratch.commit()
    scratch.edit("specs/mine/config.json", '_heads": 2', '_heads": 4')
    assert [each.side for each in compare("HEAD").broken] == ["base", "head"]
    (scratch.folder / "specs/mine/hf_quant_config.json").unlink()
    assert [each.side for each in compare("HEAD").broken] == ["base"]
