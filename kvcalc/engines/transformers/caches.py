"""transformers: what Hugging Face transformers' cache objects hold (the *library* accounting).

Measured on version 5.23.0, and every shipped model again on 5.24.0: models built from config
objects, run with ``use_cache``, every tensor that the cache reaches listed, identical tensors once.
Files named below are transformers' own.

Positions. A full layer keeps every token (cache_utils.py, DynamicLayer). A sliding layer keeps the
last W - 1 tokens, the current one being in the query (DynamicSlidingWindowLayer.update); with W = 1
its slice ``[-1 + 1:]`` keeps everything. A chunk of C is a sliding window of C there. A prefill
leaves these tokens as a view of all it has seen, so until the next token the whole context stays
allocated; the estimate states that beside the cache (``after_prefill``).

Convolutions keep K columns, the current token's among them, padded to K from the first token on
(LinearAttentionLayer.update_conv_state); RecurrentGemma keeps K - 1 on its modules.

States. Recurrent states are float32, whatever the model's dtype, except where a family allocates
them in it: MiniMax (MiniMaxCache.linear_cache) and xLSTM (xLSTMCache). RWKV keeps a list of five
tensors [batch, width, layers], the two token shifts in the model's dtype and three in float32.

MLA caches the normed latent in the slot ``keys`` and the rotary key in ``values`` from 5.15.0 on,
and expanded keys and values per head before; models with a sparse-attention indexer (deepseek_v32,
glm_moe_dsa) followed in 5.18.0. Read in the sources of 5.14.1, 5.15.0, 5.15.1, 5.16.1, 5.17.0,
5.18.0 and 5.22.0 (the arguments of ``past_key_values.update``), measured on 5.23.0.

Integers are not counted: Qwen4-Exp's cache holds three positions of each token, in its first layer with
an indexer, and the last ids of each n-gram embedding, 24 bytes a token and 16 a layer.

Families that differ from their own architecture:

* falcon with new_decoder_architecture (40B, 180B, 11B): keys and values are repeated for all query
  heads before they are cached (FalconAttention._split_heads): 16 times Falcon-40B's 8 KV heads, and
  one head, too, which a spec then calls gqa; falcon-7b's older decoder, mqa, keeps its head once;
* gpt_neo: the window is a mask; every layer keeps every token;
* deepseek_v4: a window-only layer keeps its vector as ``keys`` and again as ``values``; compressed
  layers keep it once (DeepseekV4HCACache: values is keys) beside entries, buffers and overlaps.
  From 5.24.0 on the overlaps' gates are float32: they have the position bias added, which the
  class makes in float32 since (DeepseekV4CSACompressor, DeepseekV4Indexer).

Names are those of the cache's attributes: keys, values, indexer_keys, conv_states,
recurrent_states; ``cross_keys`` and ``cross_values`` are keys and values of
EncoderDecoderCache.cross_attention_cache; of DeepSeek-V4's dictionaries ``compressed_kv.indexer``
is the entry "indexer". Number formats follow the model's dtype (``--kv-dtype``).

A library is asked what it holds, so the answer is for exactly ``--context`` tokens.
Worked number: Mistral-7B-v0.1, W = 4096, 131,072 tokens: 32 * 2 * 8 * 128 * 4095 * 2 = 536,739,840
bytes, and 17,179,869,184 allocated right after the prefill, as measured.
"""

from collections.abc import Callable, Iterator

from kvcalc.attention.dsa import Indexer
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.transformers.ranks import heads_are_divided
from kvcalc.engines.transformers.versions import MEASURED, NEWEST, Release, release_of, written
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed
from kvcalc.memory.accounting import Accounting
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import (
    EVERY_TOKEN,
    CacheTensor,
    Chunk,
    Extent,
    SinkWindow,
    Window,
    split,
)

_LATENT_SINCE = (5, 15, 0)
_LATENT_WITH_INDEXER_SINCE = (5, 18, 0)
_FLOAT32_GATES_SINCE = (5, 24, 0)

