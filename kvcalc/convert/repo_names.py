"""What the name of a quantiser's repository says: which model it holds, and in which format.

Where the repository itself cannot be read. The big quantisers call a repository by its model and a
suffix that stands for one way of making its files; a way that the name does not decide is refused with
what to write instead. Sources of the ways: the publishers' own cards (Qwen: AWQ and GPTQ in groups of
128, FP8 in tiles of 128 x 128), mlx_lm.convert's defaults, AutoAWQ's (4 bits, groups of 128),
llm-compressor's schemes (FP8, FP8_DYNAMIC, W4A16, W8A8), bitsandbytes' NF4 with nested scales
(Unsloth's -bnb-4bit), ModelOpt's FP8 without the head. What NVFP4
leaves wider differs from one of nvidia's repositories to the next, as their configs say.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kvcalc.convert.config import reader
from kvcalc.convert.quantization import published_formats
from kvcalc.errors import NotFoundError, UnsupportedError, UsageError
from kvcalc.file_types import recipe
from kvcalc.frozen import field, frozen
from kvcalc.names import model_name
from kvcalc.spec import catalog
from kvcalc.spec.catalog import Found
from kvcalc.spec.file_spec import of_type
from kvcalc.spec.model import ModelSpec, WeightPart

_REPOSITORY = re.compile(
    r"(?P<org>[A-Za-z0-9][\w.-]*)/(?P<name>[A-Za-z0-9][\w.-]*)(?::(?P<type>[\w.-]+))?"
)
_MLX = ("mlx-community", "lmstudio-community", "qwen")
_COMPRESSED = ("redhatai", "neuralmagic", "nm-testing")


@frozen
class Way:
    """One way of making files.

    suffix: what ends the name; the model's stands before it. organisations: whose names mean that,
    all where none is named. file_type: what llama.cpp or mlx-lm made, as --dtype has it; fields of the
    match stand in braces. stated: the quantization_config that says the same. words: for the answer.
    write: what to write where the name does not decide. mixed: types of mixtures, hybrids and multimodal
    models that are made the same way, with the modules that stay wider beside head, tables and routers.
    """

    suffix: str
    organisations: tuple[str, ...] = ()
    file_type: str = ""
    stated: Mapping[str, Any] | None = None
    words: str = ""
    write: str = ""
    mixed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _compressed(bits: int, kind: str, strategy: str, layout: str, **more: Any) -> dict[str, Any]:
    """A quantization_config of compressed-tensors: every Linear but the head."""
    weights = {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": True,
               "dynamic": False, **more}  # fmt: skip
    group = {"targets": ["Linear"], "weights": weights}
    return {"quant_method": "compressed-tensors", "format": layout, "ignore": ["lm_head"],
            "config_groups": {"group_0": group}}  # fmt: skip


_AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}
_GPTQ = {"quant_method": "gptq", "group_size": 128, "desc_act": False, "sym": True}
_MODELOPT = {"quant_method": "modelopt", "exclude_modules": ["lm_head"]}
_TILES = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3",
          "weight_block_size": [128, 128]}  # fmt: skip
_NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True}  # fmt: skip

# Qwen's own: the parameters of their files (llmfit 1.1.17, PyPI) are the model's, its modules' that predict
# tokens, and a scale for each tile of exactly the other matrices.
_TILED: dict[str, tuple[str, ...]] = {
    "qwen3_moe": (), "qwen3_vl": ("visual",), "qwen3_vl_moe": ("visual",),
    "qwen3_next": ("shared_expert_gate", "in_proj_ba"),
    "qwen3_5": ("linear_attn.in_proj_a", "linear_attn.in_proj_b", "visual"),
    "qwen3_5_moe": ("linear_attn.in_proj_a", "linear_attn.in_proj_b", "shared_expert_gate", "visual"),
}  # fmt: skip
# Modules have the names of the language model's own type.
_LANGUAGE = {"qwen3_5": "qwen3_5_text", "qwen3_5_moe": "qwen3_5_moe_text"}

# The first whose suffix and organisation fit.
WAYS = (
    # Its own tool leaves the token table in f16: 17.2 GB for 27B, as the card of a remake says
    # (stduhpf/google-gemma-3-27b-it-qat-q4_0-gguf-small).
    Way(r"-qat-q4_0-gguf", ("google",), "q4_0+token-embedding=f16"),
    Way(r"-(?P<type>(?:i?q\d|tq\d|f16|f32|bf16|mxfp4)\w*)-gguf", file_type="{type}"),
    Way(r"(?:-i1)?-gguf", file_type="gguf"),
    Way(r"-unsloth-bnb-4bit|-dynamic-bnb-4bit", write="nf4_double", words="some modules stay wider"),
    Way(r"-bnb-4bit", stated=_NF4, words="bitsandbytes' NF4 with nested scales"),
    Way(r"(?:-mlx)?-(?P<bits>[234568])bits?-g?s?(?P<group>32|64|128)(?:-dwq\S*)?", _MLX,
        "mlx-{bits}bit-g{group}"),
    Way(r"(?:-mlx)?-(?P<bits>[234568])bits?(?:-dwq\S*)?", _MLX, "mlx-{bits}bit"),
    Way(r"(?:-mlx)?-(?P<mode>mxfp4|mxfp8|nvfp4)", ("mlx-community",), "mlx-{mode}"),
    Way(r"(?:-mlx)?-(?P<plain>bf16|fp16)", file_type="{plain}"),
    Way(r"-awq(?:-int4)?", ("qwen", "thebloke", "casperhansen", "hugging-quants", "solidrust"),
        stated=_AWQ, words="AWQ of 4 bits in groups of 128"),
    Way(r"-awq(?:-\w+)?", write="awq_g128", words="how large AWQ's groups are"),
    Way(r"-gptq-int4", ("qwen", "hugging-quants"), stated={**_GPTQ, "bits": 4},
        words="GPTQ of 4 bits in groups of 128"),
    Way(r"-gptq-int8", ("qwen",), stated={**_GPTQ, "bits": 8}, words="GPTQ of 8 bits in groups of 128"),
    Way(r"-gptq(?:-\w+)*", write="gptq_g128", words="GPTQ's bits and groups, which differ by branch"),
    Way(r"-fp8", ("qwen",), stated=_TILES, words="FP8 in tiles of 128 x 128",
        mixed=_TILED),
    Way(r"-fp8", ("nvidia",), stated={**_MODELOPT, "quant_algo": "FP8"},
        words="FP8 with a scale for each matrix"),
    Way(r"-fp8", _COMPRESSED, stated=_compressed(8, "float", "tensor", "float-quantized"),
        words="FP8 with a scale for each matrix"),
    Way(r"-fp8-dynamic", _COMPRESSED, stated=_compressed(8, "float", "channel", "float-quantized"),
        words="FP8 with a scale for each row"),
    Way(r"-(?:fp8|fp8-\w+)", write="fp8", words="how FP8 is scaled"),
    Way(r"-(?:quantized\.)?w4a16", _COMPRESSED,
        stated=_compressed(4, "int", "group", "pack-quantized", group_size=128),
        words="int4 in groups of 128"),
    Way(r"-(?:quantized\.)?w8a8", _COMPRESSED, stated=_compressed(8, "int", "channel", "int-quantized"),
        words="int8 with a scale for each row"),
    Way(r"-(?:nvfp4|mxfp4)(?:-\w+)?", write="nvfp4", words="which matrices are in four bits"),
    Way(r"-(?:exl2|exl3|hqq|int4|int8)(?:-\S+)?", write="int4_g128", words="the format"),
)  # fmt: skip


def from_name(name: str) -> Found | None:
    """The model that a quantiser's repository holds, by its name alone; None where that says nothing.

    ``org/name:Q4_K_M`` says the type of a GGUF file. Raises UsageError where the name says that the
    weights are quantised, and not how, with what to write.
    """
    match = _REPOSITORY.fullmatch(name)
    if match is None:
        return None
    for way in WAYS:
        found = re.fullmatch(rf"(?P<model>.+?)(?:{way.suffix})", match["name"], re.IGNORECASE)
        organisation = match["org"].lower()
        if found is None or (way.organisations and organisation not in way.organisations):
            continue
        if (
            way.organisations == _MLX
            and organisation != "mlx-community"
            and "-mlx-" not in name.lower()
        ):
            continue
        base = _model(match["org"], found["model"])
        return None if base is None else _made(name, way, found.groupdict(), base, match["type"])
    return None


def from_bare_name(name: str) -> Found | None:
    """The model of a known name that ends in a quantiser's suffix, without an organisation.

    The model's own publisher is asked first, then mlx-community, whose names end in bits alone. None where
    what stands before the suffix is no known model. Raises UsageError as ``from_name`` does.
    """
    for way in WAYS:
        found = re.fullmatch(rf"(?P<model>.+?)(?:{way.suffix})", name, re.IGNORECASE)
        base = None if found is None else _model("", found["model"])
        if base is None:
            continue
        for organisation in dict.fromkeys((_publisher(base), "mlx-community")):
            try:
                made = from_name(f"{organisation}/{name}") if organisation else None
            except UsageError as error:
                raise UsageError(str(error).replace(f"{organisation}/{name}", name)) from None
            if made is not None:
                said = f"{name} is taken for {organisation}/{name}: its name has no organisation"
                return replace(made, assumptions=(said, *made.assumptions))
    return None


def _publisher(base: Found) -> str:
    """The organisation of the model whose shape a model has; nothing where no id is known."""
    shipped = base.path.rpartition("/")[2].removesuffix(".yaml")
    ids = catalog.load(shipped).hub_id or base.spec.hub_id
    return ids[0].partition("/")[0] if ids else ""


def _model(organisation: str, name: str) -> Found | None:
    """The model whose name a repository begins with: its own publisher's, or the one of that name."""
    for plain in dict.fromkeys((name, re.sub(r"-qat$", "", name, flags=re.IGNORECASE))):
        ids = [f"{organisation}/{plain}"] if organisation else []
        ids += [plain.replace("_", "/", 1), plain]
        for each in dict.fromkeys(ids):
            try:
                return catalog.locate(each)
            except NotFoundError:
                continue
    return None


