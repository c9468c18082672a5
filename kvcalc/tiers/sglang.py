"""SGLang's HiCache (``--hicache-size``): pages of token slots in each rank's own memory.

Rules, as read from SGLang 0.5.7 to 0.5.23 (mem_cache/memory_pool_host.py, later pool_host/base.py,
HostKVCache; mha.py and mla.py, get_size_per_token; mla_host_dedup.py):

* the flag is in 10^9 bytes, a whole number, of one rank: int(size * 1e9 // bytes of a token) slots, of
  which slots // page + 1 pages are made, so that a pool may be a page larger than it was said;
* a token takes what it takes on the GPU. Of latents, which are equal on all ranks, CUDA's first rank
  alone allocates since 0.5.20;
* sessions are stored in whole pages; --page-size is 1 unless it is said;
* the storage behind it ("file") writes a file for each page of each rank, and has no limit of its own;
* models with pools beside the full one (windows, states, index keys) share the size among them by
  other rules: they are refused here.

Worked number: Llama 3 8B at TP 1, --hicache-size 200: 200e9 // 131,072 = 1,525,878 slots; with pages of
64 tokens 23,842 pages.
"""

from dataclasses import replace

from kvcalc.engines import engine_of
from kvcalc.engines.engine import Setting
from kvcalc.engines.sglang.layers import Layers, count_layers, page_size
from kvcalc.engines.sglang.versions import rules_for
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec
from kvcalc.tiers.question import TierQuestion
from kvcalc.tiers.storage import Plan, Storage

FIRST, ONE_COPY = (0, 5, 7), (0, 5, 20)
BILLION = 10**9


def plan(spec: ModelSpec, question: TierQuestion) -> Plan:
    """SGLang's host tier and the files behind it. Raises UsageError for a size of less than 10^9 bytes
    a rank, UnsupportedError for pools that are not accounted for."""
    layout = question.workload.layout
    if layout.pipeline > 1:
        raise UnsupportedError(
            "HiCache of pipeline stages is not accounted for: ask with --tp alone"
        )
    setting = Setting(workload=question.workload, kv_dtype=question.kv_dtype,
                      engine_version=question.engine_version)  # fmt: skip
    request = engine_of("sglang").serve(setting)
    rules = rules_for(question.engine_version)
    release = tuple(int(part) for part in rules.version.split("post")[0].strip(".").split(".")[:3])
    if release < FIRST:
        raise UnsupportedError(
            f"HiCache of SGLang {rules.version} was not read: 0.5.7 and later were"
        )
    layers = count_layers(spec, request, range(len(decoder_layers(spec))))
    if layers.window or layers.state_bytes or layers.dsa or layers.draft:
        raise UnsupportedError(
            f"{spec.name} has pools of windows, states or index keys beside the full one: how HiCache "
            "shares its size among them is not accounted for"
        )
    if question.chunk_tokens is not None:
        raise UsageError("--chunk: SGLang moves pages: --block-size says how many tokens they have")
    page = question.block_tokens or page_size([layers])
    latent = all(not kind.v for kind in layers.kinds)
    ranks = 1 if latent and release >= ONE_COPY else layout.tensor
    return Plan(
        engine="sglang", words="SGLang", version=rules.version,
        tiers=(_host(layers, page, ranks), _disk(layers, page, 1 if latent else layout.tensor)),
        rules=(
            "the size is 10^9 bytes of each rank; a page is added to what it divides (HostKVCache)",
            *((f"the {layout.tensor} ranks' latents are equal: the first allocates (mla_host_dedup)",)
              if ranks < layout.tensor else ()),
        ),
        notes=tuple(layers.notes)
        + (() if page > 1 else ("pages of 1 token, as SGLang's own: a file of the storage is one "
                                "token then; --block-size 64 is what HiCache is used with",)),
    )  # fmt: skip


def _units(page: int) -> Storage:
    """What both tiers have: whole pages."""
    return Storage(
        name="", unit="page", unit_tokens=page, unit_bytes=0, units=lambda tokens: tokens // page,
        kept=lambda tokens: tokens // page * page, count=lambda size: 0, least=0,
        flag=lambda size: "",
    )  # fmt: skip


def _host(layers: Layers, page: int, ranks: int) -> Storage:
    token = layers.full

    def count(size: int) -> int:
        billions = size // ranks // BILLION
        return billions * BILLION // token // page + 1 if billions else 0

    return replace(
        _units(page), name="host", unit_bytes=token * page * ranks, count=count,
        least=BILLION * ranks, flag=lambda size: f"--hicache-size {size // ranks // BILLION}",
    )  # fmt: skip


def _disk(layers: Layers, page: int, ranks: int) -> Storage:
    page_bytes = layers.full * page * ranks
    return replace(
        _units(page), name="disk", unit="page file", unit_bytes=page_bytes,
        count=lambda size: size // page_bytes, least=page_bytes,
    )  # fmt: skip
