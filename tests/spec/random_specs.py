"""Hypothesis strategies for specs: any mechanism with any fields that its own rules allow."""

from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

from hypothesis import strategies as st

from kvcalc.attention.cross import CrossAttention
from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.spec.consistency import findings
from kvcalc.spec.fields import spec_fields
from kvcalc.spec.model import (
    Block,
    Budget,
    Bytes,
    ConvStem,
    Embedding,
    Encoder,
    Expect,
    LayerGroup,
    ModelSpec,
    Tokens,
)  # fmt: skip
from kvcalc.stack.hyper_connections import HyperConnections
from kvcalc.stack.ngram_embedding import NGramEmbedding
from kvcalc.stack.recursion import Recursion

# Few numbers that divide each other, so that heads and groups often fit.
sizes = st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128])
words = st.text(
    st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=1, max_size=12
).filter(str.strip)
texts = words | st.sampled_from(
    ["null", "~", "010", "yes", "1:30", "- a", "a: b", "#", "a\nb", "'"]
)
# A line break may stand in what is prose: source, notes.
lines = texts.filter(lambda text: "\n" not in text)
# Some states are as wide as the model, and say so again.
HIDDEN_SIZE = 64
SHARES = (Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(2, 3), Fraction(1))


def values(kind: Any, meta: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    if "kinds" in meta:
        return mechanisms(meta["kinds"])
    if "lazy" in meta:
        module, name = meta["lazy"]
        return parts(getattr(import_module(module), name))
    origin, args = get_origin(kind), get_args(kind)
    if origin is tuple:
        unique = get_origin(args[0]) is Literal
        return st.lists(values(args[0], meta), max_size=3, unique=unique).map(tuple)
    if origin is Literal:
        return st.sampled_from(args)
    most = meta["count"].most if "count" in meta else 128
    simple: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: sizes if most >= 128 else sizes.filter(lambda size: size <= most),
        str: lines,
        Fraction: st.sampled_from(SHARES),
        Tokens: st.integers(0, 2**40).map(Tokens),
        Bytes: st.integers(0, 2**60).map(Bytes),
    }
    return simple[kind] if kind in simple else parts(kind)


def parts(cls: Any, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Instances of one of the spec's dataclasses that its own rules allow."""
    chosen = {}
    for name, field in spec_fields(cls).items():
        chosen[name] = fixed[name] if name in fixed else values(field.kind, field.meta)
        if field.nullable and name not in fixed:
            chosen[name] = st.none() | chosen[name]
    made = st.builds(cls, **chosen)
    return made.filter(lambda part: not list(part.check())) if hasattr(cls, "check") else made


def mechanisms(package: str) -> st.SearchStrategy[Any]:
    """Any mechanism of ``kvcalc.attention``, ``kvcalc.recurrent`` or ``kvcalc.ffn``."""
    classes = sorted(set(import_module(package).KINDS.values()))
    own = {"shared_kv": st.none(), "hidden_size": st.just(HIDDEN_SIZE)}
    return st.sampled_from(classes).flatmap(
        lambda home: parts(getattr(import_module(home[0]), home[1]), **own)
    )


@st.composite
def blocks(draw: st.DrawFn, encoder: bool = False, cross: bool = False) -> Block:
    """A block that is not empty; an encoder's keeps no cache."""
    if encoder:
        heads = draw(sizes)
        attention = SoftmaxAttention(
            kind="mha", num_attention_heads=heads, num_key_value_heads=heads, head_dim=draw(sizes),
            mask="bidirectional",
        )  # fmt: skip
        ffn = mechanisms("kvcalc.ffn").filter(lambda ffn: not any(ffn.cache()))
        return Block(attention=attention, ffn=draw(ffn))
    cross_attention = parts(CrossAttention) if cross else st.none()
    block = draw(parts(Block, cross_attention=cross_attention, ngram=st.none()))
    if block.attention is None and block.recurrent is None:
        block = replace(block, attention=draw(mechanisms("kvcalc.attention")))
    return block


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    """A spec without a problem."""
    names = draw(st.lists(words | st.sampled_from("MEA*-N"), min_size=1, max_size=3, unique=True))
    has_encoder = draw(st.booleans())
    named = {
        name: draw(blocks(cross=has_encoder and (number == 0 or draw(st.booleans()))))
        for number, name in enumerate(names)
    }
    connections = draw(st.none() | parts(HyperConnections))
    if connections is not None and draw(st.booleans()):
        # An n-gram embedding goes with residual streams.
        ngram = draw(parts(NGramEmbedding, hidden_size=st.just(HIDDEN_SIZE), ngram_vocab_size_base=sizes,
                           ngram_size=st.integers(2, 3), heads_per_ngram=st.integers(1, 2),
                           ple_embed_dim=st.sampled_from([8, 16]), ple_layer_index=st.integers(0, 3),
                           hc_mult=st.just(connections.hc_mult)))  # fmt: skip
        named[names[0]] = replace(named[names[0]], ngram=ngram)
    groups = [LayerGroup(blocks=tuple(names), repeat=draw(st.integers(1, 3)))]
    if all(len(name) == 1 for name in names):
        groups.append(LayerGroup(pattern="".join(names), loops=draw(st.integers(1, 2))))
    encoder = None
    if has_encoder:
        named["an encoder's"] = draw(blocks(encoder=True))
        encoder = draw(
            parts(
                Encoder,
                layers=st.just((LayerGroup(blocks=("an encoder's",)),)),
                conv_stem=st.none() | parts(ConvStem),
            )
        )
    head = draw(st.sampled_from(["lm", "mlm", "none"]))
    tied = None if head == "none" else draw(st.booleans())
    extra = st.none() | sizes if tied is False else st.none()
    spec = ModelSpec(
        name=draw(lines),
        source=draw(st.lists(texts, min_size=1, max_size=2).map(tuple)),
        hub_id=draw(st.lists(lines, max_size=2).map(tuple)),
        notes=draw(st.lists(texts, max_size=2).map(tuple)),
        hidden_size=HIDDEN_SIZE,
        vocab_size=draw(sizes),
        head=head,
        tie_word_embeddings=tied,
        norm=draw(st.sampled_from(["rmsnorm", "layernorm", "layernorm_no_bias", "none"])),
        final_norm=draw(st.booleans()),
        embedding=draw(
            st.none()
            | parts(
                Embedding,
                size=st.none(),
                projection=st.just("none"),
                extra_rows=extra,
                relative_norm=st.just(False),
            )
        ),
        blocks=named,
        layers=tuple(groups),
        encoder=encoder,
        recursion=draw(st.none() | parts(Recursion)),
        hyper_connections=connections,
        weight_dtypes=draw(
            st.dictionaries(st.sampled_from(["default", "experts"]), st.just("fp8"), max_size=2)
        ),
        expect=draw(st.none() | parts(Expect)),
        budgets=draw(st.lists(parts(Budget), max_size=2).map(tuple)),
    )
    if list(findings(spec)):
        # Recursions, position biases and masks rarely suit a random stack; without them the rest does.
        plain = None if encoder is None else replace(encoder, relative_attention_num_buckets=None)
        causal = {name: _causal(block) if name in names else block for name, block in named.items()}
        spec = replace(spec, recursion=None, encoder=plain, blocks=causal)
    assert list(findings(spec)) == []
    return spec


def _causal(block: Block) -> Block:
    attention: Any = block.attention
    if getattr(attention, "mask", None) != "bidirectional":
        return block
    # Longformer's second projections go with the mask.
    beside = {"global_projections": False} if hasattr(attention, "global_projections") else {}
    return replace(block, attention=replace(attention, mask="causal", **beside))
