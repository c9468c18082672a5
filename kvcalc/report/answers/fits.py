"""``kvcalc fit`` and ``kvcalc capacity``: the answer of each road that a question takes."""

from typing import TYPE_CHECKING, assert_never

from kvcalc.deployment.answer import Fit
from kvcalc.deployment.choice import Choices
from kvcalc.deployment.everywhere import Everywhere
from kvcalc.deployment.together import Together
from kvcalc.engines.result import CapacityResult
from kvcalc.report.answers import capacity, choice, fit, together
from kvcalc.report.sheet import Answer

if TYPE_CHECKING:
    from kvcalc.deployment.question import FitAnswer


def answer(found: "FitAnswer | CapacityResult") -> Answer:
    """The answer of one model or several, on one device, on all, or on a machine with RAM."""
    match found:
        case Fit():
            return fit.answer(found)
        case Everywhere():
            return fit.answer_all(list(found.each))
        case Choices():
            return choice.answer(found)
        case Together():
            return together.answer(found)
        case CapacityResult():
            return capacity.answer(found, found.source, found.path)
    from kvcalc.engines.llama_cpp.files import LocalFiles
    from kvcalc.engines.llama_cpp.local import LocalFit
    from kvcalc.report.answers import local, local_files

    match found:
        case LocalFit():
            return local.answer(found)
        case LocalFiles():
            return local_files.answer(found)
        case _:
            assert_never(found)
