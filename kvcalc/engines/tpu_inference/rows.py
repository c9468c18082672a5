"""What a token takes of a layer's page on one chip, tpu-inference 0.32.0.

Files are of tpu_inference.

* keys and values lie side by side as 2 * heads of head_dim, in words of 32 bits across heads: their
  number is
  rounded up to 2 in bf16 and 4 in fp8, their width to 128; heads of 64 lie as key and value in one of
  128, their
  number rounded up (kernels/ragged_paged_attention/v3/kernel.py and kernel_hd64.py, get_kv_cache_shape);
* a latent is rounded up to 128, its page to 32 tokens (kernels/mla/v2/kernel.py, envs.MLA_KV_PACKING_SIZE);
* chips divide the heads, or have a copy of one (utils.py, get_padded_num_heads);
* a page: 1,024 tokens of latents; else 16 for a longest request beyond 8,192 tokens, before that its
  next power
  of two / 16, from 16 to 256; more where the tables of max_num_seqs requests would not fit half a MiB
  (layers/vllm/backends/flash_attn.py, get_page_size, get_min_page_size; flash_attn_mla.py).

Worked number: gemma-3-1b's one head of 256: 2 rows of 256 in bf16, 4 in fp8: 1,024 bytes a token
either way.
"""

from kvcalc.engines.admission import up
from kvcalc.engines.holding import Part
from kvcalc.engines.pages import Kept
from kvcalc.engines.tpu_inference.flags import TpuFlags
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import EveryToken

RELEASE = "0.32.0"
LANES, MLA_TOKENS, MLA_PACKED = 128, 1024, 32
# Bytes of what half of SMEM holds of block tables, in pages of all requests.
_TABLES = 1024 * 1024 // 2
_FORMATS = {
    "auto": 2, "bf16": 2, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1,
}  # fmt: skip


def element_bytes(request: TpuFlags) -> int:
    """Of the cache. Raises UsageError for a format whose packing was not run."""
    name = request.kv_dtype or "auto"
    if name not in _FORMATS:
        raise UsageError(
            f"--kv-dtype {name}: of tpu-inference {', '.join(_FORMATS)} are accounted for"
        )
    return _FORMATS[name]


def kept_of(spec: ModelSpec, request: TpuFlags) -> tuple[Kept, ...]:
    """Layers on a chip. Raises UnsupportedError for other stacks than equal layers of every token."""
    version = request.engine_version
    if version is not None and version.removeprefix("v") != RELEASE:
        raise UnsupportedError(f"tpu-inference {version}: its pages are accounted for in {RELEASE}")
    if request.layout.pipeline > 1:
        raise UnsupportedError("tpu-inference: pipeline ranks are not accounted for")
    groups = groups_of(spec)
    kinds = {group.mechanism for group in groups}
    if (
        spec.encoder is not None
        or not kinds
        or not kinds <= {"mha", "mqa", "gqa", "mla"}
        or ("mla" in kinds and len(kinds) > 1)
    ):
        raise UnsupportedError(f"{spec.name}: tpu-inference's pages are accounted for where all layers "
                               "are attention or all latents, not for "
                               f"{', '.join(sorted(kinds)) or 'none'}")  # fmt: skip
    for group in groups:
        if any(not isinstance(tensor.extent, EveryToken) for tensor in group.tensors):
            raise UnsupportedError(
                f"{spec.name}: tpu-inference's groups of windows are not accounted for"
            )
        if any(tensor.role == "index" for tensor in group.tensors):
            raise UnsupportedError(f"{spec.name}: tpu-inference's index keys are not accounted for")
    found = tuple(_kept(spec, group, request) for group in groups)
    if len({one.rows for one in found}) > 1:
        raise UnsupportedError(
            f"{spec.name}: tpu-inference's pages of several widths are not accounted for"
        )
    return found


def _kept(spec: ModelSpec, group: CacheGroup, request: TpuFlags) -> Kept:
    element = element_bytes(request)
    packed = 4 // element
    shapes = {tensor.name: tensor.shape for tensor in group.tensors}
    part: Part = "kv"
    if group.mechanism == "mla":
        if request.layout.tensor > 1:
            raise UnsupportedError(
                "tpu-inference: latents over several chips are not accounted for"
            )
        if spec.model_type == "minicpm3":
            raise UnsupportedError(f"{spec.name}: vLLM's class has no latents")
        width = sum(shape[0] for shape in shapes.values())
        rows = (("kv", part, up(width, LANES) * element, width * element),)
    else:
        heads, width = shapes["key"]
        if shapes["value"] != shapes["key"]:
            raise UnsupportedError(
                f"{spec.name}: values of another width than keys are not accounted for"
            )
        own = _own_heads(spec, heads, request.layout.tensor)
        taken = up(own, packed) * LANES if width == 64 else up(2 * own, packed) * up(width, LANES)
        rows = (("kv", part, taken * element, 2 * own * width * element),)
    return Kept(block=group.block, mechanism=group.mechanism, layers=group.layers, rows=rows)


def _own_heads(spec: ModelSpec, heads: int, chips: int) -> int:
    if heads % chips and chips % heads:
        raise UnsupportedError(
            f"{spec.name}: tpu-inference divides {heads} KV heads evenly over chips, or copies them: not "
            f"over {chips} (get_padded_num_heads)"
        )
    return max(1, heads // chips)


def page_tokens(spec: ModelSpec, request: TpuFlags) -> int:
    """Tokens of a page. Raises UsageError where what decides it is not said."""
    latents = any(group.mechanism == "mla" for group in groups_of(spec))
    if request.block_size is not None:
        page = request.block_size
        if latents and page % MLA_PACKED:
            raise UsageError(f"--block-size {page}: pages of latents are multiples of {MLA_PACKED}: "
                             f"{up(page, MLA_PACKED)}")  # fmt: skip
        return page
    if latents:
        return MLA_TOKENS
    longest = request.max_model_len or spec.max_position_embeddings
    if not longest:
        raise UsageError(f"{spec.name} states no longest context: say --max-model-len")
    page = 16
    if longest <= 8192:
        page = min(256, max(16, _next_power(longest) // 16))
    if request.max_num_seqs is None:
        raise UsageError("say --max-num-seqs: with --max-model-len it decides the tokens of a page "
                         "(get_min_page_size)")  # fmt: skip
    pages = _TABLES // request.max_num_seqs // 4
    if not pages:
        raise UsageError(f"--max-num-seqs {request.max_num_seqs}: no block table of so many fits: at most "
                         f"{_TABLES // 4}")  # fmt: skip
    return max(page, _next_power(-(-longest // pages)))


def _next_power(number: int) -> int:
    return 1 << (number - 1).bit_length()
