"""Which file of a model: every type of weights on the same machines, widest first."""

from collections.abc import Sequence
from dataclasses import replace

from kvcalc.engines.llama_cpp.beside import LeftOut
from kvcalc.engines.llama_cpp.local import LocalFit, LocalQuestion, fit_local
from kvcalc.errors import KvcalcError
from kvcalc.frozen import frozen
from kvcalc.memory.shown import Shown
from kvcalc.spec.model import ModelSpec


@frozen(kw_only=True)
class LocalFiles(Shown):
    """The answer: one for each type that llama.cpp makes of the model, each smaller than the one before.
    notes: beside those of each."""

    each: tuple[LocalFit, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def figures(self) -> object:
        return [fit.figures for fit in self.each], self.left_out

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(note for fit in self.each for note in fit.notes)

    def noted(self, notes: tuple[str, ...]) -> "LocalFiles":
        return replace(self, notes=(*self.notes, *notes))

    @property
    def whole(self) -> LocalFit | None:
        """The widest that reads nothing of RAM: every token is made on the devices."""
        return next((fit for fit in self.holding if not fit.table.read_bytes), None)

    @property
    def widest(self) -> LocalFit | None:
        """The widest that runs at all."""
        return next(iter(self.holding), None)

    @property
    def fits(self) -> bool:
        """Whether any runs."""
        return self.widest is not None

    @property
    def holding(self) -> tuple[LocalFit, ...]:
        """Those that fit."""
        return tuple(fit for fit in self.each if fit.fits)


def fit_files(
    spec: ModelSpec, question: LocalQuestion, context: int, dtypes: Sequence[str]
) -> LocalFiles:
    """Every type's answer. Raises the first refusal where none can be asked about."""
    fits: list[LocalFit] = []
    refused: list[tuple[str, KvcalcError]] = []
    least: int | None = None
    for dtype in dtypes:
        try:
            found = fit_local(spec, replace(question, dtype=dtype), context)
        except KvcalcError as error:
            refused.append((dtype, error))
            continue
        size = file_bytes(found)
        if least is None or size < least:
            fits.append(found)
            least = size
    if not fits:
        raise refused[0][1]
    return LocalFiles(
        each=tuple(fits),
        left_out=tuple(LeftOut(dtype, error.message) for dtype, error in refused),
    )


def file_bytes(fit: LocalFit) -> int:
    """What the model's buffers take, on all devices and in RAM."""
    return sum(use.model_bytes for use in fit.table.uses)
