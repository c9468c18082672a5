"""What the class in ``architectures`` builds beside the trunk: heads of classifiers, taggers, readers.

A config's class decides it: dslim/bert-base-NER is a BertForTokenClassification, a trunk without its
pooler and a matrix of one row a label. Widths follow from ``id2label``, or ``num_labels``, or are 2.

Source: transformers 5.23, modeling_layers.py (GenericForSequenceClassification and its like) and
models/<model_type>/modeling_<model_type>.py. tests/convert/classes.py builds every class and compares.
Reward models are remote code: Qwen2.5-Math-RM's and InternLM2's modeling files.
"""

import re

from kvcalc.convert.config import Config, short
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed
from kvcalc.spec.model import Block, ModelSpec
from kvcalc.tensors import ParamTensor

Tensors = dict[str, tuple[int, ...]]

# Classes that end in Model and have no head, but for those that name one (ChatGLMModel is remote).
_NO_HEAD = re.compile(r"^(?!ChatGLM)\w+(?<!LMHead)(?<!Heads)(?<!LM)(?<!Reward)Model$|^XGLMModel$")
_CLASS = re.compile(
    r"For(SequenceClassification|TokenClassification|QuestionAnswering|MaskedLM|CausalLM)$|"
    r"(LMHead|DoubleHeads|Encoder)Model$"
)
# Heads that are no language model's, of whatever class.
_OTHER_HEAD = re.compile(
    r"Reward|Classification|MultipleChoice|ForEmbedding|ForRetrieval|ForRanking"
)

# Encoders whose class for masked words has BERT's head.
_MLM = frozenset((
    "albert", "bert", "big_bird", "camembert", "data2vec-text", "deberta-v2", "distilbert",
    "electra", "ernie", "esm", "gte", "jina_embeddings_v3", "longformer", "megatron-bert", "mpnet",
    "nomic_bert", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
))  # fmt: skip
# Where the decoder is not tied it has a bias beside the head's own, but in these.
_ONE_BIAS = frozenset(("distilbert", "electra", "esm", "gte"))
# Classifiers on the pooler, and those with a dense layer of their own in its place.
_POOLED = frozenset(("albert", "bert", "ernie", "megatron-bert", "rembert"))
_DENSE = frozenset((
    "big_bird", "camembert", "data2vec-text", "electra", "esm", "jina_embeddings_v3", "longformer", "mpnet",
    "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
))  # fmt: skip
# Taggers of decoders that are older than the generic class.
_CLASSIFIER = frozenset((
    "biogpt", "bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "mpt",
))  # fmt: skip
_REWARD: dict[str, tuple[tuple[str, int | None, bool], ...]] = {
    "Qwen2ForRewardModel": (("score.0", None, True), ("score.2", 1, True)),
    "Qwen2ForProcessRewardModel": (("score.0", None, True), ("score.2", 2, True)),
    "InternLM2ForRewardModel": (("v_head", 1, False),),
}


def with_class(spec: ModelSpec, c: Config, name: str, assumptions: list[str]) -> ModelSpec:
    """The spec of one class of a model type. Raises UnsupportedError where labels disagree."""
    if name in _REWARD:
        return _headless(spec, name, _reward(spec, name), assumptions)
    if _NO_HEAD.search(name) and not name.endswith("EncoderModel"):
        return _without_head(spec, name, assumptions)
    match = _CLASS.search(name)
    kind = (match[1] or match[2]) if match else None
    if kind == "Encoder" and spec.encoder is not None:
        return _encoder_alone(spec)
    if kind == "DoubleHeads":
        return changed(
            spec, class_tensors=_linear("multiple_choice_head.summary", 1, spec.hidden_size)
        )
    if kind in ("CausalLM", "LMHead", "MaskedLM"):
        if spec.encoder is not None and _is_decoder_alone(spec, name):
            return _decoder_alone(spec)
        return _masked(spec, c, name, assumptions) if spec.head == "none" else spec
    if kind is None:
        return _left_out(spec, name, assumptions)
    labels = _labels(c)
    if spec.encoder is not None:
        return _of_encoder_decoder(spec, kind, labels, name, assumptions)
    if spec.head == "none":
        return _of_encoder(spec, c, kind, labels, name, assumptions)
    return _headless(spec, name, _of_decoder(spec, kind, labels), assumptions)


def _linear(name: str, rows: int, columns: int, bias: bool = True) -> Tensors:
    weight: Tensors = {f"{name}.weight": (rows, columns)}
    return weight | ({f"{name}.bias": (rows,)} if bias else {})


def _labels(c: Config) -> int:
    """Rows of a classifier: transformers counts id2label; without it, and num_labels, there are two."""
    names, stated = c.values.get("id2label"), c.values.get("num_labels")
    number = len(names) if isinstance(names, dict) and names else None
    if stated is None:
        return number or 2
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < 1:
        c.wrong("num_labels", f"expected a whole number of labels, found {short(stated)}")
    if number is not None and number != stated:
        c.refuse("num_labels", f"{stated} labels, and id2label has {number}")
    return stated


