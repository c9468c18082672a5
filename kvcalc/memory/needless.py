"""Number formats that were asked for and that nothing of a model is kept in: said, never passed over."""

from collections.abc import Iterator

from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.memory.workload import Asked
from kvcalc.spec.model import ModelSpec


def needless(spec: ModelSpec, asked: Asked) -> Iterator[str]:
    """What was said and decides nothing of the model."""
    if asked.encoder_tokens and spec.encoder is None:
        yield "--encoder-context decides nothing here: the model has no encoder"
    yield from needless_formats(spec, asked)


def needless_formats(spec: ModelSpec, asked: Asked) -> Iterator[str]:
    """What ``--state-dtype`` and ``--kv-dtype`` say nothing of here."""
    groups: tuple[CacheGroup, ...] = groups_of(spec)
    if asked.beside.draft is not None:
        groups += groups_of(asked.beside.draft.spec)
    roles = {tensor.role for group in groups for tensor in group.tensors}
    if asked.state_dtype is not None and "state" not in roles:
        yield "--state-dtype decides nothing here: no layer keeps a recurrent state"
    if asked.kv_dtype != "bf16" and not roles - {"state"}:
        kept = "its states have a format of their own" if roles else "nothing is kept between steps"
        yield f"--kv-dtype decides nothing here: no layer keeps keys and values, {kept}"
