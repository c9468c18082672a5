"""What sessions cost in each tier, how many fit, and how long one takes to move."""

from fractions import Fraction

from kvcalc.deployment.needless import changing_nothing
from kvcalc.deployment.said import said_of_tiers
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines import engine_of
from kvcalc.engines.engine import Setting
from kvcalc.errors import UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.cache import cache_function
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.shown import Shown
from kvcalc.spec.catalog import Found
from kvcalc.spec.model import ModelSpec
from kvcalc.tiers.question import TierQuestion
from kvcalc.tiers.storage import Plan, Storage
from kvcalc.units import format_bytes


@frozen(kw_only=True)
class Tier:
    """RAM or disk. What the question did not say is null.

    Fields:
        unit_tokens: null where groups of layers differ.
        unit_bytes: of one on all ranks, padding included.
        kept_tokens: of the session that are read back; the rest is computed again.
        tokens: held, of such sessions.
        requests: of the file of lengths, held at once, were all sessions alike.
        flag: what makes the tier so large in the engine.
        move_seconds: of one session, at the link's speed.
    """

    name: str
    unit: str
    unit_tokens: int | None
    unit_bytes: int
    session_units: int
    session_bytes: int
    kept_tokens: int
    bytes: int | None = None
    num_units: int | None = None
    tokens: int | None = None
    sessions: int | None = None
    requests: int | None = None
    requests_bytes: int | None = None
    flag: str | None = None
    move_seconds: Fraction | None = None


@frozen(kw_only=True)
class Tiers(Shown):
    """The answer. gpu_bytes: what a session takes in the engine's own pool, on all ranks. transfer:
    seconds for that at the link's speed, as from a prefill to a decode server; None without a link, and
    where windows and states make what is sent another figure. logical_bytes: its need. source,
    path: of the model's spec."""

    model: str
    engine: str
    words: str
    version: str
    context_tokens: int
    ranks: int
    gpu_bytes: int
    transfer: Fraction | None
    logical_bytes: int
    tiers: tuple[Tier, ...]
    num_requests: int | None
    rules: tuple[str, ...]
    notes: tuple[str, ...]
    source: tuple[str, ...] = ()
    path: str = ""

    @property
    def figures(self) -> object:
        return (self.tiers, self.gpu_bytes, self.transfer, self.logical_bytes, self.num_requests,
                self.version)  # fmt: skip


def tiers(found: Found, question: TierQuestion) -> Tiers:
    """What the tiers of an engine hold. Raises UsageError for a tier that it has not, or one that holds
    not one unit, and as the engine's own rules do."""
    answer = _tiers(found, question)
    return answer.noted(tuple(
        changing_nothing(said_of_tiers(question), lambda less: _tiers(found, less), answer)
    ))  # fmt: skip


def _tiers(found: Found, question: TierQuestion) -> Tiers:
    """The same, whatever changes nothing."""
    spec = found.spec
    said = changed(question.asked, kv_dtype=CacheDtypes.need(question.kv_dtype))
    workload, filled = choose_workload(spec, said)
    question = changed(question, workload=workload)
    plan = _plan(spec, question)
    asked = {"host": question.host_bytes, "disk": question.disk_bytes}
    speeds = {"host": question.link, "disk": question.disk_link}
    shown = [each for each in plan.tiers if each.name == "host" or asked[each.name] is not None]
    gpu = _in_the_pool(spec, question)
    function = cache_function(spec, workload.cache)
    logical = function.most(workload.context_tokens)
    whole = question.link is not None and not function.fixed_bytes(0)
    notes = list(plan.notes)
    ranks = workload.layout.tensor
    if ranks > 1 and gpu > logical:
        notes.append(
            f"the {ranks} ranks hold {format_bytes(gpu)} of a session whose need is "
            f"{format_bytes(logical)}: heads or latents that they share, padding and whole blocks"
        )
    return Tiers(
        model=spec.name, engine=plan.engine, words=plan.words, version=plan.version,
        context_tokens=workload.context_tokens, ranks=ranks, gpu_bytes=gpu,
        transfer=Fraction(gpu) / question.link if whole and question.link else None,
        logical_bytes=logical,
        tiers=tuple(_tier(each, question, asked[each.name], speeds[each.name]) for each in shown),
        num_requests=None if question.lengths is None else question.lengths.num_requests,
        rules=plan.rules, notes=(*notes, *filled, *found.assumptions), source=spec.source,
        path=found.path,
    )  # fmt: skip


def _plan(spec: ModelSpec, question: TierQuestion) -> Plan:
    """The engine's rules. Raises UsageError for what says nothing of them."""
    from kvcalc.tiers import plan_of

    if question.disk_link is not None and question.disk_bytes is None:
        raise UsageError("--disk-link is the speed of --disk: say how large that is")
    plan = plan_of(question.engine)(spec, question)
    known = [each.name for each in plan.tiers]
    for name, size in (("host", question.host_bytes), ("disk", question.disk_bytes)):
        if size is not None and name not in known:
            raise UsageError(f"--{name}: {plan.words} {plan.version} has no {name} tier")
    return plan


def _in_the_pool(spec: ModelSpec, question: TierQuestion) -> int:
    """Bytes of one session in the engine's own pool, on all ranks."""
    engine = engine_of("vllm" if question.engine == "lmcache" else question.engine)
    version = None if question.engine == "lmcache" else question.engine_version
    setting = Setting(
        workload=question.workload, kv_dtype=question.kv_dtype, engine_version=version
    )
    request = engine.serve(setting)
    if question.block_tokens is not None:
        request = changed(request, block_size=question.block_tokens)
    held = engine.held(spec, request)
    each = sum(held.stage_bytes(question.workload.context_tokens))
    return each * question.workload.layout.tensor


def _tier(
    storage: Storage, question: TierQuestion, size: int | None, speed: Fraction | None
) -> Tier:
    tokens = question.workload.context_tokens
    units = storage.units(tokens)
    session = units * storage.unit_bytes
    tier: dict[str, object] = {
        "name": storage.name, "unit": storage.unit, "unit_tokens": storage.unit_tokens,
        "unit_bytes": storage.unit_bytes, "session_units": units, "session_bytes": session,
        "kept_tokens": storage.kept(tokens),
        "move_seconds": None if speed is None else Fraction(session) / speed,
    }  # fmt: skip
    if question.lengths is not None:
        of_all = sum(storage.units(each) * n for each, n in question.lengths.totals.items())
        tier["requests_bytes"] = of_all * storage.unit_bytes
    if size is None:
        return Tier(**tier)  # type: ignore[arg-type]
    count = storage.count(size)
    if not count:
        raise UsageError(
            f"--{storage.name} {format_bytes(size)} does not hold one {storage.unit} of "
            f"{format_bytes(storage.unit_bytes)}: {format_bytes(storage.least)} or more would"
        )
    tier |= {
        "bytes": size, "num_units": count, "sessions": count // units if units else None,
        "tokens": count * storage.kept(tokens) // units if units else None,
        "flag": storage.flag(size),
    }  # fmt: skip
    if question.lengths is not None and of_all:
        tier["requests"] = count * question.lengths.num_requests // of_all
    return Tier(**tier)  # type: ignore[arg-type]
