"""``kvcalc check --format junit``: a suite per spec, a test case per rule.

Holds the two schemas in use: windyroad/JUnit-Schema (Ant's, strict: order, timestamp and host are
required, one failure a case) and jenkinsci/xunit-plugin junit-10.xsd. JUnit knows no warnings: those
stand in the suite's output, and are failures only where --strict makes them so.
"""

import os
import re
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from kvcalc.checks.run import Report
from kvcalc.errors import Problem
from kvcalc.report.findings import Checked
from kvcalc.report.findings.text import problem_line
from kvcalc.spec.problems import RULES, Rule

# What XML 1.0 has no way to say; a path may hold it.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(checked: Checked) -> str:
    """An XML document."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for index, report in enumerate(checked.reports):
        lines += _suite(report, index, checked.when, checked.strict)
    return "\n".join([*lines, "</testsuites>"]) + "\n"


def _suite(report: Report, index: int, when: str, strict: bool) -> list[str]:
    failing = report.problems if strict else report.errors
    by_rule: dict[str, list[Problem]] = {}
    for problem in failing:
        by_rule.setdefault(problem.code, []).append(problem)
    skipped = report.not_run - by_rule.keys()
    attributes = {
        "name": report.path,
        "package": os.path.dirname(report.path) or ".",
        "id": index,
        "timestamp": when,
        "hostname": "localhost",
        "tests": len(RULES),
        "failures": len(by_rule),
        "errors": 0,
        "skipped": len(skipped),
        "time": 0,
    }
    lines = [f" <testsuite {_attributes(attributes)}>", "  <properties/>"]
    for rule in RULES.values():
        lines += _case(report, rule, by_rule.get(rule.code, []), rule.code in skipped)
    warnings = () if strict else report.warnings
    said = escape(_xml("\n".join(problem_line(problem) for problem in warnings)))
    return [*lines, f"  <system-out>{said}</system-out>", "  <system-err/>", " </testsuite>"]


def _case(report: Report, rule: Rule, problems: list[Problem], skipped: bool) -> list[str]:
    name = f"{rule.code} {rule.summary}"
    start = f"  <testcase {_attributes({'classname': report.path, 'name': name, 'time': 0})}"
    if skipped:
        other = report.is_policy or (report.is_config and report.spec is not None)
        why = "not for this kind of file" if other else "not reached: the file has problems of form"
        reason = _attributes({"message": why})
        return [f"{start}>", f"   <skipped {reason}/>", "  </testcase>"]
    if not problems:
        return [f"{start}/>"]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    said = escape(_xml("\n".join(problem_line(problem) for problem in problems)))
    first = {"type": rule.code, "message": problems[0].message + more}
    return [f"{start}>", f"   <failure {_attributes(first)}>{said}</failure>", "  </testcase>"]


def _attributes(values: Mapping[str, object]) -> str:
    return " ".join(f"{name}={quoteattr(_xml(str(value)))}" for name, value in values.items())


def _xml(text: str) -> str:
    return _NOT_XML.sub(lambda found: ascii(found[0])[1:-1], text)
