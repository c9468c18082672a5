"""A question to ``kvcalc fit`` as the command line that asks it."""

import shlex
from fractions import Fraction

from kvcalc.deployment.answer import FitRequest
from kvcalc.deployment.hardware import Accelerator
from kvcalc.engines import SERVING

# Option -> its value; "" for a switch.
Options = dict[str, str]
# What a change may name, in the order in which it is said.
_ORDER = (
    "--dtype", "--kv-dtype", "--tp", "--pp", "--dp", "--expert-parallel", "--memory-utilization",
    "--max-num-batched-tokens", "--max-num-seqs", "--enforce-eager", "--batch", "--context",
)  # fmt: skip


def options_of(request: FitRequest, own_dtype: str) -> Options:
    """The options that differ from what ``kvcalc fit`` takes by itself.

    own_dtype: the format that the model's weights are in where none is asked for. The context is
    always said: what is taken without one depends on the model.
    """
    workload, layout, cache = request.workload, request.workload.layout, request.workload.cache
    said: dict[str, str | None] = {
        "--engine": request.engine if request.engine != SERVING else None,
        "--engine-version": request.engine_version,
        "--context": tokens(workload.context_tokens),
        "--batch": _more_than(1, workload.batch_size),
        "--encoder-context": tokens(workload.encoder_tokens) if workload.encoder_tokens else None,
        "--dtype": workload.dtype if workload.dtype != own_dtype else None,
        "--kv-dtype": cache.kv_name if cache.kv_name != "bf16" else None,
        "--state-dtype": cache.state,
        "--tp": _more_than(1, layout.tensor),
        "--pp": _more_than(1, layout.pipeline),
        "--dp": _more_than(1, layout.data),
        "--expert-parallel": "" if layout.expert else None,
        "--memory-utilization": None
        if request.utilization is None
        else _share(request.utilization),
        "--max-num-batched-tokens": _more_than(0, request.max_num_batched_tokens or 0),
        "--max-num-seqs": _more_than(0, request.max_num_seqs or 0),
        "--enforce-eager": "" if request.eager else None,
        **request.media.options,
    }
    return {option: value for option, value in said.items() if value is not None}


def added(before: Options, after: Options) -> str:
    """What to add to a command so that it asks the second question: a later option is the one that
    holds, and what is 1 by itself is said where it was more."""
    words: list[str] = []
    for option in _ORDER:
        usual = "1" if option in before else None
        value = after.get(option, usual)
        if value is not None and before.get(option) != value:
            words += [option, value] if value else [option]
    encoder = after.get("--encoder-context")
    if encoder is not None and before.get("--context") != after.get("--context"):
        # It would follow the context.
        words += ["--encoder-context", encoder]
    return shlex.join(words)


def command(model: str, device: Accelerator, options: Options) -> str:
    """The whole command line. model: as it was named."""
    listed = bool(device.vendor) or device.sm == 0
    words = ["kvcalc", "fit", model, "--gpu" if listed else "--gpu-memory", device.name]
    for option, value in options.items():
        words += [option, value] if value else [option]
    return shlex.join(words)


def tokens(number: int) -> str:
    """``16k`` for 16,384; the number where it is no whole number of 1,024."""
    return f"{number // 1024}k" if number and not number % 1024 else f"{number}"


def _more_than(least: int, number: int) -> str | None:
    return f"{number}" if number > least else None


def _share(of: Fraction) -> str:
    shown = f"{float(of):g}"
    return shown if Fraction(shown) == of else f"{of}"
