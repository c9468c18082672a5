"""vLLM's KV-cache formats: bytes that one token takes, per KV head or per latent.

Follows AttentionSpec.state_content_size_bytes (v1/kv_cache_interface.py) and what backends make of
it in ``customize_spec``: TritonAttentionBackend for per-token-head scales (an fp32 scale after the
data of each K and each V head), FlashInferBackend for nvfp4 (half a byte an element and an fp8 scale
per 16), TurboQuantAttentionBackend for turboquant (TurboQuantConfig.slot_size_aligned), and
MLAAttention.get_kv_cache_spec for the packed rows of MLA. A per-tensor fp8 scale is one number a
layer and stands outside the cache.
"""

from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import frozen
from kvcalc.names import hint

_PLAIN = {
    "bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2, "fp32": 4, "float32": 4,
    "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "fp8_inc": 1,
}  # fmt: skip
# name -> (bits of a key element, bits of a value element), layers/quantization/turboquant/config.py
_TURBOQUANT = {
    "turboquant_k8v4": (8, 4),
    "turboquant_4bit_nc": (4, 4),
    "turboquant_k3v4_nc": (3, 4),
    "turboquant_3bit_nc": (3, 3),
}
_PER_TOKEN_HEAD = {"int8_per_token_head": 2, "fp8_per_token_head": 2, "int4_per_token_head": 1}
# bytes of a whole row of MLA with a latent of 512 and a rotary key of 64 (flashmla_sparse.py)
_MLA_ROWS = {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}
# One slot of a head of 256 (rocm_octave.py, OctaveFormat.slot_bytes): 3 bits an element of K and of V
# and two fp16 scales. The other Octave formats give the rotary part of K more bits.
_OCTAVE = {"octave_k3v3_compact": 196}
_OCTAVE_BY_ROPE = ("octave_k3v4", "octave_k3v3")
_ULTRAQUANT = "ultraquant_4bit"
_NVFP4 = ("nvfp4", "nvfp4_4over6")
# CacheDType of config/cache.py (0.33.0), and kvcalc's short words for two of them.
_NAMES = (
    "auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", *_PER_TOKEN_HEAD, *_NVFP4,
    *_MLA_ROWS, *_TURBOQUANT, *_OCTAVE_BY_ROPE, *_OCTAVE, _ULTRAQUANT,
)  # fmt: skip
FORMATS = (*_NAMES, "bf16", "fp16")
# name -> the newest release whose CacheDType was read without it.
_ABSENT = {
    "int8_per_token_head": (0, 18), "fp8_per_token_head": (0, 18), "int4_per_token_head": (0, 24),
    "nvfp4": (0, 18), "nvfp4_4over6": (0, 27), "nvfp4_ds_mla": (0, 29), "ultraquant_4bit": (0, 31),
    **dict.fromkeys(_TURBOQUANT, (0, 18)), **dict.fromkeys((*_OCTAVE_BY_ROPE, *_OCTAVE), (0, 32)),
}  # fmt: skip


