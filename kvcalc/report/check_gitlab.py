"""``kvcalc check --format gitlab``: a code quality report, for ``artifacts: reports: codequality``.

Format: docs.gitlab.com/ci/testing/code_quality, "Code Quality report format".
"""

import json
from pathlib import Path

from kvcalc.checks.run import Report
from kvcalc.report.check_places import fingerprints, from_root
from kvcalc.spec.problems import RULES

# GitLab's words, from info to blocker.
_SEVERITY = {"error": "major", "warning": "minor"}


def render(reports: tuple[Report, ...], root: Path) -> str:
    """A list of findings; GitLab compares the fingerprints of two pipelines."""
    problems = [problem for report in reports for problem in report.problems]
    found = [
        {
            "description": f"{problem.field}: {problem.message}".removeprefix(": "),
            "check_name": problem.code,
            "fingerprint": fingerprint,
            "severity": _SEVERITY[RULES[problem.code].severity],
            "location": {
                "path": from_root(problem.path, root),
                "lines": {"begin": max(problem.line, 1)},
            },
        }
        for problem, fingerprint in zip(problems, fingerprints(problems, root), strict=True)
    ]
    return json.dumps(found, indent=1) + "\n"
