"""A request's flags as one model's cache: its tensors, compiled to a function of the prompt."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.mlx.caches import QUANTIZED_START, Setup, accounting
from kvcalc.engines.mlx.flags import MlxFlags
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.accounting import Accounting
from kvcalc.memory.cache import CacheFunction, compile_groups
from kvcalc.spec.model import ModelSpec


def cache_dtypes(request: MlxFlags) -> CacheDtypes:
    """The formats of the cache. Raises UsageError for what is none."""
    given = request.kv_dtype
    try:
        return CacheDtypes.parse(request.model_dtype if given in (None, "auto") else str(given))
    except ValueError as error:
        raise UsageError(f"--kv-dtype: {error}") from None


def resolve(spec: ModelSpec, request: MlxFlags) -> tuple[Accounting, CacheFunction]:
    """The caches under the request's flags, and their bytes by the prompt's length.

    Raises UnsupportedError for more than one device, and as ``accounting`` does.
    """
    if request.layout.devices > 1:
        raise UnsupportedError("mlx-lm: how it divides a model among devices is not accounted for")
    start = request.quantized_kv_start
    setup = Setup(
        max_kv_size=request.max_kv_size,
        quantized_start=QUANTIZED_START if start is None else start,
    )
    dtypes = cache_dtypes(request)
    found = accounting(spec, dtypes, request.engine_version, setup)
    return found, compile_groups(found.groups, dtypes)


def held(function: CacheFunction, tokens: int, encoder_tokens: int = 0) -> int:
    """The most bytes that one sequence takes: at the prefill's peak, or after it."""
    return max(function.at(tokens, encoder_tokens), function.prefill_peak(tokens, encoder_tokens))