@frozen
class KvFormat:
    """One ``--kv-cache-dtype``, with ``auto`` resolved to the model's own format."""

    name: str

    @classmethod
    def parse(
        cls, text: str | None, model_dtype: str, number: tuple[int, ...] | None = None
    ) -> "KvFormat":
        """Raises UsageError for a format that vLLM does not have, naming those it has.

        number: the release's, where one is asked about.
        """
        name = (text or "auto").strip().lower().removeprefix("torch.")
        if ":" in name:
            key, _, value = name.partition(":")
            if key != value:
                raise UsageError(
                    f"--kv-dtype {text}: vLLM keeps K and V in one format; give one of them"
                )
            name = key
        if name not in FORMATS:
            near = hint(name, FORMATS)
            raise UsageError(
                f"vLLM has no KV-cache format '{text}'{near and '; '}{near} ({', '.join(_NAMES)})"
            )
        absent = _ABSENT.get(name)
        if number is not None and absent is not None and number[:2] <= absent:
            release = ".".join(map(str, absent))
            raise UsageError(f"vLLM has no KV-cache format '{name}' up to {release} (CacheDType)")
        return cls(model_dtype if name == "auto" else name)

    @property
    def skips_ends(self) -> bool:
        """Whether the first and last two layers keep the model's format (EngineArgs,
        uses_packed_kv_backend)."""
        return self.name in _TURBOQUANT or self.name == _ULTRAQUANT

    def head_bytes(self, key_dim: int, value_dim: int) -> int:
        """Bytes of one KV head's key and value of one token."""
        name = self.name
        if name in _PLAIN:
            return (key_dim + value_dim) * _PLAIN[name]
        if name in _PER_TOKEN_HEAD:
            halves = _PER_TOKEN_HEAD[name]
            return key_dim * halves // 2 + 4 + value_dim * halves // 2 + 4
        if name in _OCTAVE:
            if (key_dim, value_dim) != (256, 256):
                raise UnsupportedError(f"{name} takes heads of 256, not {key_dim} (ROCM_OCTAVE)")
            return _OCTAVE[name]
        if name in _OCTAVE_BY_ROPE:
            raise UnsupportedError(
                f"{name}: its row follows the rotary width of a head (OctaveFormat), which specs do "
                f"not say; {', '.join(_OCTAVE)} does not"
            )
        if name == _ULTRAQUANT:
            if key_dim != value_dim or key_dim % 32:
                raise UnsupportedError(f"{name} has a scale per 32 elements; a head has {key_dim}")
            return key_dim + key_dim // 32 * 2  # ultraquant/format.py, slot_size
        if name in _NVFP4:
            if key_dim % 16 or value_dim % 16:
                raise UnsupportedError(f"{name} has a scale per 16 elements; a head has {key_dim}")
            return key_dim // 2 + key_dim // 16 + value_dim // 2 + value_dim // 16
        if name in _TURBOQUANT:
            key_bits, value_bits = _TURBOQUANT[name]
            # An 8-bit key is plain fp8; others carry an fp16 norm. Values carry fp16 scale and zero.
            key = key_dim if key_bits == 8 else -(-key_dim * key_bits // 8) + 2
            slot = key + -(-value_dim * value_bits // 8) + 4
            return slot + slot % 2
        raise UnsupportedError(
            f"{name} is a layout of MLA latents; this model keeps keys and values"
        )

    def latent_bytes(self, latent_dim: int, rope_dim: int) -> int:
        """Bytes of one token's MLA latent and rotary key, stored as one head without values."""
        name, width = self.name, latent_dim + rope_dim
        if name in _MLA_ROWS:
            if (latent_dim, rope_dim) not in ((512, 64), (512, 0)):
                raise UnsupportedError(
                    f"{name} holds a latent of 512 and a rotary key of 64, not {latent_dim} + {rope_dim}"
                )
            return _MLA_ROWS[name]
        if name in _PER_TOKEN_HEAD:
            # MLACommonBackend.customize_spec: a pair of scales after the latent.
            return width * _PER_TOKEN_HEAD[name] // 2 + 8
        if name in _PLAIN:
            return width * _PLAIN[name]
        raise UnsupportedError(f"vLLM has no {name} cache for MLA latents; use fp8 or nvfp4_ds_mla")

    @property
    def plain_bytes(self) -> int | None:
        """Bytes of an element where a format has no scales."""
        return _PLAIN.get(self.name)


def element_bytes(name: str) -> int:
    """Bytes of an element of activations or states."""
    if name not in _PLAIN:
        raise UsageError(f"'{name}' is not a format of activations or states: {', '.join(_PLAIN)}")
    return _PLAIN[name]


def index_key_bytes(index_head_dim: int) -> int:
    """One token's index key: e4m3 with an fp32 scale per 128 (Indexer, model_executor/models/
    deepseek_v2.py: ``head_dim + head_dim // quant_block_size * 4`` bytes)."""
    return index_head_dim + index_head_dim // 128 * 4