# The model types whose cache was measured tensor by tensor; others follow the same cache classes.
_MEASURED_TYPES = """
albert apertus bamba bart bert bitnet bloom codegen cohere cohere2 cwm dbrx deberta-v2 deepseek_v2
deepseek_v3 deepseek_v32 deepseek_v4 distilbert dots1 electra ernie4_5 ernie4_5_moe exaone4 falcon
falcon_h1 falcon_mamba gemma gemma2 gemma3 gemma3_text gemma3n_text gemma4 gemma4_text gemma4_unified glm
glm4 glm4_moe glm4_moe_lite glm_moe_dsa gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite
granitemoe granitemoehybrid hunyuan_v1_dense hunyuan_v1_moe internlm3 jamba jetmoe kimi_k2
kimi_k25 kimi_linear lfm2 lfm2_moe llama llama4 llama4_text longcat_flash m2m_100 mamba mamba2
mbart mimo_v2_flash minicpm3 minimax minimax_m2 minimax_m3_vl minimax_m3_vl_text ministral3
mistral mistral4 mixtral modernbert mpt mt5 nemotron nemotron_h olmo olmo2 olmo3 olmoe opt pegasus
phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_moe
qwen3_next recurrent_gemma roberta rwkv seed_oss smollm3 stablelm starcoder2 t5 whisper
xlm-roberta xlstm zamba2
"""
MEASURED_TYPES = frozenset(_MEASURED_TYPES.split())


def accounting(spec: ModelSpec, dtypes: CacheDtypes, version: str | None = None) -> Accounting:
    """What transformers' caches hold for a model.

    version: of transformers; the newest known when None. Raises UsageError for a version or a
    number format that makes no sense and UnsupportedError, by name, for what transformers has not.
    """
    release = release_of(version)
    groups = groups_of_version(spec, release, dtypes.key)
    _refuse_formats(dtypes)
    return Accounting(
        engine="transformers",
        groups=groups,
        assumptions=tuple(_assumptions(spec, release)),
        at_most=False,
        after_prefill=_pinned(groups),
    )


def groups_of_version(
    spec: ModelSpec, release: Release = NEWEST, model_dtype: str = "bf16"
) -> tuple[CacheGroup, ...]:
    """The cache groups of a model as a release of transformers holds them.

    model_dtype: what the model runs in, which some families keep their states in.
    """
    if spec.recursion is not None:
        raise UnsupportedError(f"{spec.name}: transformers has no mixture of recursions")
    rules = _Rules(spec, release, model_dtype)
    groups = [changed(group, tensors=rules.tensors(group)) for group in groups_of(spec)]
    return tuple(group for group in groups if group.tensors)


def _refuse_formats(dtypes: CacheDtypes) -> None:
    if dtypes.key != dtypes.value or dtypes.key not in ("fp32", "bf16", "fp16"):
        raise UnsupportedError(
            f"transformers' cache is in the model's dtype: --kv-dtype bf16, fp16 or fp32, "
            f"not {dtypes.kv_name}"
        )
    if dtypes.state is not None:
        raise UnsupportedError(
            "transformers chooses the number format of recurrent states itself; "
            "leave --state-dtype out"
        )


def _assumptions(spec: ModelSpec, release: Release) -> Iterator[str]:
    said = f"the cache object of transformers {written(release)}, at exactly this context"
    if release not in (MEASURED, NEWEST):
        said += f": MLA as read in its sources, everything else as measured on {written(MEASURED)}"
    yield said
    windowed = any(
        getattr(block.attention, "sliding_window", None) is not None
        for block in spec.blocks.values()
        if getattr(block.attention, "kind", None) in ("mha", "mqa", "gqa")
    )
    if windowed and spec.model_type != "gpt_neo":
        # cache_utils.py, Cache: layers are made full as they are filled where no config says their types.
        yield "a DynamicCache() made by hand without config= has no windows: every layer keeps all tokens"
    kinds = {getattr(block.attention, "kind", None) for block in spec.blocks.values()}
    if spec.model_type == "falcon" and "mqa" in kinds:
        yield (
            "kind mqa is falcon-7b's one KV head, kept once; with new_decoder_architecture the library "
            "keeps a copy for each query head, which kind gqa says"
        )
    if spec.model_type is None:
        yield "no model_type in the spec: the rules of transformers' cache classes, no family's own"
    elif spec.model_type not in MEASURED_TYPES:
        yield (
            f"model_type '{spec.model_type}' was not measured: the rules of transformers' cache "
            "classes, no family's own"
        )


def _pinned(groups: tuple[CacheGroup, ...]) -> tuple[CacheGroup, ...] | None:
    """What a prefill in one go leaves allocated: windows are views of all tokens seen."""
    if not any(isinstance(tensor.extent, Window) for group in groups for tensor in group.tensors):
        return None
    if any(group.mechanism in _V4 for group in groups):
        # DeepSeek-V4's buffers are views as well, of projections that live longer: not accounted.
        return None
    return tuple(
        changed(group, tensors=tuple(
            changed(tensor, extent=EVERY_TOKEN) if isinstance(tensor.extent, Window) else tensor
            for tensor in group.tensors
        ))
        for group in groups
    )  # fmt: skip


