"""What a spec says, as frozen dataclasses. The YAML keys, the JSON Schema and the docs follow these.

Every class lists its fields in the docstring; the schema takes its descriptions from there.
Field types are read at run time by kvcalc.spec.reader, so they are real types, not strings; a field
with ``kinds`` holds one of the mechanisms registered in that package.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from kvcalc.counts import (
    CacheBytes,
    Channels,
    EncoderTokens,
    Layers,
    Length,
    Norms,
    Parameters,
    Positions,
    Rows,
    Scaled,
    Sequences,
    Table,
    Taps,
)
from kvcalc.frozen import field, frozen
from kvcalc.tensors import ParamTensor, prefixed

if TYPE_CHECKING:
    from kvcalc.attention import Attention
    from kvcalc.attention.cross import CrossAttention
    from kvcalc.ffn import FeedForward
    from kvcalc.mechanism import Mechanism
    from kvcalc.recurrent import Recurrent
    from kvcalc.stack.altup import AltUp
    from kvcalc.stack.drafts import Drafter
    from kvcalc.stack.hyper_connections import HyperConnections
    from kvcalc.stack.laurel import Laurel
    from kvcalc.stack.mtp import MultiTokenPrediction
    from kvcalc.stack.ngram_embedding import NGramEmbedding
    from kvcalc.stack.per_layer_embeddings import PerLayerEmbeddings
    from kvcalc.stack.recursion import Recursion
    from kvcalc.stack.shared_adapter import SharedAdapter
    from kvcalc.towers import Tower

Slot = Literal["ngram", "attention", "recurrent", "cross_attention", "ffn"]
NormKind = Literal["rmsnorm", "layernorm", "layernorm_no_bias", "none"]
# "default" and the components of kvcalc.tensors.Component whose matrices a checkpoint may quantise.
WeightPart = Literal[
    "default", "embedding", "attention", "recurrent", "ffn", "experts", "router", "head", "other"
]


class Tokens(int):
    """A token count, written 8192, 8k or 1m."""


class Bytes(int):
    """A byte size, written 80GiB, 80GB or as a number of bytes."""


def _kinds(package: str) -> Any:
    return field(default=None, metadata={"kinds": package})


def _named_kinds(package: str) -> Any:
    """Mechanisms by the name that the spec gives each."""
    return field(default_factory=dict, metadata={"kinds": package, "named": True})


def _lazy(module: str, name: str) -> Any:
    """A field whose dataclass is imported only when a spec uses it."""
    return field(default=None, metadata={"lazy": (module, name)})


def norm_tensors(name: str, kind: NormKind, width: int) -> Iterator[ParamTensor]:
    """The weights of one norm over ``width`` channels."""
    if kind != "none":
        yield ParamTensor(f"{name}.weight", (width,), "norm")
    if kind == "layernorm":
        yield ParamTensor(f"{name}.bias", (width,), "norm")


@frozen(kw_only=True)
class Block:
    """One kind of layer: a mixer, a feed-forward layer and their norms.

    Fields:
        attention: the attention mechanism, chosen by its kind.
        recurrent: a recurrent or convolutional mixer; beside attention the two run in parallel.
        cross_attention: attention to the encoder's output, after self-attention.
        ffn: the feed-forward layer, chosen by its kind.
        norms: how many norms of hidden_size the block has; one per sublayer when absent.
        norm_position: pre, post or both sides of each sublayer; both when there are two each.
        share_weights: all layers made from this block use the same weights, each with a cache of
            its own (Zamba2).
        adapter: weights that each use of a shared block has of its own (Zamba2).
        layer_scalar: a learned scalar on the layer's output, kept as a buffer (Gemma 4).
        ngram: an embedding of the last tokens' n-grams, added before the layer (Qwen4-Exp).
    """

    attention: "Attention | None" = _kinds("kvcalc.attention")
    recurrent: "Recurrent | None" = _kinds("kvcalc.recurrent")
    cross_attention: "CrossAttention | None" = _lazy("kvcalc.attention.cross", "CrossAttention")
    ffn: "FeedForward | None" = _kinds("kvcalc.ffn")
    norms: Norms | None = None
    norm_position: Literal["pre", "post", "both"] | None = None
    share_weights: bool = False
    adapter: "SharedAdapter | None" = _lazy("kvcalc.stack.shared_adapter", "SharedAdapter")
    layer_scalar: bool = False
    ngram: "NGramEmbedding | None" = _lazy("kvcalc.stack.ngram_embedding", "NGramEmbedding")

    @property
    def slots(self) -> "dict[Slot, Mechanism]":
        """The mechanisms that the block has, by the key that each stands under."""
        parts: dict[Slot, Mechanism | None] = {
            "ngram": self.ngram, "attention": self.attention, "recurrent": self.recurrent,
            "cross_attention": self.cross_attention, "ffn": self.ffn,
        }  # fmt: skip
        return {slot: part for slot, part in parts.items() if part is not None}

    def mechanisms(self) -> "tuple[Mechanism, ...]":
        """The mechanisms that the block has."""
        return tuple(self.slots.values())

    # What some attentions have and others lack: asked here, so that nobody else asks by name.

    @property
    def shared_kv(self) -> str | None:
        """The block whose K and V this one's attention reads; None where it keeps its own."""
        return getattr(self.attention, "shared_kv", None)

    @property
    def sliding_window(self) -> int | None:
        """The last tokens that the attention sees; None where it sees all, or there is none."""
        return getattr(self.attention, "sliding_window", None)

    @property
    def num_attention_heads(self) -> int:
        """Query heads; 0 where there is no attention with heads of its own."""
        return getattr(self.attention, "num_attention_heads", 0)

    @property
    def is_bidirectional(self) -> bool:
        """Whether the attention sees its whole input at once, as an encoder's does."""
        return getattr(self.attention, "mask", "causal") == "bidirectional"

    @property
    def num_norms(self) -> int:
        """Norms of hidden_size: as stated, or one per sublayer."""
        if self.norms is not None:
            return self.norms
        mixer = self.attention is not None or self.recurrent is not None
        return mixer + (self.cross_attention is not None) + (self.ffn is not None)

    def parameters(
        self, hidden_size: int, norm: NormKind, encoder_hidden_size: int | None = None
    ) -> tuple[ParamTensor, ...]:
        """Every weight tensor of one layer made from this block."""
        return _weights_of(self, hidden_size, norm, encoder_hidden_size)


