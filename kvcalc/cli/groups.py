"""Options that go together, as one parameter of a command: a class whose fields are the options.

What a command makes of them stands with them, so that no command spells an option's name twice.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from kvcalc.cli import kinds, options
from kvcalc.cli.output import note, write
from kvcalc.errors import UsageError
from kvcalc.file_types import recipe, weight_word
from kvcalc.frozen import fields_of, frozen
from kvcalc.report import formats
from kvcalc.spec.words import first_said

if TYPE_CHECKING:
    from kvcalc.convert.beside import Drafting
    from kvcalc.convert.beside import Lora as LoraWords
    from kvcalc.engines.media import ServedMedia
    from kvcalc.media.asked import MediaWords
    from kvcalc.report.sheet import Answer


class Group:
    """What ``with_groups`` takes apart."""


def with_groups(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of the groups among its parameters, each where its group stands."""
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = parameter.annotation
        if not (isinstance(kind, type) and issubclass(kind, Group)):
            parameters.append(parameter)
            continue
        groups[name] = kind
        parameters += [
            inspect.Parameter(each, parameter.KEYWORD_ONLY, default=default, annotation=option)
            for each, option, default in fields_of(kind)
        ]

    def run(**given: Any) -> Any:
        for name, kind in groups.items():
            own = [each for each, _, _ in fields_of(kind) if each in given]
            given[name] = kind(**{each: given.pop(each) for each in own})
        return command(**given)

    kept = [each.replace(kind=each.KEYWORD_ONLY) if each.kind is not each.VAR_KEYWORD else each
            for each in parameters]  # fmt: skip
    run.__name__, run.__doc__, run.__module__ = (
        command.__name__,
        command.__doc__,
        command.__module__,
    )
    return kinds.with_parameters(run, kept, command.__annotations__.get("return"))


@frozen
class Output(Group):
    """How the answer is printed."""

    format: options.OutputFormat = "table"
    quiet: options.Quiet = False

    def show(self, answer: "Answer", notes: Sequence[str] = ()) -> None:
        """Print it, as ``show`` does."""
        show(self.format, answer, quiet=self.quiet, notes=notes)


def show(format: str, answer: "Answer", *, quiet: bool = False, notes: Sequence[str] = ()) -> None:
    """Write the answer to stdout, piece by piece. notes: for stderr, where the format has no place.

    quiet: without notes; what programs read is whole all the same.
    """
    for piece in formats.render(format, answer, quiet):
        if not write(piece):
            break
    if format in formats.WITHOUT_NOTES and not quiet:
        for each in notes:
            note(each)


@frozen
class Weights(Group):
    """The number format of the weights, with the options of llama.cpp's quantize."""

    dtype: options.Dtype = None
    imatrix: Annotated[
        bool, kinds.switch("--imatrix", "With a GGUF type: there is an importance matrix.")
    ] = False
    pure: Annotated[
        bool, kinds.switch("--pure", "With a GGUF type: every tensor in it, no mixture.")
    ] = False
    output_tensor_type: Annotated[
        str | None, kinds.option("TYPE", "With a GGUF type: the type of the output table.")
    ] = None
    token_embedding_type: Annotated[
        str | None, kinds.option("TYPE", "With a GGUF type: the type of the token table.")
    ] = None

    @property
    def word(self) -> str | None:
        """The format in one word. Raises UsageError for a GGUF type's options beside another."""
        output, token = self.output_tensor_type, self.token_embedding_type
        parts = ["imatrix"] * self.imatrix + ["pure"] * self.pure
        parts += [f"output={output}"] if output else []
        parts += [f"token-embedding={token}"] if token else []
        if parts and (self.dtype is None or recipe(self.dtype) is None):
            option = ("output-tensor-type" if output else "token-embedding-type") if not (
                self.imatrix or self.pure) else parts[0]  # fmt: skip
            raise UsageError(
                f"--{option} goes with a GGUF type: --dtype q4_k_m, say, not "
                f"{self.dtype or 'none at all'}"
            )
        return None if self.dtype is None else weight_word("+".join([self.dtype, *parts]))


Draft = Annotated[
    str | None,
    kinds.model("A model or head that drafts tokens: its weights and its cache.", "--draft"),
]


@frozen
class Drafts(Group):
    """What drafts tokens beside a model."""

    draft: Draft = None
    mtp_layers: Annotated[
        int | None,
        kinds.num("--mtp-layers", "Multi-token-prediction layers loaded to draft.", least=0),
    ] = None
    speculative_tokens: Annotated[
        int | None,
        kinds.num("--speculative-tokens", "Draft tokens per step, where an engine asks.", least=0),
    ] = None

    @property
    def said(self) -> "Drafting":
        """The same as the library takes it."""
        from kvcalc.convert.beside import Drafting

        return Drafting(self.draft, self.mtp_layers, self.speculative_tokens)