# What files in the model's own format say of theirs.
_PLAIN: dict[str, Any] = {"weight_formats": (), "declared_cache": {}, "quantized_by": {}}


def _made(name: str, way: Way, told: dict[str, str], base: Found, typed: str | None) -> Found:
    spec = base.spec
    if way.write:
        raise UsageError(
            f"{name}: its name does not say {way.words}; {spec.name} --dtype {way.write} is one way, "
            f"and a copy of its config.json says its own"
        )
    if way.stated is not None:
        made, words = _quantised(name, way, spec), way.words
    elif way.file_type == "gguf" and typed is None:
        made, words = of_type(spec, "gguf"), "GGUF of many types, of which --dtype chooses one"
    else:
        kind = typed if typed and way.file_type == "gguf" else way.file_type.format(**told).lower()
        if kind in ("bf16", "fp16") and not way.suffix.endswith("-gguf"):
            own: dict[WeightPart, str] = {"default": kind} if kind == "fp16" else {}
            made = replace(spec, weight_dtypes=own, **_PLAIN)
        else:
            made = of_type(spec, _gguf_word(name, kind) if way.suffix.endswith("gguf") else kind)
        words = made.own_dtype if made.own_dtype != "checkpoint" else kind
    # A file is called by its model and its type.
    called = spec.name if way.suffix.endswith("gguf") else model_name(name.split("/")[1])
    made = replace(made, name=called, hub_id=(name.partition(":")[0],),
                   checkpoint=None, expect=None, budgets=())  # fmt: skip
    note = f"{name}: by its name it is {spec.name}, and its files are {words}; they were not read"
    return Found(made, base.path, (note, *base.assumptions))


