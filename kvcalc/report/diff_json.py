"""``kvcalc diff --format json``: integers; a difference in percent is the only quotient."""

import json
from typing import Any

from kvcalc.checks.diff import Change, Diff, FailOn, OneSided
from kvcalc.checks.limits import FieldChange
from kvcalc.checks.quantities import QUANTITIES
from kvcalc.report.diff_rows import percent_number


def render(diff: Diff, fail_on: FailOn) -> str:
    """One object; ``failed`` says what the exit status says."""
    reference = diff.reference
    answer = {
        "schema_version": 1,
        "base": {"revision": diff.revision, "commit": diff.base.commit},
        "workload": {
            "context_tokens": reference.context_tokens,
            "batch_size": reference.batch_size,
            "dtype": reference.dtype,
            "kv_dtype": reference.kv_dtype,
        },
        "fail_on": fail_on,
        "failed": diff.fails(fail_on),
        "failing": list(diff.failing(fail_on)),
        "changed": [_change(change) for change in diff.changed],
        "added": [_one_sided(each) for each in diff.added],
        "removed": [_one_sided(each) for each in diff.removed],
        "not_comparable": [
            {
                "path": each.path,
                "side": each.side,
                "problems": [
                    {
                        "path": problem.path,
                        "line": problem.line,
                        "column": problem.column,
                        "field": problem.field,
                        "message": problem.message,
                        "code": problem.code,
                    }
                    for problem in each.problems
                ],
            }
            for each in diff.broken
        ],
        "policies": [
            {"path": each.path, "fields": [_field(field) for field in each.fields]}
            for each in diff.policies
        ],
        "notes": list(diff.base.notes),
    }
    return json.dumps(answer, indent=1) + "\n"


def _change(change: Change) -> dict[str, Any]:
    return {
        "model": change.model,
        "path": change.path,
        "base_model": change.base_model,
        "base_path": change.base_path,
        "fields": [_field(field) for field in change.fields],
        "limits": [_field(field) for field in change.limits],
        "quantities": [
            {
                "quantity": row.quantity,
                "unit": _unit(row.quantity),
                "base": row.base,
                "head": row.head,
                "delta": row.delta,
                "percent": percent_number(row),
                "tolerated": row.tolerated,
            }
            for row in change.rows
        ],
    }


def _field(change: FieldChange) -> dict[str, Any]:
    return {
        "field": change.field,
        "base": change.base,
        "head": change.head,
        "line": change.line,
        "effect": change.effect,
    }


def _one_sided(each: OneSided) -> dict[str, Any]:
    return {
        "model": each.model,
        "path": each.path,
        "quantities": [
            {"quantity": quantity, "unit": _unit(quantity), "value": number}
            for quantity, number in each.quantities.items()
        ],
    }


def _unit(quantity: str) -> str:
    return "bytes" if QUANTITIES[quantity][1] else "count"
