"""What SGLang bills for each layer of one rank: bytes of a token, bytes of a state."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from kvcalc.attention.mla import MultiHeadLatentAttention
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.drafts import check_kind
from kvcalc.engines.pooled import refuse_ngrams, refuse_pools
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.resolve import model_dtype, resolve
from kvcalc.engines.sglang.versions import Rules, rules_for
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed
from kvcalc.memory.beside import mtp_modules
from kvcalc.memory.cache import tensor_bytes
from kvcalc.memory.layout import Layout
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import CacheTensor, Chunk, EveryToken, Window

_ATTENTION = {"mha", "mqa", "gqa", "mla"}
_RECURRENT = {"gated_deltanet", "kda", "mamba1", "mamba2", "short_conv", "lightning"}
# configs/model_config.py, is_hybrid_swa_model, as model types of configs.
_WINDOW_POOL = {
    "gpt_oss", "llama4", "llama4_text", "gemma4", "gemma4_text", "gemma4_unified",
    "mimo_v2", "mimo_v2_flash", "step3p5", "step3p7", "laguna", "mellum", "granite_swa", "granitemoe_swa",
    "spark2_5",
}  # fmt: skip
DSA_PAGE = 64


@dataclass(frozen=True)
class Kind:
    """Layers that are billed alike. k, v, index: bytes of one token of one layer on a rank."""

    mechanism: str
    layers: int
    window: bool
    k: int
    v: int
    index: int


@dataclass
class Layers:
    """What one pipeline rank holds.

    full, window: bytes of a token over the layers of each pool. state_bytes: one sequence's states.
    own_draft: bytes of K and V of a token that a draft keeps, where it was billed as the model's layers.
    unbilled: bytes of a token that are stored and were left out when the pool was sized.
    replicated, shared: bytes of a token that are copies of KV heads, or slots of layers that share.
    """

    dsa: bool
    logical: CacheDtypes
    kinds: list[Kind] = field(default_factory=list)
    draft_layers: int = 0
    draft_k: int = 0
    draft_v: int = 0
    own_draft: tuple[int, int] | None = None
    state_layers: int = 0
    conv_bytes: int = 0
    temporal_bytes: int = 0
    # (channels, kernel - 1, bytes of an element, whether draft windows overlap) of convolutions.
    convolutions: list[tuple[int, int, int, bool]] = field(default_factory=list)
    replicated: int = 0
    shared: int = 0
    unbilled: int = 0
    notes: list[str] = field(default_factory=list)

    def _of(self, window: bool) -> int:
        return sum(
            (kind.k + kind.v + kind.index) * kind.layers
            for kind in self.kinds
            if kind.window is window
        )

    @property
    def full(self) -> int:
        return self._of(False)

    @property
    def window(self) -> int:
        return self._of(True)

    @property
    def draft(self) -> int:
        return self.draft_k + self.draft_v

    @property
    def draft_kept(self) -> tuple[int, int]:
        """Bytes of K and of V that the draft's pool has for a token."""
        return self.own_draft or (self.draft_k, self.draft_v)

    @property
    def state_bytes(self) -> int:
        return self.conv_bytes + self.temporal_bytes


def page_size(ranks: list[Layers]) -> int:
    """Tokens of a page unless --block-size says otherwise: 64 for DSA, else 1."""
    return DSA_PAGE if any(layers.dsa for layers in ranks) else 1


def stages(num_layers: int, ranks: int, rules: Rules) -> tuple[range, ...]:
    """Layers of each pipeline rank: the remainder one each to the last, unlike vLLM's rule
    (distributed/utils.py, get_pp_indices)."""
    if ranks > num_layers:
        raise UsageError(f"{num_layers} layers cannot fill {ranks} pipeline ranks")
    share, rest = divmod(num_layers, ranks)
    more = [0] * (ranks - rest) + [1] * rest if rules.even_stages else [0] * (ranks - 1) + [rest]
    starts = [share * rank + sum(more[:rank]) for rank in range(ranks + 1)]
    return tuple(range(start, stop) for start, stop in pairwise(starts))