# ------------------------------------------------------------------ decoders


def _without_head(spec: ModelSpec, name: str, assumptions: list[str]) -> ModelSpec:
    """A ``...Model``: the trunk alone."""
    if spec.head == "none" or (spec.encoder is not None and spec.tie_word_embeddings):
        return spec
    return _headless(spec, name, {}, assumptions)


def _headless(
    spec: ModelSpec, name: str, tensors: Tensors, assumptions: list[str]
) -> ModelSpec:  # fmt: skip
    """A spec with these tensors in place of the language model's head."""
    assumptions.append(f"head = none: {short(name)} has no language model's head")
    return changed(spec, head="none", tie_word_embeddings=None, head_bias=False, head_transform=False,
                   class_tensors=tensors)  # fmt: skip


def _width(spec: ModelSpec) -> int:
    """What a head reads: OPT-350m's projects out to the table's width."""
    about = spec.embedding
    narrow = about is not None and about.projection == "in_out" and about.size is not None
    return int(about.size) if narrow and about is not None and about.size else int(spec.hidden_size)


def _of_decoder(spec: ModelSpec, kind: str, labels: int) -> Tensors:
    width = _width(spec)
    if kind == "SequenceClassification":
        if spec.model_type == "modernbert-decoder":
            norm: Tensors = {"head.norm.weight": (width,)}
            norm |= {} if spec.norm == "layernorm_no_bias" else {"head.norm.bias": (width,)}
            return (_linear("head.dense", width, width, False) | norm
                    | _linear("classifier", labels, width, False))  # fmt: skip
        return _linear("classifier" if spec.model_type == "ctrl" else "score", labels, width, False)
    if kind == "TokenClassification":
        name = "classifier" if spec.model_type in _CLASSIFIER else "score"
        return _linear(name, labels, width)
    return _linear("qa_outputs", labels if spec.model_type == "gptj" else 2, width)


def _reward(spec: ModelSpec, name: str) -> Tensors:
    found: Tensors = {}
    for part, rows, bias in _REWARD[name]:
        found |= _linear(part, rows or spec.hidden_size, spec.hidden_size, bias)
    return found


# ------------------------------------------------------------------ encoders


def _masked(spec: ModelSpec, c: Config, name: str, assumptions: list[str]) -> ModelSpec:
    """The head that names masked (or next) words."""
    tied = c.values.get("tie_word_embeddings") is not False
    own = spec.model_type or ""
    if own in _MLM:
        pooler = spec.pooler and own == "big_bird"
        second: Tensors = {**spec.class_tensors}
        if not tied and own not in _ONE_BIAS:
            second |= {"head.decoder.bias": (spec.vocab_size,)}
        return changed(
            spec, head="mlm", tie_word_embeddings=tied, pooler=pooler, class_tensors=second
        )
    if own == "modernbert":
        bias: Tensors = (
            {"head.dense.bias": (spec.hidden_size,)} if c.flag("classifier_bias") else {}
        )
        return changed(spec, head="lm", tie_word_embeddings=tied, head_transform=True,
                       head_bias=c.flag("decoder_bias"), class_tensors=bias)  # fmt: skip
    if own == "eurobert":
        return changed(spec, head="lm", tie_word_embeddings=tied, head_bias=c.flag("mlp_bias"))
    if own == "rembert":
        wide = c.number("output_embedding_size")
        tensors = _linear("head.dense", wide, spec.hidden_size)
        tensors |= {"head.norm.weight": (wide,), "head.norm.bias": (wide,)}
        tensors |= _linear("head.decoder", spec.vocab_size, wide)
        return changed(spec, pooler=False, class_tensors=tensors)
    return _left_out(spec, name, assumptions)


def _of_encoder(
    spec: ModelSpec, c: Config, kind: str, labels: int, name: str, assumptions: list[str]
) -> ModelSpec:  # fmt: skip
    own, width = spec.model_type or "", spec.hidden_size
    tensors: Tensors | None = None
    pooler = False
    if own == "modernbert":
        bias = c.flag("classifier_bias")
        tensors = _linear("head.dense", width, width, bias) | {"head.norm.weight": (width,)}
        tensors |= {} if spec.norm == "layernorm_no_bias" else {"head.norm.bias": (width,)}
        tensors |= _linear("classifier", labels, width)
    elif kind == "TokenClassification":
        pooler = own == "big_bird" and spec.pooler
        tensors = _linear("classifier", labels, width)
    elif kind == "QuestionAnswering":
        tensors = _reader_head(spec, c, labels)
    elif own in _POOLED:
        pooler, tensors = spec.pooler, _linear("classifier", labels, width)
    elif own in _DENSE:
        pooler = own == "big_bird" and spec.pooler
        tensors = _linear("classifier.dense", width, width)
        tensors |= _linear("classifier.out_proj", labels, width)
    elif own in ("deberta-v2", "gte", "nomic_bert", "distilbert", "eurobert"):
        before = {"distilbert": "pre_classifier", "eurobert": "dense"}.get(own, "pooler.dense")
        tensors = _linear(before, width, width) | _linear("classifier", labels, width)
    if tensors is None:
        return _left_out(spec, name, assumptions)
    return changed(spec, pooler=pooler, class_tensors={**spec.class_tensors, **tensors})


