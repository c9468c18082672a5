"""``kvcalc estimate``: the answer of each road that a question takes."""

from collections.abc import Sequence
from typing import Any

from kvcalc.deployment.estimation import EngineEstimate, EstimateAnswer
from kvcalc.memory.estimate import Estimate
from kvcalc.report.answers import estimate
from kvcalc.report.sheet import Answer, Sheet, answer_of


def answer(found: Sequence[EstimateAnswer], every: bool = False) -> Answer:
    """One sheet and one object for each model. every: the buffers of an unchunked prefill, too."""
    return answer_of(
        lambda: [_sheet(each, every) for each in found], lambda: [_object(each) for each in found]
    )


def _sheet(found: EstimateAnswer, every: bool) -> Sheet:
    if isinstance(found, Estimate):
        return estimate.sheet(found, every)
    from kvcalc.report.answers import engines

    if isinstance(found, EngineEstimate):
        return engines.sheet(found.need, found.held)
    return engines.sheet_of_all(found.need, found.engines)


def _object(found: EstimateAnswer) -> dict[str, Any]:
    if isinstance(found, Estimate):
        return estimate.to_object(found)
    from kvcalc.report.answers import engines

    if isinstance(found, EngineEstimate):
        return engines.to_object(found.need, found.held)
    return engines.object_of_all(found.need, found.engines)