@lru_cache(maxsize=1024)
def _weights_of(
    block: Block, hidden_size: int, norm: NormKind, encoder_hidden_size: int | None
) -> tuple[ParamTensor, ...]:
    """Remembered: models of one family are made from the same blocks."""
    found: list[ParamTensor] = []
    for slot, part in block.slots.items():
        if block.cross_attention is not None and slot == "cross_attention":
            tensors = block.cross_attention.parameters(hidden_size, encoder_hidden_size)
        else:
            tensors = part.parameters(hidden_size)
        found += prefixed(slot, tensors)
    for index in range(block.num_norms):
        found += norm_tensors(f"norms.{index}", norm, hidden_size)
    if block.layer_scalar:
        found.append(ParamTensor("layer_scalar", (1,), "other", buffer=True))
    return tuple(found)


@frozen(kw_only=True)
class LayerGroup:
    """A run of layers: a list of blocks, repeated.

    Fields:
        repeat: how often the list is laid down.
        blocks: names of blocks, in order.
        pattern: the same for blocks with one-letter names, such as MEM*E.
        loops: how often the whole run is passed through with the same weights; each pass has a
            cache of its own (ALBERT, Universal Transformer, Ouro).
    """

    repeat: Layers = 1
    blocks: tuple[str, ...] = ()
    pattern: str | None = None
    loops: Layers = 1

    @property
    def names(self) -> tuple[str, ...]:
        """The block names of one repeat."""
        return tuple(self.pattern) if self.pattern is not None else self.blocks


@frozen(kw_only=True)
class Embedding:
    """What turns token ids into vectors, beyond the table itself.

    Fields:
        size: width of the table where it is not hidden_size (ALBERT, OPT-350m).
        extra_rows: rows of the table beyond vocab_size, which the head lacks (Llama 3.2 Vision: 8).
        projection: how a narrower table meets hidden_size: a matrix in, with a bias, or in and out.
        positions: rows of a learned position table, padding rows included.
        token_types: rows of a token type table (BERT).
        task_types: rows of a task type table (ERNIE).
        relative_positions: rows of a table of relative positions that every layer reads (DeBERTa).
        relative_norm: a norm over that table.
        norm: a norm after the embeddings (BERT, BLOOM).
    """

    size: Scaled | None = None
    extra_rows: Table | None = None
    projection: Literal["none", "in", "in_bias", "in_out"] = "none"
    positions: Positions | None = None
    token_types: Table | None = None
    task_types: Table | None = None
    relative_positions: Table | None = None
    relative_norm: bool = False
    norm: bool = False


@frozen(kw_only=True)
class ConvStem:
    """The convolutions that turn audio frames into encoder positions (Whisper).

    Fields:
        in_channels: mel bins.
        kernel: taps of each of the two convolutions.
    """

    in_channels: Channels
    kernel: Taps


