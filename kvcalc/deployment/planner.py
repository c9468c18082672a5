"""What fits a device, and on how few of them: ``kvcalc fit`` and budgets of ``check`` ask here."""

from kvcalc.deployment.answer import FitRequest
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.known import Known
from kvcalc.deployment.parallelism import whole_cache
from kvcalc.deployment.server import Server
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import KvcalcError
from kvcalc.frozen import changed
from kvcalc.memory.asked_beside import NOTHING
from kvcalc.memory.layout import Layout
from kvcalc.memory.weights import rank_bytes
from kvcalc.spec.model import ModelSpec

# Ranks of one kind that are tried: any number that one machine has, as 3 or 6 cards are common.
_RANKS = range(1, 9)


class Planner(Known):
    """Answers for one model, on whatever devices."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._needs: dict[tuple[CacheDtypes, int, int], int] = {}
        self._dividing: dict[tuple[str, int], bool] = {}
        self._dealt: dict[FitRequest, list[FitRequest]] = {}

    def on(self, device: Accelerator, request: FitRequest) -> Server:
        """The answers about a request on a device."""
        return Server(self, device, request)

    def holds(self, device: Accelerator, request: FitRequest, end: int = 0) -> bool:
        """Whether it fits at one end of the band; False too for what is refused."""
        return self.on(device, request).holds(end)

    def may_hold(self, device: Accelerator, request: FitRequest) -> bool:
        """Whether all devices together have room for the weights and a quarter of the need, which
        is found at once: no engine's formats are narrower than a quarter of those asked for. False
        too for what is refused."""
        least = self._least(request)
        return least is not None and least <= request.layout.devices * device.bytes

    def _least(self, request: FitRequest) -> int | None:
        """What ``may_hold`` asks room for, whatever the layout; None where it is refused."""
        workload = request.workload
        try:
            need = self._need(workload.cache, workload.context_tokens, workload.encoder_tokens)
            return self.weight_bytes(workload.dtype) + need * workload.batch_size // 4
        except KvcalcError:
            return None

    def _need(self, dtypes: CacheDtypes, tokens: int, encoder_tokens: int) -> int:
        """The logical need of one request on one device."""
        key = (dtypes, tokens, encoder_tokens)
        if key not in self._needs:
            whole = whole_cache(self.spec, dtypes, NOTHING, 1)
            self._needs[key] = whole.most(tokens, encoder_tokens)
        return self._needs[key]

    def fewest(self, here: Server) -> Server | None:
        """The same question on the fewest devices; of those, the most tensor ranks. Up to 8 of each
        kind; None where no layout holds it."""
        request, dtype = here.request, here.request.workload.dtype
        least = self._least(request)
        if least is None:
            return None
        for asked in self._dealt_out(request):
            layout = asked.layout
            if least > layout.devices * here.device.bytes or not self._may_divide(dtype, layout):
                continue
            there = here if layout == request.layout else self.on(here.device, asked)
            if there.holds():
                return there
        return None

    def _dealt_out(self, request: FitRequest) -> list[FitRequest]:
        """The request on all ranks that are tried, in the order in which they are: the same for every
        device."""
        if request not in self._dealt:
            now = request.layout
            layouts = sorted(
                (changed(now, tensor=tensor, pipeline=pipeline)
                 for tensor in _RANKS for pipeline in _RANKS),
                key=lambda layout: (layout.devices, -layout.tensor),
            )  # fmt: skip
            self._dealt[request] = [request.of(layout=layout) for layout in layouts]
        return self._dealt[request]

    def _may_divide(self, dtype: str, layout: Layout) -> bool:
        """Whether so many tensor ranks may divide the weights: 3, 5, 6 and 7 seldom do, whatever the
        device. Experts that are dealt out whole are not divided."""
        ranks = layout.tensor
        if layout.expert or ranks & (ranks - 1) == 0:
            return True
        if (dtype, ranks) not in self._dividing:
            try:
                rank_bytes(self.spec, dtype, ranks)
                self._dividing[dtype, ranks] = True
            except KvcalcError:
                self._dividing[dtype, ranks] = False
        return self._dividing[dtype, ranks]
