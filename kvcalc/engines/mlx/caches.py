"""mlx-lm: what each of its model classes keeps after ``generate_step`` read a prompt.

Held to the byte against mlx-lm 0.32.2 on mlx 0.32.4, on the CPU (tests/mlx/measured.json). Files
named below are mlx_lm's own.

A prompt of T tokens is read T - 1 in steps of 2,048, then the last one alone (generate.py,
generate_step). Buffers grow by 256 positions and hold their padding (models/cache.py, KVCache); a
window is a rotating buffer that holds a whole step beside it until the next token (RotatingKVCache);
Llama 4's chunks are cut when the next call begins (ChunkedKVCache). See kvcalc.buffers.

What classes do otherwise than their mechanisms need:

* windows that a class does not implement are not there: every layer keeps every token (Mistral-7B,
  Gemma 2, Phi-3, Qwen2, Starcoder2);
* DeepSeek-V2's and MiniCPM3's latent is expanded to all heads before it is cached;
* index keys of sparse attention lie in a KVCache of their own, as keys and again as values;
* recurrent states are float32, except Mamba-1's, Jamba's, Falcon-Mamba's and RecurrentGemma's, which
  are in the model's format.

``--kv-dtype mlx-8bit`` (and 6, 5, 4, 3, 2 bits; groups of 64, or 32 for 8 and 4 bits) is
``--kv-bits``: once a cache holds 5,000 tokens it is quantised, padding too, with a scale and a bias a
group in 16 bits. Classes with rotating buffers or latents fail then, some of plain attention too;
caches in lists stay as they are without a word (generate.py, maybe_quantize_kv_cache).

``--max-kv-size`` is obeyed by classes without caches of their own, and ignored by all others.

Worked number: Llama-3.1-8B, 32 layers, 8 heads of 128, 1,000 tokens: 1,024 positions,
32 * 2 * 8 * 128 * 1024 * 2 = 134,217,728 bytes.
"""

from collections.abc import Iterator

from kvcalc.attention.mla import MultiHeadLatentAttention
from kvcalc.buffers import Grown, Rotating, Sliced
from kvcalc.dtypes import MLX_CACHE, CacheDtypes
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.accounting import Accounting
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.mlx.classes import RELEASE, mlx_class
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import CacheTensor, Chunk, EveryToken, Extent, Once, Window

# When --kv-bits begins (generate.py, DEFAULT_QUANTIZED_KV_START).
QUANTIZED_START = 5000

# Classes whose make_cache has rotating buffers for windows.
_WINDOWS = frozenset((
    "afmoe", "cohere2", "exaone4", "gemma3", "gemma3n", "gemma4", "gemma4_unified", "gpt_oss", "laguna",
    "mellum", "mimo_v2_flash", "muse_glimmer", "olmo3", "recurrent_gemma", "spark2_5", "step3p5",
))  # fmt: skip
# Those that have them where layer_types says so, which a config with one window for all does not.
_BY_LAYER = frozenset(("llama", "ministral3"))
# Classes with a make_cache: --max-kv-size does nothing.
OWN_CACHES = _WINDOWS | _BY_LAYER | frozenset((
    "deepseek_v32", "falcon_h1", "glm_moe_dsa", "granitemoehybrid", "jamba", "kimi_linear",
    "lfm2", "lfm2_moe", "llama4", "longcat_flash", "mamba", "mamba2", "minimax_m3_vl", "nanbeige",
    "nemotron-nas", "nemotron_h", "olmo_hybrid", "qwen3_5", "qwen3_next",
))  # fmt: skip
# States in the model's own format; float32 elsewhere.
_NARROW_STATES = frozenset(("mamba", "jamba", "recurrent_gemma"))
# MLA whose keys and values are cached for every head.
_EXPANDED = frozenset(("deepseek_v2", "minicpm3"))
# --kv-bits: what has no to_quantized, so that nothing happens; and what fails.
_UNTOUCHED = frozenset((
    "deepseek_v32", "falcon_h1", "glm_moe_dsa", "longcat_flash", "minimax_m3_vl",
))  # fmt: skip
# Index keys that lie there once.
_INDEX_ONCE = frozenset(("minimax_m3_vl",))
_FAILS = {
    **dict.fromkeys(_WINDOWS, "its rotating buffers have no quantised form"),
    **dict.fromkeys(("deepseek_v3", "glm4_moe_lite", "kimi_linear", "kimi_vl", "mistral4"),
                    "its latent attention takes no quantised cache"),
    **dict.fromkeys(("gemma2", "phi", "stablelm"), "its attention takes no quantised cache"),
}  # fmt: skip
# Convolution states that are slices: a step's whole array stays allocated with them until the next
# step. Jamba's recurrent states are slices of every position's, so they always do.
_PINS_STEP = frozenset((
    "falcon_h1", "granitemoehybrid", "lfm2", "lfm2_moe", "mamba", "mamba2", "nemotron_h", "recurrent_gemma",
))  # fmt: skip
_MODEL_FORMATS = ("bf16", "fp16", "fp32")