def _gguf_word(name: str, kind: str) -> str:
    word = {"f16": "gguf-f16", "f32": "gguf-f32", "bf16": "gguf-bf16"}.get(kind.lower(), kind)
    found = recipe(word)
    if found is None:
        raise UsageError(
            f"{name}: '{kind}' is no type of GGUF files that kvcalc knows; --dtype q4_k_m"
        )
    return found.word


def _quantised(name: str, way: Way, spec: ModelSpec) -> ModelSpec:
    """The model with the formats that a quantization_config would state."""
    assert way.stated is not None
    mixed = _mixed(spec)
    if mixed and spec.model_type not in way.mixed:
        raise UsageError(
            f"{name}: its name does not say which parts of a model of this kind stay wider than "
            f"{way.words}; a copy of its config.json does"
        )
    if spec.model_type is None:
        raise UsageError(
            f"{name}: how its modules are called is not known; {spec.name} --dtype says a format"
        )
    plain = replace(spec, weight_dtypes={}, **_PLAIN)
    stated = dict(way.stated)
    if mixed and (wider := way.mixed[spec.model_type]):
        stated["modules_to_not_convert"] = list(wider)
    model_type = _LANGUAGE.get(spec.model_type, spec.model_type)
    values = {"model_type": model_type, "quantization_config": stated}
    try:
        config = reader(values, model_type, path=name, assumptions=[])
        published = published_formats(values, config, plain)
    except UnsupportedError as error:
        raise UsageError(
            f"{name}: {way.words} is not what its name can mean here: {error}"
        ) from None
    return replace(
        plain, weight_dtypes=published.dtypes, weight_formats=published.rules,
        declared_cache=published.cache, quantized_by=published.by,
    )  # fmt: skip


def _mixed(spec: ModelSpec) -> bool:
    """Whether it has parts that are often left as they are: experts, recurrences, towers."""
    blocks = spec.blocks.values()
    parts = any(block.recurrent or getattr(block.ffn, "kind", "") == "moe" for block in blocks)
    return bool(parts or spec.towers or any("tower" in each for each in spec.left_out))
