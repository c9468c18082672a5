"""llama.cpp's flags, resolved: cells, streams, formats."""

from kvcalc.dtypes import BLOCK, PLAIN, Format, canonical
from kvcalc.engines.llama_cpp.flags import CACHE_TYPES, LlamaCppFlags
from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec

_LLAMA_NAMES = {"fp32": "f32", "fp16": "f16"}
CELLS, UBATCH = 256, 512
# llama-arch.cpp, llm_arch_supports_rs_rollback, as model types of configs: the others keep one row
# of states whatever draft tokens there are.
_ROLLBACK = {
    "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "deepseek_v4", "nemotron_h",
    "lfm2", "lfm2_moe",
}  # fmt: skip


def pad(cells: int) -> int:
    """Cells rounded up to 256 (GGML_PAD)."""
    return -(-cells // CELLS) * CELLS


@frozen
class Setup:
    """The flags, resolved. cells: of one stream (n_ctx_seq). rows: f32 rows of one sequence."""

    asked: int
    cells: int
    sequences: int
    unified: bool
    ubatch: int
    swa_full: bool
    rows: int
    k: Format
    v: Format

    @property
    def streams(self) -> int:
        return 1 if self.unified else self.sequences

    def window_cells(self, window: int, unified: bool) -> int:
        """Cells of a window cache (llama_kv_cache_iswa)."""
        if self.swa_full:
            return self.cells
        return pad(min(self.cells, window * (self.sequences if unified else 1) + self.ubatch))


def resolve(spec: ModelSpec, request: LlamaCppFlags) -> Setup:
    if request.layout.tensor > 1 or request.layout.pipeline > 1:
        raise UsageError(
            "llama.cpp has no --tp or --pp: however layers are dealt to devices, the caches are "
            "the same in all"
        )
    asked = request.ctx_size or spec.max_position_embeddings
    if asked is None:
        raise UsageError(f"say --ctx-size: {spec.name} does not state a longest context")
    sequences, unified = request.parallel or 1, bool(request.kv_unified)
    cells = pad(asked)
    if not unified:
        cells = pad(cells // sequences)
    k = _cache_type(request.cache_type_k, "--cache-type-k")
    v = _cache_type(request.cache_type_v, "--cache-type-v")
    rollback = spec.model_type is None or spec.model_type in _ROLLBACK
    rows = 1 + (request.speculative_tokens or 0) if rollback else 1
    ubatch = request.ubatch or UBATCH
    return Setup(asked, cells, sequences, unified, ubatch, bool(request.swa_full), rows, k, v)


def draft_types(request: LlamaCppFlags) -> tuple[Format, Format]:
    """Of K and V of what drafts."""
    return (
        _cache_type(request.cache_type_k_draft, "--cache-type-k-draft"),
        _cache_type(request.cache_type_v_draft, "--cache-type-v-draft"),
    )


def _cache_type(name: str | None, option: str) -> Format:
    try:
        name = canonical(name or "fp16", CACHE_TYPES)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
    return PLAIN.get(name) or BLOCK[name]


def format_name(chosen: Format) -> str:
    """A format as llama.cpp spells it."""
    return _LLAMA_NAMES.get(chosen.name, chosen.name)


def row_bytes(chosen: Format, heads: tuple[int, int], letter: str) -> int:
    width, count = heads
    if width % chosen.block_elements:
        raise UsageError(
            f"llama.cpp refuses {format_name(chosen)} for {letter}: its blocks of "
            f"{chosen.block_elements} do not divide a head of {width}; f16 does"
        )
    return chosen.row(width * count)
