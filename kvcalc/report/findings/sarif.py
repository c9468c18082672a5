"""``kvcalc check --format sarif``: SARIF 2.1.0 (OASIS standard), for code scanning and editors.

Section numbers are the standard's. What GitHub's code scanning requires beyond it is there, too:
descriptions and help of every rule, a line of every result, fingerprints.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kvcalc import __version__
from kvcalc.errors import Problem
from kvcalc.report.findings import Checked
from kvcalc.report.findings.places import fingerprints, from_root
from kvcalc.report.findings.text import message
from kvcalc.spec.problems import RULES, Rule

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_INDEX = {code: index for index, code in enumerate(RULES)}


def render(checked: Checked) -> str:
    """One run: the rules, and a result for each problem."""
    problems, root = checked.problems, checked.root
    marks = fingerprints(problems, root)
    run = {
        "tool": {
            "driver": {
                "name": "kvcalc",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(rule) for rule in RULES.values()],
            }
        },
        "invocations": [{"executionSuccessful": True}],
        # 3.14.17: the reader counts columns in characters, not in UTF-16 units, the default.
        "columnKind": "unicodeCodePoints",
        "results": [_result(*pair, root) for pair in zip(problems, marks, strict=True)],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    summary = f"{rule.summary[0].upper()}{rule.summary[1:]}."
    return {
        "id": rule.code,
        "shortDescription": {"text": summary},
        "fullDescription": {"text": summary},
        "help": {"text": f"{summary} 'kvcalc check --rules' lists every rule."},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(problem: Problem, fingerprint: str, root: Path) -> dict[str, Any]:
    # 3.30: a region without a column is the whole line.
    region = {"startLine": max(problem.line, 1)}
    if problem.line and problem.column:
        region["startColumn"] = problem.column
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": _artifact(from_root(problem.path, root)),
            "region": region,
        }
    }
    if problem.field:
        name = {"fullyQualifiedName": problem.field, "kind": "property"}
        location["logicalLocations"] = [name]
    return {
        "ruleId": problem.code,
        "ruleIndex": _INDEX[problem.code],
        "level": RULES[problem.code].severity,
        # 3.11.5: braces stand for placeholders unless they are doubled.
        "message": {"text": message(problem).replace("{", "{{").replace("}", "}}")},
        "locations": [location],
        "partialFingerprints": {"kvcalc/v1": fingerprint},
    }


def _artifact(path: str) -> dict[str, str]:
    """3.4.3 and 3.4.4: a URI reference, relative to the sources' root unless it is absolute."""
    address = quote(path.encode("utf-8", "surrogateescape"))
    if path.startswith("/"):
        return {"uri": f"file://{address}"}
    return {"uri": address, "uriBaseId": "%SRCROOT%"}
