"""``kvcalc check --format gitlab``: a code quality report, for ``artifacts: reports: codequality``.

Format: docs.gitlab.com/ci/testing/code_quality, "Code Quality report format".
"""

import json

from kvcalc.report.findings import Checked
from kvcalc.report.findings.places import fingerprints, from_root
from kvcalc.report.findings.text import message
from kvcalc.spec.problems import RULES

# GitLab's words, from info to blocker.
_SEVERITY = {"error": "major", "warning": "minor"}


def render(checked: Checked) -> str:
    """A list of findings; GitLab compares the fingerprints of two pipelines."""
    problems, root = checked.problems, checked.root
    found = [
        {
            "description": message(problem),
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
