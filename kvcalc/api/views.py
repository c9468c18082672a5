"""How the answers of the library show themselves: the sheets and objects of the commands."""

from dataclasses import dataclass
from typing import Any

from kvcalc.checks.diff import Diff
from kvcalc.convert.locate import load
from kvcalc.deployment.answer import Fit
from kvcalc.deployment.choice import Choices
from kvcalc.deployment.estimation import AllEngines, EngineEstimate
from kvcalc.deployment.everywhere import Everywhere
from kvcalc.deployment.together import Together
from kvcalc.engines.llama_cpp.files import LocalFiles
from kvcalc.engines.llama_cpp.local import LocalFit
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.traffic import TrafficAnswer
from kvcalc.frozen import changed
from kvcalc.logs.answer import LogAnswer
from kvcalc.memory.estimate import Estimate
from kvcalc.memory.shown import shows
from kvcalc.report.answers import diff, estimates, fits, log, tiers, traffic
from kvcalc.report.formats import csv
from kvcalc.report.formats.html import fragment
from kvcalc.report.formats.json import versioned
from kvcalc.report.sheet import Answer
from kvcalc.spec.catalog import shipped
from kvcalc.tiers.answer import Tiers


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
    path = None if found.path else shipped().get(found.spec.name)
    own = path is not None and load(found.spec.name) == found.spec
    return changed(found, path=str(path)) if own else found


shows(Estimate, lambda one: _Shown(estimates.answer([_placed(one)])))
shows(EngineEstimate, lambda one: _Shown(estimates.answer([changed(one, need=_placed(one.need))])))
shows(AllEngines, lambda one: _Shown(estimates.answer([changed(one, need=_placed(one.need))])))
_ROADS: tuple[type[Any], ...] = (
    Fit, Choices, Together, Everywhere, CapacityResult, LocalFit, LocalFiles,
)  # fmt: skip
for road in _ROADS:
    shows(road, lambda one: _Shown(fits.answer(one)))
shows(TrafficAnswer, lambda one: _Shown(traffic.answer([one])))
shows(Tiers, lambda one: _Shown(tiers.answer(one)))
shows(LogAnswer, lambda one: _Shown(log.answer(one)))
shows(Diff, lambda one: _Shown(diff.answer(one, "increase")))
