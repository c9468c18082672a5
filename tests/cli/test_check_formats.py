"""The formats that other programs read: annotations, SARIF, JUnit, GitLab, and markdown."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft7Validator

from kvcalc.spec.problems import RULES
from tests.scratch import Scratch, run, small

# What these tests need of the published SARIF 2.1.0 schema (OASIS, errata 01): the properties of the
# objects that kvcalc writes, none beside them, and what the schema requires. Outside of the tests,
# the output for every file of tests/spec/bad was held against the whole schema.
_TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 1}},
    "required": ["text"],
    "additionalProperties": False,
}
SARIF: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"enum": ["2.1.0"]},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "additionalProperties": False,
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "invocations": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["executionSuccessful"],
                            "additionalProperties": False,
                            "properties": {"executionSuccessful": {"type": "boolean"}},
                        },
                    },
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "additionalProperties": False,
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name"],
                                "additionalProperties": False,
                                "properties": {
                                    "name": {"type": "string"},
                                    "version": {"type": "string"},
                                    "semanticVersion": {"type": "string"},
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {"$ref": "#/definitions/rule"},
                                    },
                                },
                            }
                        },
                    },
                    "results": {"type": "array", "items": {"$ref": "#/definitions/result"}},
                },
            },
        },
    },
    "definitions": {
        "rule": {
            "type": "object",
            "required": ["id", "shortDescription", "fullDescription", "help"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "shortDescription": _TEXT,
                "fullDescription": _TEXT,
                "help": _TEXT,
                "defaultConfiguration": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"level": {"enum": ["none", "note", "warning", "error"]}},
                },
            },
        },
        "result": {
            "type": "object",
            "required": ["ruleId", "message", "locations", "partialFingerprints"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": 0},
                "level": {"enum": ["none", "note", "warning", "error"]},
                "message": _TEXT,
                "locations": {"type": "array", "items": {"$ref": "#/definitions/location"}},
                "partialFingerprints": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                },
            },
        },
        "location": {
            "type": "object",
            "required": ["physicalLocation"],
            "additionalProperties": False,
            "properties": {
                "physicalLocation": {
                    "type": "object",
                    "required": ["artifactLocation", "region"],
                    "additionalProperties": False,
                    "properties": {
                        "artifactLocation": {
                            "type": "object",
                            "required": ["uri"],
                            "additionalProperties": False,
                            "properties": {
                                "uri": {"type": "string", "pattern": "^[!-~]+$"},
                                "uriBaseId": {"type": "string"},
                            },
                        },
                        "region": {
                            "type": "object",
                            "required": ["startLine"],
                            "additionalProperties": False,
                            "properties": {
                                "startLine": {"type": "integer", "minimum": 1},
                                "startColumn": {"type": "integer", "minimum": 1},
                            },
                        },
                    },
                },
                "logicalLocations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "fullyQualifiedName": {"type": "string"},
                            "kind": {"type": "string"},
                        },
                    },
                },
            },
        },
    },
}

BAD = Path(__file__).resolve().parent.parent / "spec" / "bad"
# Its name needs escapes in every format.
ODD = 'a b%,:<&"[é]|`{0}.yaml'


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    """Three specs: one good, one with an unknown key, one with an exceeded budget and a warning."""
    scratch = Scratch(tmp_path).init()
    expect = "expect: {parameters: 146240}\n"
    scratch.write("specs/good.yaml", small("good", more=expect))
    scratch.write("specs/typo.yaml", small("typo", more=expect).replace("repeat", "repeet"))
    scratch.write("specs/big.yaml", small("big", more="budgets: [{context: 1k, cache: 512kB}]\n"))
    monkeypatch.chdir(tmp_path)
    return scratch


TYPO = "unknown key 'repeet' (did you mean 'repeat'?)"
# 1024 tokens * 512 bytes = 524288; 512 kB are 512000; 1000 tokens take exactly those.
OVER = (
    "524288 bytes (512.00 KiB) are needed, 12288 (12.00 KiB) more than the budget of 512000 (500.00 KiB); "
    "1000 tokens fit, with 1 sequence"
)


def test_github_annotations(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "check", "specs", "--format", "github")
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        "::error title=kvcalc KV401%3A a budget is exceeded,file=specs/big.yaml,line=12,col=32::"
        f"specs/big.yaml:12:32: KV401 budgets[0].cache: {OVER}",
        "::error title=kvcalc KV102%3A a key that the spec language does not have,"
        "file=specs/typo.yaml,line=11,col=6::"
        f"specs/typo.yaml:11:6: KV102 layers[0].repeet: {TYPO}",
        "::warning title=kvcalc KV302%3A no expected values are stated,"
        "file=specs/big.yaml,line=1,col=1::"
        "specs/big.yaml:1:1: KV302 expect: state what is known to be true; this spec gives "
        "expect: {parameters: 146240, cache_bytes_per_token: 512}, which proves nothing until it is "
        "checked against a source (warning)",
        "checked 3 specs: 2 problems, 1 warning",
    ]


def test_github_is_the_default_within_github_actions(
    scratch: Scratch, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKFLOW", "specs")
    assert run(capsys, "check", "specs")[1].startswith("::error ")
    assert run(capsys, "check", "specs", "--format", "text")[1].startswith(
        "specs/big.yaml:1:1: KV302"
    )
    assert run(capsys, "check", "specs/good.yaml")[1] == "checked 1 spec: no problems\n"


def test_paths_are_the_repositorys_from_any_folder(
    scratch: Scratch, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scratch.folder / "specs")
    _, out, _ = run(capsys, "check", "typo.yaml", "--format", "github")
    assert ",file=specs/typo.yaml,line=11,col=6::typo.yaml:11:6: KV102" in out


def test_escapes_of_annotations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Scratch(tmp_path).init().write(ODD, small("odd"))
    monkeypatch.chdir(tmp_path)
    _, out, _ = run(capsys, "check", ODD, "--format", "github")
    # % is %25 everywhere; : and , only where they would end a property.
    assert ',file=a b%25%2C%3A<&"[é]|`{0}.yaml,line=1,col=7::a b%25,:<&"[é]|`{0}.yaml:1:7: ' in out


def test_sarif(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "check", "specs", "--format", "sarif")
    assert status == 1
    log = json.loads(out)
    Draft7Validator(SARIF).validate(log)
    (ran,) = log["runs"]
    rules = ran["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    found = {result["ruleId"]: result for result in ran["results"]}
    assert set(found) == {"KV102", "KV302", "KV401"}
    for result in ran["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    typo = found["KV102"]
    assert typo["level"] == "error"
    assert typo["message"]["text"] == f"layers[0].repeet: {TYPO}"
    place = typo["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "specs/typo.yaml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 11, "startColumn": 6},
    }
    assert found["KV302"]["level"] == "warning"


def test_sarif_of_every_bad_spec(capsys: pytest.CaptureFixture[str]) -> None:
    log = json.loads(run(capsys, "check", BAD, "--format", "sarif")[1])
    Draft7Validator(SARIF).validate(log)
    assert {result["ruleId"] for result in log["runs"][0]["results"]} == set(RULES)


def test_escapes_of_sarif(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Scratch(tmp_path).init().write(ODD, small("odd"))
    monkeypatch.chdir(tmp_path)
    log = json.loads(run(capsys, "check", ODD, "--format", "sarif")[1])
    Draft7Validator(SARIF).validate(log)
    result = next(r for r in log["runs"][0]["results"] if r["ruleId"] == "KV501")
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "a%20b%25%2C%3A%3C%26%22%5B%C3%A9%5D%7C%60%7B0%7D.yaml"
    # SARIF 2.1.0, 3.11.5: a brace that is no placeholder is doubled.
    assert "{{0}}" in result["message"]["text"]


def test_junit(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "check", "specs", "--format", "junit")
    assert status == 1
    suites = ElementTree.fromstring(out)
    assert suites.tag == "testsuites"
    assert [suite.get("name") for suite in suites] == [
        "specs/big.yaml", "specs/good.yaml", "specs/typo.yaml",
    ]  # fmt: skip
    big, good, typo = suites
    counts = ("tests", "failures", "errors", "skipped")
    # 20 rules; a spec whose form is wrong does not get to the 12 that are about its content.
    assert [big.get(name) for name in counts] == ["20", "1", "0", "0"]
    assert [good.get(name) for name in counts] == ["20", "0", "0", "0"]
    assert [typo.get(name) for name in counts] == ["20", "1", "0", "12"]
    failure = big.find("testcase/failure")
    assert failure is not None
    assert (failure.get("type"), failure.get("message")) == ("KV401", OVER)
    assert failure.text == f"specs/big.yaml:12:32: KV401 budgets[0].cache: {OVER}"
    assert "KV302" in (big.findtext("system-out") or "")


def test_junit_counts_warnings_where_they_fail(
    scratch: Scratch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(capsys, "check", "specs", "--format", "junit", "--strict")
    big = ElementTree.fromstring(out)[0]
    assert big.get("failures") == "2"
    assert not big.findtext("system-out")


# windyroad/JUnit-Schema JUnit.xsd: the order of a suite's children, what each must have, at most one
# verdict a case, times as decimals, a timestamp without a zone.
_REQUIRED = {
    "testsuite": {
        "name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors", "time",
    },
    "testcase": {"name", "classname", "time"},
    "failure": {"type"},
    "skipped": set(),
    "properties": set(),
    "system-out": set(),
    "system-err": set(),
    "testsuites": set(),
}  # fmt: skip
_OPTIONAL = {"testsuite": {"skipped"}, "failure": {"message"}, "skipped": {"message"}}


def test_junit_of_every_bad_spec_has_the_schemas_structure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    suites = ElementTree.fromstring(run(capsys, "check", BAD, "--format", "junit")[1])
    for element in suites.iter():
        names = set(element.keys())
        assert _REQUIRED[element.tag] <= names
        assert names <= _REQUIRED[element.tag] | _OPTIONAL.get(element.tag, set())
    for index, suite in enumerate(suites):
        assert suite.get("id") == str(index)
        tags = [child.tag for child in suite]
        cases = ["testcase"] * len(RULES)
        assert tags == ["properties", *cases, "system-out", "system-err"]
        assert all(len(case) <= 1 for case in suite.iter("testcase"))
        timestamp = suite.get("timestamp") or ""
        assert len(timestamp) == len("2026-05-01T12:00:00")
        assert len(suite.findall("testcase/failure")) == int(suite.get("failures") or "")
        assert len(suite.findall("testcase/skipped")) == int(suite.get("skipped") or "")


def test_junit_of_a_path_that_is_no_xml(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a\x07<\x1b&].yaml"
    Scratch(tmp_path).write(name, small("odd"))
    monkeypatch.chdir(tmp_path)
    suites = ElementTree.fromstring(run(capsys, "check", name, "--format", "junit")[1])
    assert suites[0].get("name") == "a\\x07<\\x1b&].yaml"


def gitlab(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(run(capsys, "check", "specs", "--format", "gitlab")[1])


def test_gitlab(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    found = gitlab(capsys)
    for each in found:
        # docs.gitlab.com, code quality report format: all of these are required.
        assert set(each) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert each["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert isinstance(each["location"]["lines"]["begin"], int)
    typo = next(each for each in found if each["check_name"] == "KV102")
    assert typo["location"] == {"path": "specs/typo.yaml", "lines": {"begin": 11}}
    assert typo["description"] == f"layers[0].repeet: {TYPO}"


def test_fingerprints_outlive_moved_lines_and_other_numbers(
    scratch: Scratch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = gitlab(capsys)
    scratch.edit("specs/typo.yaml", "hidden_size", "# a comment\n\nhidden_size")
    scratch.edit("specs/big.yaml", "1k", "2k")
    after = gitlab(capsys)
    lines = [[each["location"]["lines"]["begin"] for each in found] for found in (before, after)]
    assert lines[0] != lines[1]
    assert [e["fingerprint"] for e in before] == [e["fingerprint"] for e in after]


def test_fingerprints_are_unique(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # GitLab drops all but the first of the findings with one fingerprint.
    monkeypatch.chdir(BAD)
    found = json.loads(run(capsys, "check", ".", "--format", "gitlab")[1])
    assert len({each["fingerprint"] for each in found}) == len(found)


def test_markdown(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "check", "specs", "--format", "markdown")
    assert status == 1
    assert out == (
        "### kvcalc checked 3 specs: 2 problems, 1 warning\n"
        "\n"
        "| | where | rule | field | problem |\n"
        "|---|---|---|---|---|\n"
        f"| error | `specs/big.yaml:12` | KV401 | `budgets[0].cache` | {OVER} |\n"
        f"| error | `specs/typo.yaml:11` | KV102 | `layers[0].repeet` | {TYPO} |\n"
        "| warning | `specs/big.yaml:1` | KV302 | `expect` "
        "| state what is known to be true; this spec gives expect: {parameters: 146240, "
        "cache\\_bytes\\_per\\_token: 512}, which proves nothing until it is checked against a source |\n"
    )


def test_markdown_of_nothing_wrong(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "check", "specs/good.yaml", "--format", "markdown")
    assert (status, out) == (0, "### kvcalc checked 1 spec: no problems\n")


def test_markdown_stays_below_the_limit_of_a_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = Scratch(tmp_path)
    for index in range(210):
        scratch.write(f"s/m{index}.yaml", small("other", more="expect: {parameters: 146240}\n"))
    monkeypatch.chdir(tmp_path)
    _, out, _ = run(capsys, "check", "s", "--format", "markdown")
    assert out.count("| error |") == 200
    assert out.endswith("\nand 10 more\n")


def test_a_cell_of_markdown_keeps_to_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Scratch(tmp_path).write(ODD, small("odd"))
    monkeypatch.chdir(tmp_path)
    rows = run(capsys, "check", ODD, "--format", "markdown")[1].splitlines()[4:]
    for row in rows:
        assert row.replace("\\|", "").count("|") == 6
        assert "<&" not in row


FORMATS = ("text", "json", "github", "sarif", "junit", "gitlab", "markdown")


@pytest.mark.parametrize("format", FORMATS)
def test_the_status_does_not_depend_on_the_format(
    scratch: Scratch, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    scratch.edit("specs/big.yaml", "512kB", "1MiB")
    for status, arguments in (
        (0, ("specs/good.yaml", "specs/big.yaml")),
        (1, ("specs/big.yaml", "--strict")),
        (1, ("specs",)),
        (2, ("elsewhere",)),
    ):
        assert run(capsys, "check", *arguments, "--format", format)[0] == status
