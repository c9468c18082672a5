"""How the answers of the library show themselves: the sheets and objects of the commands."""

from dataclasses import dataclass
from typing import Any

from kvcalc.checks.diff import Diff
from kvcalc.convert.locate import load
from kvcalc.deployment.answer import Fit
from kvcalc.deployment.choice import Choices
from kvcalc.deployment.everywhere import Everywhere
from kvcalc.deployment.together import Together
from kvcalc.engines.llama_cpp.files import LocalFiles
from kvcalc.engines.llama_cpp.local import LocalFit
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.traffic import TrafficAnswer
from kvcalc.logs.answer import LogAnswer
from kvcalc.memory.estimate import Estimate
from kvcalc.memory.shown import shows
from kvcalc.report.answers import diff, estimate, fits, log, traffic
from kvcalc.report.formats import csv
from kvcalc.report.formats.html import fragment
from kvcalc.report.formats.json import versioned
from kvcalc.report.sheet import Answer
from kvcalc.spec.catalog import shipped
from kvcalc.spec.model import ModelSpec


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


def _path(spec: ModelSpec) -> str:
    """Where a shipped spec is; nothing for any other."""
    path = shipped().get(spec.name)
    return str(path) if path is not None and load(spec.name) == spec else ""


shows(Estimate, lambda one: _Shown(estimate.answer([(_path(one.spec), one, None)])))
_ROADS: tuple[type[Any], ...] = (
    Fit, Choices, Together, Everywhere, CapacityResult, LocalFit, LocalFiles,
)  # fmt: skip
for road in _ROADS:
    shows(road, lambda one: _Shown(fits.answer(one)))
shows(TrafficAnswer, lambda one: _Shown(traffic.answer([(one.model, "", one.traffic, one.notes)])))
shows(LogAnswer, lambda one: _Shown(log.answer(one)))
shows(Diff, lambda one: _Shown(diff.answer(one, "increase")))