@frozen(kw_only=True)
class Setup:
    """generate_step's arguments. max_kv_size: of ``--max-kv-size``; None where it is not said.

    quantized_start: of ``--quantized-kv-start``.
    """

    max_kv_size: int | None = None
    quantized_start: int = QUANTIZED_START


def accounting(
    spec: ModelSpec, dtypes: CacheDtypes, version: str | None = None, setup: Setup | None = None
) -> Accounting:
    """What mlx-lm's caches hold for a model.

    Raises UsageError for a release or a number format that makes no sense here and UnsupportedError,
    by name, for what mlx-lm has not or fails at.
    """
    if version is not None and version.strip().removeprefix("v") != RELEASE:
        raise UnsupportedError(f"mlx-lm {version}: its caches are accounted for in {RELEASE}")
    rules = _Rules(spec, dtypes, setup or Setup())
    groups = [changed(group, tensors=tuple(rules.tensors(group))) for group in groups_of(spec)]
    return Accounting(
        engine="mlx",
        groups=tuple(group for group in groups if group.tensors),
        assumptions=tuple(rules.notes()),
        at_most=False,
        prefill=True,
    )


class _Rules:
    """One model's rules: from what a mechanism needs to what its class of mlx-lm keeps."""

    def __init__(self, spec: ModelSpec, dtypes: CacheDtypes, setup: Setup) -> None:
        self.spec, self.setup = spec, setup
        self.own = mlx_class(spec)
        self.quantised = _quantised(dtypes)
        self.model = "bf16" if self.quantised else dtypes.key
        name = self.own.name
        if self.quantised and name in _FAILS:
            raise UnsupportedError(
                f"--kv-dtype {dtypes.kv_name}: mlx-lm's class {name} fails with --kv-bits: {_FAILS[name]}"
            )
        self.untouched = name in _UNTOUCHED
        self.expands = False
        windows = {window for group in groups_of(spec) for tensor in group.tensors
                   if isinstance(window := tensor.extent, Window)}  # fmt: skip
        whole = all(isinstance(tensor.extent, Window | Once)
                    for group in groups_of(spec) for tensor in group.tensors)  # fmt: skip
        self.rotates = name in _WINDOWS or (name in _BY_LAYER and not whole)
        self.ignored = windows if windows and not self.rotates else set()
        if self.rotates and name in _BY_LAYER and windows and self.quantised:
            raise UnsupportedError(
                f"--kv-dtype {dtypes.kv_name}: mlx-lm's rotating buffers have no quantised form"
            )

    def tensors(self, group: CacheGroup) -> Iterator[CacheTensor]:
        """What one layer of the group keeps."""
        for tensor in self._kept(group):
            if tensor.role == "state":
                own = self.model if self.own.name in _NARROW_STATES else "fp32"
                yield changed(tensor, dtype=own)
            elif tensor.role == "conv":
                yield changed(tensor, role="state", dtype=self.model)
            elif tensor.role == "index":
                for side in ("keys", "values")[: 1 if self.own.name in _INDEX_ONCE else 2]:
                    yield self._plain(changed(tensor, name=f"index_{side}"))
            elif not self.quantised or self.untouched:
                yield self._plain(tensor)
            elif isinstance(tensor.extent, Chunk):
                yield self._plain(tensor)  # ChunkedKVCache has no to_quantized
            else:
                start = max(1, self.setup.quantized_start)
                yield self._plain(tensor, Grown(until=start))
                yield changed(tensor, extent=Grown(since=start))

    def _plain(self, tensor: CacheTensor, extent: Extent | None = None) -> CacheTensor:
        """In the model's own format."""
        extent = extent or self._extent(tensor)
        if self.quantised:
            return changed(tensor, extent=extent, role="state", dtype=self.model)
        return changed(tensor, extent=extent)

    def _kept(self, group: CacheGroup) -> Iterator[CacheTensor]:
        heads = self.spec.blocks[group.blocks[0]].attention
        if self.own.name not in _EXPANDED or not isinstance(heads, MultiHeadLatentAttention):
            # What --attention puts in a latent's place is kept as it is.
            yield from group.tensors
            return
        self.expands = True
        yield from changed(heads, cache_layout="expanded").cache()

    def _extent(self, tensor: CacheTensor) -> Extent:
        asked = self.setup.max_kv_size
        if asked is not None and self.own.name not in OWN_CACHES:
            return Rotating(asked)
        match tensor.extent:
            case EveryToken():
                return Grown()
            case Window(size):
                # MiMo's config counts the positions before the current one, and so does the buffer.
                size -= self.own.name == "mimo_v2_flash"
                return Rotating(size) if self.rotates else Grown()
            case Chunk(size):
                return Sliced(size)
            case Once():
                return tensor.extent
            case other:
                raise UnsupportedError(
                    f"{self.spec.name}: {tensor.name} ({other}) has no rule of mlx-lm's caches"
                )

    def notes(self) -> Iterator[str]:
        yield (
            f"the caches of mlx-lm {RELEASE} after generate_step read exactly this context as a prompt: "
            "in steps of 2,048, the last token alone; of a batch, every prompt takes what the longest does"
        )
        if self.ignored:
            sizes = ", ".join(
                str(window.size) for window in sorted(self.ignored, key=lambda w: w.size)
            )
            yield (
                f"mlx-lm's class {self.own.name} has no windows: layers that need the last {sizes} "
                "tokens keep them all"
            )
        if self.own.name in _PINS_STEP:
            yield (
                f"not counted: the convolution states of mlx-lm's class {self.own.name} keep the arrays of "
                "the prefill's last step allocated until the next token (seen on its CPU build)"
            )
        if self.own.name == "jamba":
            yield (
                "not counted: the states of mlx-lm's class jamba are slices of those of every position of "
                "a step, which stay allocated through the answer (seen on its CPU build)"
            )
        if self.expands:
            yield f"mlx-lm's class {self.own.name} caches the latent expanded to every head"
        if self.quantised and self.untouched:
            yield f"--kv-bits does nothing here: mlx-lm's class {self.own.name} keeps lists of caches"
        elif self.quantised:
            yield (
                f"quantised once {self.setup.quantized_start:,} tokens are held (--quantized-kv-start), "
                "in 16 bits before"
            )
        if self.setup.max_kv_size is not None and self.own.name in OWN_CACHES:
            yield f"--max-kv-size is ignored: mlx-lm's class {self.own.name} makes its own caches"


def _quantised(dtypes: CacheDtypes) -> bool:
    """Whether --kv-bits is on. Raises UsageError for formats that mlx-lm's caches do not have."""
    if dtypes.state is not None:
        raise UsageError("--state-dtype: mlx-lm's classes choose the format of their states")
    known = (*_MODEL_FORMATS, *MLX_CACHE)
    if dtypes.key != dtypes.value or dtypes.key not in known:
        raise UnsupportedError(
            f"--kv-dtype {dtypes.kv_name}: mlx-lm keeps its caches in the model's format (bf16, fp16, "
            f"fp32) or quantises keys and values alike: {', '.join(MLX_CACHE)}"
        )
    return dtypes.key in MLX_CACHE