def count_layers(spec: ModelSpec, request: SglangFlags, stage: range) -> Layers:
    """Add up the layers of one pipeline stage.

    Raises UnsupportedError for mechanisms that are not accounted for, UsageError for formats.
    """
    if spec.encoder is not None or spec.recursion is not None:
        raise UnsupportedError(f"SGLang's pools for {spec.name} are not accounted for")
    rules = rules_for(request.engine_version)
    indexers = [
        block.attention.indexer
        for block in spec.blocks.values()
        if isinstance(block.attention, MultiHeadLatentAttention)
    ]
    indexer = next(filter(None, indexers), None)
    dsa = indexer is not None
    resolved = resolve(spec, request, rules, dsa)
    dtypes, index = resolved.row, resolved.index
    conv = CacheDtypes(key=model_dtype(request), value=model_dtype(request))
    layers = Layers(dsa=dsa, logical=CacheDtypes(dtypes.key, dtypes.value, request.state_dtype),
                    notes=[*resolved.rules, *resolved.notes])  # fmt: skip
    found: dict[tuple[Any, ...], int] = {}
    for layer in decoder_layers(spec):
        if layer.index not in stage:
            continue
        block = spec.blocks[layer.block]
        refuse_ngrams("SGLang", block)
        if block.cross_attention is not None:
            raise UnsupportedError("SGLang's cross-attention cache is not accounted for")
        if block.attention is not None:
            own: Any = block.attention
            if getattr(own, "shared_kv", None) is not None:
                own = changed(own, shared_kv=None)
            if dsa and not rules.only_owners_index:
                own = changed(own, indexer=indexer)
            kind = _attention(spec, own, dtypes, index, request, layers)
            if dsa and not rules.dsa_rows:
                raw = own.kv_lora_rank + own.qk_rope_head_dim
                layers.unbilled += kind[2] - raw if dtypes.key == "fp8_ds_mla" else 0
            found[kind] = found.get(kind, 0) + 1
            if getattr(block.attention, "shared_kv", None) is not None:
                layers.shared += kind[2] + kind[3]
        if block.recurrent is not None:
            _recurrent(block.recurrent, conv, request, layers)
    for (mechanism, window, k, v, idx), count in found.items():
        layers.kinds.append(Kind(mechanism, count, window, k, v, idx))
    if stage.stop == len(decoder_layers(spec)):
        _drafting(spec, request, layers)
    return layers


def _drafting(spec: ModelSpec, request: SglangFlags, layers: Layers) -> None:
    """What a draft or MTP modules keep, on the last stage. Raises UnsupportedError."""
    if request.draft is not None:
        draft, rules = request.draft.spec, rules_for(request.engine_version)
        if draft.reads_target:
            raise UnsupportedError(
                f"--draft {draft.name}: how SGLang sizes its pool beside a draft that "
                "reads the model's keys and values (FROZEN_KV_MTP) is not accounted for"
            )
        check_kind(draft, rules.drafts, f"SGLang {rules.version}")
        _draft_model(draft, request, layers)
    elif request.mtp_layers:
        if spec.mtp is not None:
            mtp_modules(spec, request.mtp_layers)
        _draft(request.mtp_layers, layers)


