"""What is asked of tiers beyond the GPU."""

from fractions import Fraction

from kvcalc.frozen import frozen
from kvcalc.memory.lengths import Lengths
from kvcalc.memory.workload import Asked, Workload


@frozen(kw_only=True)
class TierQuestion:
    """An engine's tiers on one machine.

    asked: one session as far as it was said, without its cache's format, which kv_dtype says in the
    engine's words; workload: the whole one, which the engine's rules read.
    block_tokens: of the engine's blocks or pages; chunk_tokens: of what is moved at once; None: its
    own. host_bytes, disk_bytes: of all ranks together. link, disk_link: bytes a second between GPU and
    host, host and disk. lengths: real sessions.
    """

    engine: str
    asked: Asked = Asked()
    workload: Workload = Workload(context_tokens=0)
    engine_version: str | None = None
    kv_dtype: str | None = None
    block_tokens: int | None = None
    chunk_tokens: int | None = None
    host_bytes: int | None = None
    disk_bytes: int | None = None
    link: Fraction | None = None
    disk_link: Fraction | None = None
    lengths: Lengths | None = None