@frozen(kw_only=True)
class Encoder:
    """The encoder of an encoder-decoder model; its blocks stand under ``blocks`` with the others.

    Fields:
        layers: runs of layers, as in the decoder; none where the encoder itself is left out, as
            the vision tower that Llama 3.2 Vision attends to.
        tokens: the encoder's length where it is fixed, whatever the input (Whisper: 1500).
        hidden_size: the encoder's width where it is not the decoder's.
        embedding: shared (one token table for both), own, or none (the input is not text).
        positions: rows of a learned position table.
        global_tokens: learned tokens that stand before the input and see all of it (PEGASUS-X).
        embedding_norm: a norm after the embeddings.
        final_norm: a norm after the last layer.
        relative_attention_num_buckets: rows of T5's relative position bias, one per stack.
        conv_stem: convolutions in front of the layers (Whisper).
    """

    layers: tuple[LayerGroup, ...]
    tokens: EncoderTokens | None = None
    hidden_size: Scaled | None = None
    embedding: Literal["shared", "own", "none"] = "shared"
    positions: Positions | None = None
    global_tokens: Table | None = None
    embedding_norm: bool = False
    final_norm: bool = True
    relative_attention_num_buckets: Table | None = None
    conv_stem: ConvStem | None = None


@frozen(kw_only=True)
class PublishedCount:
    """What the published files of the first hub id hold.

    Fields:
        parameters: elements of all their tensors, as the hub counts them: the index's total_size over
            the bytes of each.
        source: where that was read.
        beside: what of them is no parameter of the loaded model, by name: modules that predict further
            tokens, buffers, a tied head that is stored once more, scales of a number format.
    """

    parameters: Parameters
    source: str
    beside: dict[str, int] = field(default_factory=dict)


@frozen(kw_only=True)
class Expect:
    """What ``kvcalc check`` holds this spec to, exactly.

    Fields:
        parameters: parameters of the whole model, its towers included; tied tensors once, buffers
            and multi-token-prediction layers not.
        language_model: the same without towers and projectors.
        active_parameters: parameters that one token passes, embedding and head included.
        cache_bytes_per_token: what one more token adds in bf16 once every window is full.
        fixed_cache_bytes: what a sequence holds whatever its length, in bf16 with states in their
            own dtype: full windows and recurrent states.
        mtp_parameters: parameters of the multi-token-prediction layers.
    """

    parameters: Parameters | None = None
    language_model: Parameters | None = None
    active_parameters: Parameters | None = None
    cache_bytes_per_token: CacheBytes | None = None
    fixed_cache_bytes: CacheBytes | None = None
    mtp_parameters: Parameters | None = None


@frozen(kw_only=True)
class Budget:
    """A workload and what it may take; ``kvcalc check`` fails when the spec outgrows it.

    Fields:
        context: tokens per sequence.
        batch: sequences.
        encoder_context: encoder tokens per sequence.
        dtype: number format of the weights.
        kv_dtype: number format of the cache.
        images: images in each sequence, on top of context: 4x1920x1080, "3" of the largest, or a list.
        audio: sound in each sequence: 30s, 2x30s.
        video: video in each sequence: 60s@2fps.
        cache: bytes that the cache may take.
        weights: bytes that the weights may take.
        total: bytes that weights and cache may take together.
    """

    context: Tokens = Tokens(0)
    batch: Sequences = 1
    encoder_context: Tokens = Tokens(0)
    dtype: str | None = None
    kv_dtype: str = "bf16"
    images: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    video: tuple[str, ...] = ()
    cache: Bytes | None = None
    weights: Bytes | None = None
    total: Bytes | None = None


@frozen(kw_only=True)
class TensorFormat:
    """The number format of some tensors in the published files; what stands later counts.

    Fields:
        tensors: names of tensors, such as ffn.down_proj, head or encoder.attention.q_proj; a star
            stands for any letters, and reaches only matrices where the format is a quantised one.
        layers: which layers, such as 0-3 7; all of them when absent.
        format: number format, such as fp8_block128, q6_K or nvfp4+8 (eight bytes a matrix beside).
        bytes: bytes of each tensor, where no format explains what the files hold.
    """

    tensors: tuple[str, ...]
    layers: str | None = None
    format: str | None = None
    bytes: Bytes | None = field(default=None, metadata={"min": 0})


