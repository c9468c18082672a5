"""What ``kvcalc.yaml`` says, as frozen dataclasses; policy.py reads it, policy_findings.py applies it.

Every class lists its fields in the docstring; the JSON Schema takes its descriptions from there.
"""

from collections.abc import Iterator
from fractions import Fraction

from kvcalc.frozen import field, fields_of, frozen
from kvcalc.memory.workload import Asked
from kvcalc.spec.model import Budget, Bytes, Tokens

# What a budget can limit; one of them has to be said.
LIMITS = ("cache", "weights", "total", "parameters", "cache_per_token", "gpu", "gpu_memory")
# limit -> the fields of a budget that say how much is asked of it.
FORMATS, MEDIA = ("dtype", "kv_dtype"), ("images", "audio", "video")
LOAD = ("context", "batch", "encoder_context", *MEDIA, *FORMATS)
_DEVICES = (*LOAD, "tp", "pp", "engine", "memory_utilization")
ASKED: dict[str, tuple[str, ...]] = {
    "cache": tuple(name for name in LOAD if name != "dtype"),
    "weights": ("dtype",),
    "total": LOAD,
    "parameters": (),
    "cache_per_token": ("kv_dtype",),
    "gpu": _DEVICES,
    "gpu_memory": _DEVICES,
}


def needless_fields(budget: Budget) -> Iterator[tuple[str, str]]:
    """(field, message) of what is asked and decides no limit of a budget."""
    limits = [name for name in ASKED if getattr(budget, name, None) is not None]
    read = {name for limit in limits for name in ASKED[limit]}
    usual = {name: default for name, _, default in fields_of(Budget)}
    for name in LOAD if limits else ():
        if name not in read and getattr(budget, name) != usual[name]:
            yield name, f"decides nothing of {' and '.join(limits)}: leave it out"


@frozen(kw_only=True)
class PolicyBudget(Budget):
    """A budget of a spec, and which specs it is for.

    Fields:
        models: names of models, or patterns of names or of paths (serving/*); "!name" is not meant.
        parameters: how many parameters the model may have, tied tensors once.
        cache_per_token: bytes that one more token of one sequence may add.
        gpu: a GPU of the catalogue (h100-80gb) that must hold the workload beside what an engine
            takes for itself, as kvcalc fit has it.
        gpu_memory: bytes of one GPU. Without an engine, the share of weights and cache must fit
            into them, and nothing else is counted.
        engine: whose pages to count, vLLM's where a gpu stands without one; the GPU must hold the
            batch's sequences at once.
        memory_utilization: the share of the GPU that the engine may use; its own when absent, 0.9 of
            most.
        tp: tensor-parallel ranks, each on a GPU of its own.
        pp: pipeline-parallel ranks, likewise.
    """

    models: tuple[str, ...]
    parameters: int | None = None
    cache_per_token: Bytes | None = None
    gpu: str | None = None
    gpu_memory: Bytes | None = None
    engine: str | None = None
    memory_utilization: Fraction | None = None
    tp: int = 1
    pp: int = 1


@frozen(kw_only=True)
class ComparedWorkload:
    """What ``kvcalc diff`` compares the cache of, where its options do not say.

    Fields:
        context: tokens per sequence.
        batch: sequences.
        dtype: number format of the weights; the checkpoint's when absent.
        kv_dtype: number format of the cache.
    """

    context: Tokens = Tokens(8192)
    batch: int = 1
    dtype: str | None = None
    kv_dtype: str = "bf16"

    @property
    def asked(self) -> Asked:
        """The same in the words of the library."""
        return Asked(context_tokens=self.context, batch_size=self.batch, dtype=self.dtype,
                     kv_dtype=self.kv_dtype)  # fmt: skip


@frozen(kw_only=True)
class Policy:
    """What ``kvcalc.yaml`` says.

    Fields:
        budgets: workloads that the specs must keep within bounds.
        tolerances: how much a quantity may grow before ``kvcalc diff`` fails: 1%, 64MiB. That of
            weight_bytes or cache_bytes covers its parts: parameters, bytes a token and a sequence.
        workload: what ``kvcalc diff`` compares the cache of, where its options do not say.
    """

    budgets: tuple[PolicyBudget, ...] = ()
    tolerances: dict[str, str] = field(default_factory=dict)
    workload: ComparedWorkload = ComparedWorkload()