@frozen
class Lora(Group):
    """Adapters beside a model."""

    lora_rank: Annotated[
        int | None, kinds.num("--lora-rank", "Rank of LoRA adapters, or the longest.")
    ] = None
    max_loras: Annotated[int | None, kinds.num("--max-loras", "Adapters at once.")] = None
    lora_modules: Annotated[
        str | None,
        kinds.option(
            "NAME,...",
            "Layers that they change: q_proj,v_proj.",
            shown="all-linear; the engine's own",
        ),
    ] = None
    fully_sharded_loras: Annotated[
        bool,
        kinds.switch("--fully-sharded-loras", "Ranks divide all of the adapters' matrices (vLLM)."),
    ] = False

    @property
    def words(self) -> "LoraWords":
        """The same as the library takes it."""
        from kvcalc.convert.beside import Lora as LoraWords

        named = (word.strip() for word in (self.lora_modules or "").split(","))
        modules = tuple(word for word in named if word)
        return LoraWords(self.lora_rank, self.max_loras, modules, self.fully_sharded_loras)


@frozen
class Media(Group):
    """What is put into each request beside its text."""

    images: Annotated[
        list[str] | None,
        kinds.option(
            "N|NxWxH",
            "Images in each sequence, on top of --context: 3 of the largest, or 4x1920x1080.",
        ),
    ] = None
    audio: Annotated[
        list[str] | None,
        kinds.option("SECONDS", "Sound in each sequence, on top of --context: 30s, 2x30s."),
    ] = None
    video: Annotated[
        list[str] | None,
        kinds.option(
            "SECONDS@FPS",
            "Video in each sequence, on top of --context: 60s@2fps, 2x60s@2fps@1280x720.",
        ),
    ] = None

    @property
    def words(self) -> "MediaWords":
        """The same as the library takes it."""
        from kvcalc.media.asked import MediaWords

        named = (self.images, self.audio, self.video)
        images, audio, video = (tuple(each or ()) for each in named)
        return MediaWords(images=images, audio=audio, video=video)


@frozen
class Serving(Group):
    """Which media a server takes."""

    language_model_only: Annotated[
        bool,
        kinds.switch("--language-model-only", "The server takes no media: towers are not loaded."),
    ] = False
    limit_mm_per_prompt: Annotated[
        str | None,
        kinds.option(
            "JSON",
            'Most items of a request: \'{"image": 4, "video": 0}\' (vLLM).',
            shown="no limit",
        ),
    ] = None
    mm_encoder_tp_mode: Annotated[
        str | None,
        kinds.option(
            "weights|data", "Towers on tensor ranks: divided or whole (vLLM).", shown="weights"
        ),
    ] = None
    mm_processor_kwargs: Annotated[
        str | None,
        kinds.option(
            "JSON",
            "Bounds on an image: '{\"max_pixels\": 1003520}' (vLLM).",
            shown="the model's own",
        ),
    ] = None

    @property
    def media(self) -> "ServedMedia":
        """The same as a server's flags say it. Raises UsageError."""
        from kvcalc.engines.media import served_media

        return served_media(vars(self))


@frozen
class Pools(Group):
    """How requests of many lengths are held."""

    available: Annotated[
        str | None,
        kinds.option(
            "SIZE", "With --lengths: memory for the cache on a device, to say how many fit."
        ),
    ] = None
    block_size: Annotated[
        int | None,
        kinds.num("--block-size", "With --lengths: tokens of a block.", show_default="16"),
    ] = None
    shared_prefix: Annotated[
        str | None, kinds.option("TOKENS", "With --lengths: tokens that all requests begin with.")
    ] = None

    def refuse(self) -> None:
        """Raise UsageError where one was given without a file of lengths."""
        said = first_said(
            {"--available": self.available, "--block-size": self.block_size,
             "--shared-prefix": self.shared_prefix}
        )  # fmt: skip
        if said is not None:
            raise UsageError(
                f"{said} goes with --lengths FILE; 'kvcalc capacity' answers for pools"
            )

    @property
    def question(self) -> dict[str, Any]:
        """The fields of a TrafficQuestion that they are. Raises UsageError."""
        return {
            "block_size": self.block_size,
            "available": options.num_bytes(self.available, "--available"),
            "prefix_tokens": options.tokens(self.shared_prefix, "--shared-prefix"),
        }