def _attention(
    spec: ModelSpec, attention: Any, dtypes: CacheDtypes, index: CacheDtypes,
    request: SglangFlags, layers: Layers,
) -> tuple[str, bool, int, int, int]:  # fmt: skip
    """(mechanism, in the window pool, bytes of K, of V, of an index key) for one token."""
    if attention.kind not in _ATTENTION:
        raise UnsupportedError(f"SGLang's pools for {attention.kind} are not accounted for")
    refuse_pools("SGLang", attention)
    tensors = tuple(attention.cache())
    if not tensors:
        raise UnsupportedError("SGLang's pool for bidirectional layers is not accounted for")
    ranks = request.layout.tensor
    sums = {"k": 0, "v": 0, "index": 0}
    for tensor in tensors:
        part = {"value": "v", "index": "index"}.get(tensor.role, "k")
        format = index if part == "index" else dtypes
        own = tensor_bytes(tensor, format, ranks)
        sums[part] += own
        if tensor.shard is not None:
            layers.replicated += max(0, own - tensor_bytes(tensor, format) // ranks)
    window = _in_window_pool(spec, tensors[0], request, layers)
    return attention.kind, window, sums["k"], sums["v"], sums["index"]


def _in_window_pool(
    spec: ModelSpec, tensor: CacheTensor, request: SglangFlags, layers: Layers
) -> bool:
    match tensor.extent:
        case EveryToken():
            return False
        case Window() | Chunk():
            known = spec.model_type is None or spec.model_type in _WINDOW_POOL
            if known and request.hybrid_manager is not False:
                return True
            note = "windows are kept whole: " + (
                "the hybrid pool is off"
                if known
                else f"SGLang has no window pool for {spec.model_type}"
            )
            if note not in layers.notes:
                layers.notes.append(note)
            return False
    raise UnsupportedError(f"SGLang keeps no such positions: {tensor.extent}")


def _recurrent(mixer: Any, conv: CacheDtypes, request: SglangFlags, layers: Layers) -> None:
    """Add one layer's state: the convolution in the model's format, the rest in its own."""
    if mixer.kind not in _RECURRENT:
        raise UnsupportedError(f"SGLang's state pool for {mixer.kind} is not accounted for")
    ranks = request.layout.tensor
    layers.state_layers += 1
    state = CacheDtypes(conv.key, conv.value, request.state_dtype)
    for tensor in mixer.cache():
        num_bytes = tensor_bytes(tensor, state, ranks)
        if tensor.role == "conv":
            if not num_bytes:
                continue  # A convolution of one tap keeps no column.
            layers.conv_bytes += num_bytes
            channels, columns = tensor.per_rank(ranks) if ranks > 1 else tensor.shape
            size = num_bytes // (channels * columns)
            # KimiLinearStateShape.disable_conv_window_dedup
            layers.convolutions.append((channels, columns, size, mixer.kind != "kda"))
        else:
            layers.temporal_bytes += num_bytes


def _draft_model(draft: ModelSpec, request: SglangFlags, layers: Layers) -> None:
    """A draft's pool has as many tokens as the model's. DFlash's and DSpark's are billed by their own
    configs (scale_kv_cell_size_per_token_for_dflash), all others as if they had the model's layers
    (DefaultPoolConfigurator.__init__, eagle_draft_num_layers)."""
    if request.mtp_layers:
        raise UsageError(
            "--draft and --mtp-layers: SGLang drafts in one way: leave one of them out"
        )
    own = count_layers(draft, changed(request, draft=None, layout=Layout(request.layout.tensor)),
                       range(len(decoder_layers(draft))))  # fmt: skip
    if own.state_layers:
        raise UnsupportedError(f"--draft {draft.name}: a draft's states are not accounted for")
    count = sum(kind.layers for kind in own.kinds)
    if not count:
        return
    k, v = (
        sum(
            (getattr(kind, part) + (kind.index if part == "k" else 0)) * kind.layers
            for kind in own.kinds
        )
        for part in ("k", "v")
    )
    if draft.draft is not None and draft.draft.billed_apart:
        layers.draft_layers, layers.draft_k, layers.draft_v = count, k, v
    else:
        _draft(count, layers)
        layers.own_draft = (k, v)


def _draft(count: int, layers: Layers) -> None:
    """EAGLE and MTP layers: a layer of the full pool each (DefaultPoolConfigurator.__init__)."""
    kinds = [kind for kind in layers.kinds if not kind.window] or layers.kinds
    if not kinds:
        raise UsageError("--mtp-layers: the model has no attention layer to draft with")
    total = sum(kind.layers for kind in kinds)
    k, v = (sum(getattr(kind, part) * kind.layers for kind in kinds) for part in ("k", "v"))
    # A draft's DSA layers all have an index key of 132 bytes.
    index = max(kind.index for kind in kinds)
    layers.draft_layers = count
    layers.draft_k = k * count // total + index * count
    layers.draft_v = v * count // total