def _reader_head(spec: ModelSpec, c: Config, labels: int) -> Tensors | None:
    """The head that finds an answer's first and last token."""
    width = spec.hidden_size
    if spec.model_type == "distilbert" and labels != 2:
        c.refuse(
            "num_labels", f"{labels} labels: DistilBERT's reader takes 2 (first and last token)"
        )
    if spec.model_type == "splinter":
        found: Tensors = {}
        for part in ("query_start", "query_end", "start", "end"):
            found |= _linear(f"{part}_transform.dense", width, width)
            found |= {f"{part}_transform.norm.{each}": (width,) for each in ("weight", "bias")}
        classifiers = ("start_classifier.weight", "end_classifier.weight")
        return found | dict.fromkeys(classifiers, (width, width))
    if spec.model_type == "big_bird":
        inner = c.number("intermediate_size")
        found = _linear("qa_classifier.intermediate", inner, width)
        found |= _linear("qa_classifier.output", width, inner)
        found |= {"qa_classifier.norm.weight": (width,), "qa_classifier.norm.bias": (width,)}
        return found | _linear("qa_outputs", 2, width)
    return _linear("qa_outputs", labels, width)


def _left_out(spec: ModelSpec, name: str, assumptions: list[str]) -> ModelSpec:
    """A head that is not accounted for: named, not counted."""
    if spec.head != "none":
        if not _OTHER_HEAD.search(name):
            return spec
        spec = _headless(spec, name, {}, assumptions)
    assumptions.append(f"head = none: the head of {short(name)} is not counted")
    return changed(spec, left_out=(*spec.left_out, f"the head of {short(name)}"))


# ------------------------------------------------------------------ encoders with decoders


def _of_encoder_decoder(
    spec: ModelSpec, kind: str, labels: int, name: str, assumptions: list[str]
) -> ModelSpec:
    width, own = spec.hidden_size, spec.model_type or ""
    is_t5 = own in ("t5", "mt5", "umt5")
    if kind == "TokenClassification" and is_t5:
        return changed(_encoder_alone(spec), class_tensors=_linear("classifier", labels, width))
    if own == "t5gemma":
        tensors = _linear("score.out_proj", labels, width)
    elif kind == "QuestionAnswering":
        tensors = _linear("qa_outputs", labels if is_t5 else 2, width)
    else:
        tensors = _linear("classification_head.dense", width, width)
        tensors |= _linear("classification_head.out_proj", labels, width)
    if spec.tie_word_embeddings:
        return changed(spec, class_tensors=tensors)
    return _headless(spec, name, tensors, assumptions)


def _encoder_alone(spec: ModelSpec) -> ModelSpec:
    """T5EncoderModel: the encoder's stack is the only one."""
    encoder = spec.encoder
    assert encoder is not None
    used = {name for group in encoder.layers for name in group.names}
    return changed(
        spec, encoder=None, head="none", tie_word_embeddings=None, head_bias=False,
        layers=encoder.layers, final_norm=encoder.final_norm,
        blocks={name: block for name, block in spec.blocks.items() if name in used},
        relative_attention_num_buckets=encoder.relative_attention_num_buckets,
    )  # fmt: skip


def _is_decoder_alone(spec: ModelSpec, name: str) -> bool:
    """BartForCausalLM: a decoder of an encoder-decoder. Llama 3.2 Vision's decoder needs its tower."""
    return name.endswith("ForCausalLM") and bool(spec.encoder and spec.encoder.layers)


def _decoder_alone(spec: ModelSpec) -> ModelSpec:
    """The decoder with its cross-attention's weights, which nothing reads and which keep no cache."""
    unread: Tensors = {}
    names = [name for group in spec.layers for name in group.names * group.repeat * group.loops]
    blocks: dict[str, Block] = {}
    for name in dict.fromkeys(names):
        block = spec.blocks[name]
        cross = block.cross_attention
        if cross is None:
            raise UnsupportedError(f"{spec.name}: a decoder alone without cross-attention")
        tensors: list[ParamTensor] = [*cross.parameters(spec.hidden_size)]
        for tensor in tensors:
            unread[f"{name}.cross_attention.{tensor.name}"] = (names.count(name), *tensor.shape)
        for each in ("weight", "bias"):
            unread[f"{name}.cross_attention_norm.{each}"] = (names.count(name), spec.hidden_size)
        blocks[name] = changed(block, cross_attention=None)
    # BigBirdPegasusForCausalLM is the one that does not tie its head.
    tied = False if spec.model_type == "bigbird_pegasus" else spec.tie_word_embeddings
    return changed(
        spec, encoder=None, blocks=blocks, class_tensors=unread, tie_word_embeddings=tied
    )
