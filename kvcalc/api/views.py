"""How the answers of the library show themselves: the sheets and objects of the commands."""

from dataclasses import dataclass
from typing import Any

from kvcalc.checks.diff import Diff
from kvcalc.convert.locate import locate
from kvcalc.deployment.estimation import AllEngines, EngineEstimate
from kvcalc.frozen import changed
from kvcalc.memory.estimate import Estimate
from kvcalc.memory.shown import Shown, View
from kvcalc.report.answers import answer, diff
from kvcalc.report.formats import csv
from kvcalc.report.formats.html import fragment
from kvcalc.report.formats.json import versioned
from kvcalc.report.sheet import Answer
from kvcalc.spec.catalog import shipped


@dataclass(frozen=True)
class _Shown:
    """An answer of one model."""

    answer: Answer

    def to_dict(self) -> dict[str, Any]:
        return versioned(self.answer.objects())

    def rows(self) -> list[dict[str, Any]]:
        header, *records = csv.records(self.answer.sheets())
        return [dict(zip(map(str, header), record, strict=True)) for record in records]

    def html(self) -> str:
        return fragment(self.answer.sheets())


def _placed(found: Estimate) -> Estimate:
    """With the path of a shipped spec that was given as itself."""
    if found.path or found.spec.name not in shipped():
        return found
    own = locate(found.spec.name)
    return changed(found, path=own.path) if own.spec == found.spec else found


def view_of(found: Shown) -> View:
    """The view of an answer."""
    match found:
        case Estimate():
            found = _placed(found)
        case EngineEstimate() | AllEngines():
            found = changed(found, need=_placed(found.need))
        case Diff():
            return _Shown(diff.answer(found, "increase"))
    return _Shown(answer(found))