@frozen(kw_only=True)
class ModelSpec:
    """A model: its dimensions, its blocks, and how they are stacked.

    Fields:
        name: how kvcalc calls the model.
        source: where the dimensions were read: an address, a paper, a file and revision.
        hub_id: the model's ids on the Hugging Face hub.
        released: the month in which it came out, such as 2025-04; that of a shipped one is when its
            repository was made on the hub, as llmfit 1.1.17 (PyPI) lists it.
        model_type: the model_type of its Hugging Face config.
        notes: what a reader should know.
        left_out: parts of the checkpoint that are not counted, such as a speech decoder.
        hidden_size: width of the residual stream.
        vocab_size: rows of the token table, padding included.
        tie_word_embeddings: the head uses the token table. Required where there is a head.
        head: lm, mlm (BERT's transform and a tied decoder) or none.
        head_bias: the head has a bias.
        head_transform: a square matrix and a norm before the head (ModernBERT's decoder).
        pooler: a dense layer on the first token (BERT).
        class_tensors: what the model's class has beside these, by name and shape: a classifier's head.
        norm: the kind of every norm of hidden_size.
        final_norm: a norm after the last layer.
        embedding: what surrounds the token table.
        relative_attention_num_buckets: rows of T5's relative position bias, one per stack.
        max_position_embeddings: the longest context that the model was made for.
        blocks: named kinds of layers.
        layers: the decoder's stack (an encoder-only model's only stack), as runs of blocks.
        encoder: the encoder's stack, where there are two.
        towers: what turns images and sound into embeddings, by a name of its own: towers and projectors.
        recursion: mixture of recursions over the stack.
        hyper_connections: DeepSeek-V4's residual streams.
        altup: Gemma 3n's alternating updates.
        laurel: Gemma 3n's low-rank residual layers.
        per_layer_embeddings: Gemma 3n's and 4's embeddings per layer.
        mtp: extra layers that predict further tokens; counted apart.
        draft: what a model that drafts for another has around its layers, chosen by its kind.
        weight_dtypes: number format of each component's matrices in the published checkpoint.
        weight_formats: number formats of single tensors there, over what weight_dtypes says.
        declared_cache: the cache's format that the published checkpoint declares, by the tool that made
            it, such as modelopt or compressed-tensors; an engine's auto may take it.
        quantized_by: what its config says of how it was quantised: quant_method, of ModelOpt's the
            quant_algo, of GPTQ's desc_act and sym where they are not as usual; engines take their
            classes by it.
        checkpoint: what the published files hold, whatever is loaded of them.
        expect: values that ``kvcalc check`` holds.
        budgets: workloads that must stay within bounds.
    """

    name: str
    source: tuple[str, ...]
    hub_id: tuple[str, ...] = ()
    released: str | None = None
    model_type: str | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    hidden_size: Scaled
    vocab_size: Rows
    tie_word_embeddings: bool | None = None
    head: Literal["lm", "mlm", "none"] = "lm"
    head_bias: bool = False
    head_transform: bool = False
    pooler: bool = False
    class_tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)
    norm: NormKind = "rmsnorm"
    final_norm: bool = True
    embedding: Embedding | None = None
    relative_attention_num_buckets: Table | None = None
    max_position_embeddings: Length | None = None
    blocks: dict[str, Block]
    layers: tuple[LayerGroup, ...]
    encoder: Encoder | None = None
    towers: "dict[str, Tower]" = _named_kinds("kvcalc.towers")
    recursion: "Recursion | None" = _lazy("kvcalc.stack.recursion", "Recursion")
    hyper_connections: "HyperConnections | None" = _lazy(
        "kvcalc.stack.hyper_connections", "HyperConnections"
    )
    altup: "AltUp | None" = _lazy("kvcalc.stack.altup", "AltUp")
    laurel: "Laurel | None" = _lazy("kvcalc.stack.laurel", "Laurel")
    per_layer_embeddings: "PerLayerEmbeddings | None" = _lazy(
        "kvcalc.stack.per_layer_embeddings", "PerLayerEmbeddings"
    )
    mtp: "MultiTokenPrediction | None" = _lazy("kvcalc.stack.mtp", "MultiTokenPrediction")
    draft: "Drafter | None" = _kinds("kvcalc.stack.drafts")
    weight_dtypes: dict[WeightPart, str] = field(default_factory=dict)
    weight_formats: tuple[TensorFormat, ...] = ()
    declared_cache: dict[str, str] = field(default_factory=dict)
    quantized_by: dict[str, str] = field(default_factory=dict)
    checkpoint: PublishedCount | None = None
    expect: Expect | None = None
    budgets: tuple[Budget, ...] = ()

    @property
    def own_dtype(self) -> str:
        """What the weights are in when nothing is asked: as published, or bf16 where all is."""
        return "checkpoint" if self.weight_dtypes or self.weight_formats else "bf16"

    @property
    def reads_target(self) -> bool:
        """Whether it drafts with the keys and values of the model that it drafts for."""
        return self.draft is not None and self.draft.reads_target