_V4 = ("v4_window", "csa", "hca")
_ABSENT = {
    "gta": "grouped-tied attention",
    "gla": "grouped latent attention",
    "tpa": "tensor product attention",
    "mfa": "multi-matrix factorization attention",
    "nsa": "native sparse attention",
    "moba": "mixture of block attention",
    "retnet": "RetNet",
    "delta_net": "DeltaNet",
    "rwkv6": "RWKV-6",
    "rwkv7": "RWKV-7",
}
_RECURRENT = (
    "mamba1", "mamba2", "gated_deltanet", "kda", "lightning", "rg_lru", "short_conv", "mlstm",
)  # fmt: skip


def kept(extent: Extent) -> Extent:
    """How many positions the library keeps where the mechanism needs ``extent``."""
    match extent:
        case Window(size) | Chunk(size):
            # The slice [-size + 1:] of a window of one is [0:].
            return Window(size - 1) if size > 1 else EVERY_TOKEN
        case SinkWindow():
            raise UnsupportedError("transformers 5 has no cache that keeps sink tokens")
        case _:
            return extent


class _Rules:
    """One model's rules: from what a mechanism needs to what the library's cache holds."""

    def __init__(self, spec: ModelSpec, release: Release, model_dtype: str) -> None:
        self.spec = spec
        self.model_dtype = model_dtype
        attentions = [block.attention for block in spec.blocks.values()]
        indexed = any(getattr(attention, "indexer", None) is not None for attention in attentions)
        since = _LATENT_WITH_INDEXER_SINCE if indexed else _LATENT_SINCE
        self.latent = release >= since
        self.gate = "fp32" if release >= _FLOAT32_GATES_SINCE else None

    def tensors(self, group: CacheGroup) -> tuple[CacheTensor, ...]:
        """What one layer of the group holds."""
        if self.spec.model_type == "openai-gpt":
            # modeling_openai.py takes and returns no cache: every step reads all tokens again.
            return ()
        if group.mechanism in _ABSENT:
            raise UnsupportedError(
                f"{self.spec.name}: transformers has no {_ABSENT[group.mechanism]}"
            )
        rule: Callable[[CacheGroup], Iterator[CacheTensor]] = {
            "mha": self._softmax, "mqa": self._softmax, "gqa": self._softmax,
            "differential": self._softmax, "moa": self._softmax, "mla": self._mla,
            "cca": self._cca, "cross": self._cross,
            "v4_window": self._v4, "csa": self._v4, "hca": self._v4,
            "rwkv4": self._rwkv, "rwkv_channel_mix": self._rwkv,
            **dict.fromkeys(_RECURRENT, self._recurrent), "ngram": self._ngram,
        }.get(group.mechanism, self._unknown)  # fmt: skip
        if group.mechanism in _RECURRENT or not heads_are_divided(self.spec):
            return tuple(changed(tensor, shard=None) for tensor in rule(group))
        return tuple(rule(group))

    def _unknown(self, group: CacheGroup) -> Iterator[CacheTensor]:
        raise UnsupportedError(f"transformers' cache for {group.mechanism} is not accounted for")

    def _softmax(self, group: CacheGroup) -> Iterator[CacheTensor]:
        """Keys and values before they are repeated for the query heads, and an indexer's keys."""
        attention = self.spec.blocks[group.block].attention
        heads = getattr(attention, "num_attention_heads", 0)
        expanded = self.spec.model_type == "falcon" and group.mechanism == "gqa"
        masked_only = self.spec.model_type == "gpt_neo"
        for tensor in group.tensors:
            extent = EVERY_TOKEN if masked_only else kept(tensor.extent)
            if tensor.role == "index":
                indexer: Indexer | None = getattr(attention, "indexer", None)
                if indexer is not None and indexer.index_kpool is not None:
                    # What pools are made of, of every token.
                    extent = EVERY_TOKEN
                yield self._index(tensor, extent, indexer)
            if tensor.role in ("index", "buffer"):
                continue
            name = {"key": "keys", "value": "values"}[tensor.name]
            tensor = changed(tensor, name=name, extent=extent)
            if expanded:
                tensor = changed(tensor, shape=(heads, tensor.shape[1]), shard=split(0, heads))
            yield tensor

    def _index(self, tensor: CacheTensor, extent: Extent, indexer: Indexer | None) -> CacheTensor:
        if indexer is not None and indexer.pooling == "gated":
            # Key, gate and a flag of every token: pools are made anew at each step.
            tensor = changed(tensor, shape=(2 * indexer.index_head_dim + 1,))
        if (self.spec.model_type or "").startswith("minimax_m3"):
            # MiniMaxM3SparseCacheLayer: its one index key is a head like any other.
            return changed(
                tensor, name="idx_keys", shape=(1, *tensor.shape), extent=extent, token_axis=1
            )
        return changed(tensor, name="indexer_keys", extent=extent)

    def _mla(self, group: CacheGroup) -> Iterator[CacheTensor]:
        """The latent and the rotary key in the slots of keys and values, as single heads."""
        mla = self.spec.blocks[group.block].attention
        if mla is None or mla.kind != "mla":  # pragma: no cover
            raise AssertionError(group.block)
        extent = kept(mla.extent)
        if self.latent:
            for name, width, role in (
                ("keys", mla.kv_lora_rank, "latent"), ("values", mla.qk_rope_head_dim, "rope_key"),
            ):  # fmt: skip
                if not width:
                    continue
                yield CacheTensor(name, (1, width), extent, role, token_axis=1)  # type: ignore[arg-type]
        else:
            heads = mla.num_attention_heads
            for name, width, role in (
                ("keys", mla.qk_head_dim, "key"), ("values", mla.v_head_dim, "value"),
            ):  # fmt: skip
                shard = split(0, heads)
                yield CacheTensor(name, (heads, width), extent, role, shard, 1)  # type: ignore[arg-type]
        for tensor in group.tensors:
            if tensor.role == "index":
                yield self._index(tensor, extent, mla.indexer)

    def _cca(self, group: CacheGroup) -> Iterator[CacheTensor]:
        """Zaya's keys and values, its convolutions' columns and the token's delayed projection."""
        names = {"key": "keys", "value": "values", "conv_state": "conv_states",
                 "delayed_value": "recurrent_states"}  # fmt: skip
        for tensor in group.tensors:
            yield changed(tensor, name=names[tensor.name], extent=kept(tensor.extent))

    def _cross(self, group: CacheGroup) -> Iterator[CacheTensor]:
        """The encoder's keys and values, in a cache of their own."""
        for tensor in group.tensors:
            yield changed(tensor, name=f"{tensor.name}s")

    def _v4(self, group: CacheGroup) -> Iterator[CacheTensor]:
        """DeepSeek-V4's window, entries, buffers and overlaps."""
        for tensor in group.tensors:
            if tensor.name == "key_value":
                shape = (1, *tensor.shape)
                window = changed(tensor, shape=shape, extent=kept(tensor.extent), token_axis=1)
                yield changed(window, name="keys")
                if group.mechanism == "v4_window":
                    yield changed(window, name="values")
                continue
            owner = "indexer" if tensor.name.startswith("index") else "compressor"
            bare = tensor.name.removeprefix("index_")
            bare = "compressed_kv" if bare in ("key", "compressed_key_value") else bare
            gate = self.gate if bare == "overlap_gate" else None
            yield changed(tensor, name=f"{bare}.{owner}", dtype=gate)

    def _rwkv(self, group: CacheGroup) -> Iterator[CacheTensor]:
        """``state``: [0] the channel mixing's shift, [1] the time mixing's, [2:] a, b and p."""
        order = {"token_shift": 0 if group.slot == "ffn" else 1,
                 "numerator": 2, "denominator": 3, "maximum": 4}  # fmt: skip
        for tensor in group.tensors:
            state = "fp32" if tensor.role == "state" else None
            yield changed(tensor, name=f"state[{order[tensor.name]}]", dtype=state)

    def _ngram(self, group: CacheGroup) -> Iterator[CacheTensor]:
        """The convolution's columns: as many as lie before the current token, in a slot of their own."""
        for tensor in group.tensors:
            yield changed(tensor, name="conv_states[1]")

    def _recurrent(self, group: CacheGroup) -> Iterator[CacheTensor]:
        """Convolution columns and recurrent states."""
        own_dtype = group.mechanism in ("lightning", "mlstm")
        for tensor in group.tensors:
            if tensor.role == "conv":
                channels, columns = tensor.shape
                if group.mechanism != "rg_lru":
                    columns += 1
                yield changed(tensor, name="conv_states", shape=(channels, columns))
                continue
            name = {
                "lightning": "linear_cache", "mlstm": f"rnn_state.{tensor.name}",
            }.get(group.mechanism, "recurrent_states")  # fmt: skip
            yield changed(tensor, name=name, dtype=self.model_dtype if own_dtype else "fp32")
