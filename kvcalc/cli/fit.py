"""``kvcalc fit``: does a model fit an accelerator, how far does it go, and what would help."""

from typing import Annotated, Any

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.flags import share, with_flags_of
from kvcalc.cli.groups import Drafts, Group, Lora, Media, Output, Serving, Weights, with_groups
from kvcalc.deployment.question import FitQuestion, fit_answer
from kvcalc.deployment.where import Where, listed
from kvcalc.frozen import changed, frozen
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Asked
from kvcalc.report.answers import answer

_Gpu = Annotated[
    list[str] | None,
    options.gpu_option(
        "The accelerator: h100, rtx-4090, 2xrtx-3090, ...; several: several devices."
    ),
]
_Gpus = Annotated[
    str | None,
    kinds.option(
        "all", "A table of every accelerator known.", complete=completion.one_of(("all",))
    ),
]
_Engine = Annotated[
    str | None,
    options.engine_option(
        "Whose pages to count; logical: the need alone.",
        shown="llama.cpp for a GGUF type, mlx for an mlx type or a Mac, else vllm",
    ),
]


@frozen
class _Machine(Group):
    """Where it is to run."""

    gpu: _Gpu = None
    gpus: _Gpus = None
    gpu_memory: options.GpuMemory = None
    ram: options.Ram = None
    reserve: options.Reserve = None

    def where(self, tensor: int | None, pipeline: int) -> Where:
        """The same, with its ranks. Raises UsageError."""
        return Where(
            gpus=listed(self.gpu), every=self.gpus, memory=self.gpu_memory, tensor=tensor,
            pipeline=pipeline, ram=options.num_bytes(self.ram, "--ram"),
            reserve=options.num_bytes(self.reserve, "--reserve"),
        )  # fmt: skip


@frozen
class _Server(Serving):
    """How a server is run."""

    memory_utilization: Annotated[
        str | None,
        kinds.option(
            "SHARE", "Share of the memory that the engine may use.", shown="0.9; SGLang's own"
        ),
    ] = None
    max_num_batched_tokens: Annotated[
        str | None,
        kinds.option("TOKENS", "Tokens of one scheduler step.", shown="as the engine chooses"),
    ] = None
    max_num_seqs: Annotated[
        int | None,
        kinds.num("--max-num-seqs", "Requests at once.", show_default="as the engine chooses"),
    ] = None
    enforce_eager: options.EnforceEager = False

    @property
    def question(self) -> dict[str, Any]:
        """The fields of a FitQuestion that they are. Raises UsageError."""
        return {
            "utilization": share(self.memory_utilization, "--memory-utilization", most=1),
            "max_num_batched_tokens": options.tokens(
                self.max_num_batched_tokens, "--max-num-batched-tokens"
            ),
            "max_num_seqs": self.max_num_seqs,
            "eager": self.enforce_eager,
            "media": self.media,
        }


@with_flags_of("llama.cpp", without=("ctx_size",))
@with_groups
def fit(
    models: options.ModelsOrPatterns, machine: _Machine = _Machine(),
    together: options.Together = False, context: options.Context = None, batch: options.Batch = 1,
    drafts: Drafts = Drafts(), lora: Lora = Lora(), media: Media = Media(),
    encoder_context: options.EncoderContext = None, weights: Weights = Weights(),
    kv_dtype: options.KvDtypeGiven = None, state_dtype: options.StateDtype = None,
    tp: options.ListedRanks = None, pp: options.PipelineParallel = 1, dp: options.DataParallel = 1,
    expert_parallel: options.ExpertParallel = False, engine: _Engine = None,
    engine_version: options.EngineVersion = None, server: _Server = _Server(),
    output: Output = Output(), **given: Any,
) -> int:  # fmt: skip
    """Does it fit, how far does it go, and what would help.

    The longest context, the largest batch, the fewest devices. Several models or a pattern: which of
    them fit, in which format of the weights, how far; --together, whether all of them do at once. 'tight'
    is what fits unless what an engine takes beside is at the upper end of what is known of it, or where a
    part of that is not predicted. Exit status 1 where nothing fits.

    Example: kvcalc fit llama-3-70b --gpu h100 --tp 4 --context 32k --batch 16
    """
    question = FitQuestion(
        models=tuple(models), together=together, where=machine.where(tp, pp),
        asked=Asked(
            context_tokens=options.tokens(context, "--context"), batch_size=batch,
            encoder_tokens=options.tokens(encoder_context, "--encoder-context"), dtype=weights.word,
            state_dtype=state_dtype, layout=Layout(1, pp, dp, expert_parallel), put=media.words,
        ),
        kv_dtype=kv_dtype, drafting=drafts.said, lora=lora.words,
        engine=None if engine is None else options.engine_name(engine),
        engine_version=engine_version, flags=given, advise=output.format == "json",
    )  # fmt: skip
    found = fit_answer(changed(question, **server.question))
    output.show(answer(found))
    return 0 if found.fits else 1
