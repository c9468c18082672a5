"""Every option of every command that answers with numbers, said and not said: what is taken in silence.

A road is a command line that has an answer. Of each option the answer with it is held to the answer without
it: the numbers differ, or it is refused by name, or a note names it. Anything else is silence, unless
``CANNOT_MATTER`` says why it may be. ``python -m tests.cli.silences [ROAD]`` walks all of them (half an
hour), ``tests/cli/test_silences.py`` a sample, and pairs.
"""

import contextlib
import io
import json
import random
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from typer.main import get_command

from kvcalc.cli.commands import COMMANDS, build
from kvcalc.engines import ENGINES
from kvcalc.errors import KvcalcError
from tests.convert.test_drafts import block, eagle3
from tests.test_one_answer import gguf_file, quantised

# Commands whose options are not walked, and why.
NOT_WALKED = {
    "models": "lists names: each filter leaves out models, or none of them passes",
    "check": "holds files to rules and a policy, whose fields tests/checks walk",
    "diff": "compares two revisions of a repository (tests/cli/test_diff.py)",
    "report": "a page with every answer in it, whose workload its form asks for again",
    "schema": "prints a schema", "site": "writes pages", "import": "writes a spec",
    "mcp": "has the other commands' options", "log": "reads a log and holds it to capacity",
    "verify": "runs PyTorch modules (tests/verify)",
}  # fmt: skip
# Options that are no part of a question, and why; the roads say the rest.
NOT_ASKED = {
    "--format": "how the answer is printed", "--quiet": "how the answer is printed",
    "--sort": "the order of rows", "--plot": "writes a picture", "--chart": "draws the rows",
    "--force": "overwrites a file", "--engine": "a road of its own", "--gpus": "a road of its own",
    "--together": "a road of its own", "--all": "prints every mechanism",
    "--workspace": "what the table shows; the object always has it",
}  # fmt: skip
# Option -> values that no default has.
VALUES: dict[str, tuple[str, ...]] = {
    "--context": ("3000",), "--batch": ("7",), "--encoder-context": ("777",), "--beams": ("3",),
    "--state-dtype": ("bf16",), "--kv-dtype": ("fp8",), "--dtype": ("fp8", "fp32", "q4_k_m"),
    "--model-dtype": ("fp32",), "--images": ("2",), "--audio": ("30s",), "--video": ("10s@1fps",),
    "--draft": ("qwen3-0.6b", "DFLASH", "EAGLE"), "--mtp-layers": ("1", "0"),
    "--speculative-tokens": ("3", "0"), "--lora-rank": ("16 --max-loras 2", "16"),
    "--max-loras": ("2",), "--lora-modules": ("q_proj", "q_proj --lora-rank 16 --max-loras 2"),
    "--fully-sharded-loras": ("", "--lora-rank 16 --max-loras 2"), "--imatrix": ("",),
    "--pure": ("",), "--output-tensor-type": ("q8_0",), "--token-embedding-type": ("q8_0",),
    "--tp": ("2",), "--pp": ("2",), "--dp": ("2",), "--expert-parallel": ("",),
    "--engine-version": ("0.24.0",), "--attention": ("mha",), "--set": ("vocab_size=1000",),
    "--only": ("language",), "--available": ("20GiB",), "--block-size": ("32",),
    "--shared-prefix": ("50",), "--gpu": ("h100-80gb",), "--gpu-memory": ("40GiB",),
    "--devices": ("2",), "--ram": ("64GiB",), "--reserve": ("4GiB",),
    "--memory-utilization": ("0.5",), "--max-num-batched-tokens": ("512",),
    "--max-num-seqs": ("9",), "--enforce-eager": ("",), "--language-model-only": ("",),
    "--no-language-model-only": ("",), "--limit-mm-per-prompt": ('{"image":1}',),
    "--mm-encoder-tp-mode": ("data",), "--mm-processor-kwargs": ('{"max_pixels":501760}',),
    "--mm-processor-cache-gb": ("2",), "--attention-backend": ("FLASHMLA",),
    "--pp-partition": ("10,18",), "--dcp": ("2",), "--prefix-caching": ("",),
    "--no-prefix-caching": ("",), "--hybrid-manager": ("",), "--no-hybrid-manager": ("",),
    "--async-scheduling": ("",), "--no-async-scheduling": ("",), "--tokens": ("9999",),
    "--state-ratio": ("0.5",), "--window-ratio": ("0.5",), "--ctx-size": ("5000",),
    "--max-model-len": ("9000",), "--max-kv-size": ("1024",), "--quantized-kv-start": ("100",),
    "--parallel": ("3",), "--ubatch": ("256",), "--cache-type-k": ("q8_0",),
    "--cache-type-v": ("q8_0",), "--cache-type-k-draft": ("q8_0",), "--cache-type-v-draft": ("q8_0",),
    "--kv-unified": ("",), "--no-kv-unified": ("",), "--swa-full": ("",), "--no-swa-full": ("",),
    "--flash-attn": ("off", "on"), "--n-gpu-layers": ("5",), "--n-cpu-moe": ("2",), "--cpu-moe": ("",),
    "--no-cpu-moe": ("",), "--override-tensor": ("ffn_up=CPU",), "--tensor-split": ("1,1",),
    "--split-mode": ("none",), "--main-gpu": ("0",), "--kv-offload": ("",), "--no-kv-offload": ("",),
    "--host": ("200GiB",), "--disk": ("1TiB",), "--chunk": ("512",), "--link": ("55",),
    "--disk-link": ("5",), "--lengths": ("LENGTHS",),
}  # fmt: skip
KINDS = {
    "gqa": "llama-3-8b", "mla": "deepseek-v2-lite", "window": "gemma-3-1b", "hybrid": "qwen3.6-27b",
    "moe": "qwen3-30b-a3b", "encdec": "t5-small", "whisper": "whisper-tiny", "mm": "qwen2.5-vl-7b",
    "mtp": "glm-4.5", "ssm": "mamba-2.8b", "encoder": "bert-base-uncased", "sinks": "gpt-oss-20b",
    "gguf": "GGUF", "quantised": "QUANTISED",
}  # fmt: skip
# (road, option, kind) -> why it may change nothing, unnamed.
CANNOT_MATTER: dict[tuple[str, str, str], str] = {
    ("*", "--engine-version", "*"): "the answer says whose rules it has; many releases share them",
    ("fit/*/several", "--batch", "*"): "the verdict is about that batch, and shows no cache of it",
    ("fit/mlx", "--batch", "*"): "the same, where no type was named",
    ("fit/*/together", "--batch", "*"): "the same: what each takes is a share that holds it",
    ("fit/*/together", "--context", "*"): "the same",
    ("capacity/sglang/tokens", "--pp", "ssm"): "a note has the bytes of a stage's states",
    ("capacity/sglang/tokens", "--state-dtype", "*"): "a note has the bytes of a state",
    ("capacity/tensorrt-llm/*", "--state-dtype", "hybrid"): "a note has the bytes of a state",
    (
        "capacity/llama.cpp/*",
        "--cache-type-k",
        "encoder",
    ): "the rules name the format; there are no layers",
    (
        "capacity/llama.cpp/*",
        "--cache-type-v",
        "encoder",
    ): "the rules name the format; there are no layers",
    (
        "capacity/llama.cpp/*",
        "--speculative-tokens",
        "ssm",
    ): "a note says that states are not rolled back",
    ("capacity/*/table", "--ctx-size", "ssm"): "both answers say that it changes nothing",
    (
        "estimate/lightllm",
        "--attention",
        "mla",
    ): "refused in the words of the class's own mechanism",
    (
        "estimate/tpu-inference",
        "--attention",
        "mla",
    ): "refused in the words of the class's own mechanism",
    (
        "capacity/*/table",
        "--ctx-size",
        "encoder",
    ): "both are past the model's longest, which a note says",
    ("estimate/*", "--lengths", "encdec"): "another option is missing, and named",
}

Answer = tuple[int, Any, str]


def roads() -> Iterator[tuple[str, str]]:
    """(name, the command line without its options; MODEL stands for each)."""
    for engine in (*ENGINES, "all"):
        yield f"estimate/{engine}", f"estimate MODEL --engine {engine}"
    for engine in ENGINES:
        line = f"capacity MODEL --engine {engine}"
        yield f"capacity/{engine}/available", f"{line} --available 20GiB"
        yield f"capacity/{engine}/gpu", f"{line} --gpu h100-80gb"
        yield f"capacity/{engine}/longest", f"{line} --max-model-len 8192"
        yield f"capacity/{engine}/tokens", f"{line} --tokens 9000"
        yield f"capacity/{engine}/cells", f"{line} --ctx-size 8192"
        yield f"capacity/{engine}/table", f"{line} --ctx-size 8192 --gpu h100-80gb --dtype q4_k_m"
        gpu = "m3-max-64gb" if engine == "mlx" else "h100-80gb"
        line = f"--engine {engine} --gpu {gpu}"
        yield f"fit/{engine}", f"fit MODEL {line}"
        yield f"fit/{engine}/several", f"fit MODEL qwen3-0.6b {line}"
        yield f"fit/{engine}/together", f"fit MODEL qwen3-0.6b --together {line}"
        yield f"traffic/{engine}", f"traffic MODEL --lengths LENGTHS --engine {engine}"
    for engine in ("llama.cpp", "ollama", "lm-studio"):
        placed = "--gpu rtx-4090 --ram 64GiB --dtype q4_k_m"
        yield f"fit/{engine}/placed", f"fit MODEL --engine {engine} {placed}"
        yield f"fit/{engine}/ram", f"fit MODEL --engine {engine} --ram 64GiB"
    for engine in ("vllm", "sglang", "lmcache", "tensorrt-llm"):
        yield f"tiers/{engine}", f"tiers MODEL --engine {engine} --host 100GiB"
    yield "compare", "compare MODEL"
    yield "explain", "explain MODEL"


def options_of(command: str) -> list[str]:
    """The options of a command, each under its first long name, and what turns it off."""
    found = []
    for param in _group().commands[command].params:
        if param.param_type_name == "option" and param.name != "help":
            for names in (param.opts, param.secondary_opts):
                found += [name for name in names if name.startswith("--")][:1]
    return found


@cache
def _group() -> Any:
    return get_command(build(tuple(COMMANDS)))


@cache
def made() -> dict[str, str]:
    """The files that roads and options name."""
    folder = Path(mkdtemp())
    (folder / "q").mkdir()
    lines = [f"{100 * number + 7},{50 + number}" for number in range(1, 30)]
    (folder / "lengths.csv").write_text("\n".join(["prompt_tokens,output_tokens", *lines]), "utf-8")
    drafts = {
        "DFLASH": block("DFlashDraftModel", 4096, 12288, 151936, {}),
        "EAGLE": eagle3(4096, 14336, 32, 8, 128256),
    }
    for name, config in drafts.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config), "utf-8")
    return {
        "LENGTHS": str(folder / "lengths.csv"), "GGUF": str(gguf_file(folder)),
        "QUANTISED": str(quantised(folder / "q")), **{name: str(folder / name) for name in drafts},
    }  # fmt: skip


def words_of(line: str, kind: str, option: str = "") -> list[str]:
    """A command line, taken apart. option: with its value; it stands in the place of the road's own."""
    words = [KINDS[kind] if word == "MODEL" else word for word in line.split()]
    name = option.partition(" ")[0]
    if name in words:
        place = words.index(name)
        del words[place : place + 2]
    return [made().get(word, word) for word in [*words, *option.split()]]


def asked(words: list[str]) -> Answer:
    """(status, object, stderr) of a command, without a process. status 3: an error of kvcalc's own."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = _group()(
                args=[*words, "--format", "json"], prog_name="kvcalc", standalone_mode=False
            )
        except KvcalcError as error:
            return 2, error.message, err.getvalue()
        except Exception as error:
            said = getattr(error, "format_message", None)
            if said is not None:
                return 2, said(), err.getvalue()
            return 3, f"{type(error).__name__}: {error}", err.getvalue()
    try:
        found = json.loads(out.getvalue())
    except ValueError:
        found = out.getvalue()
    return (status if isinstance(status, int) else 0), found, err.getvalue()


# What of an object is its question, and what is words.
_QUESTION = {"workload", "parallelism", "command", "run", "dtype", "kv_dtype", "engine", "changes",
             "ram_bytes", "reserve_bytes"}  # fmt: skip
_WORDS = ("assumptions", "notes", "rules")


def numbers(value: Any) -> Any:
    """An answer without its question and its sentences."""
    if isinstance(value, dict):
        left = _QUESTION | {*_WORDS}
        return {key: numbers(each) for key, each in value.items() if key not in left}
    return [numbers(each) for each in value] if isinstance(value, list) else value


def sentences(value: Any) -> Iterator[str]:
    """All sentences of an answer."""
    if isinstance(value, dict):
        for key, each in value.items():
            own = key in _WORDS
            yield from ((str(one) for one in each or ()) if own else sentences(each))
    elif isinstance(value, list):
        for each in value:
            yield from sentences(each)


# Other words under which a refusal, or a note, names an option.
_MEANT = {
    "pp": ("pipeline", "one device", "among devices", "stages", "no device"),
    "tp": ("rank", "one device", "among devices", "does not divide", "tensor", "no device", "blocks of"),
    "dp": ("among devices", "replica", "one device"), "audio": ("sound",), "video": ("frames",),
    "images": ("tower", "image"), "lora-rank": ("adapters", "--max-loras"),
    "max-loras": ("adapters",), "lora-modules": ("adapters",), "fully-sharded-loras": ("adapters",),
    "engine-version": (" 0.24.0", "versions", "oldest", "releases", "those of"),
    "gpu": ("does not run on", "from a GPU", "--dtype"), "kv-unified": ("one stream",),
    "gpu-memory": ("from a GPU", "--dtype"), "devices": ("--dtype",), "ram": ("--dtype",),
    "dtype": ("GGUF", "mlx"), "mtp-layers": ("multi-token-prediction",),
    "cache-type-k": ("formats of K", "for K"), "cache-type-v": (" for V", "of V"),
    "context": ("tokens of text", "made for at most"), "draft": ("recurrent states",),
    "model-dtype": ("leaves nothing",), "memory-utilization": ("leaves nothing",),
    "hybrid-manager": ("hybrid KV cache manager",), "flash-attn": ("flash attention",),
    "max-num-seqs": ("slots",),
}  # fmt: skip


def _names(option: str, text: str) -> bool:
    word = option.removeprefix("--no-").removeprefix("--")
    spelt = (option, f"--{word}", word.replace("-", " "), word.replace("-", "_"))
    return any(each in text for each in (*spelt, *_MEANT.get(word, ())))


def verdict(base: Answer, found: Answer, option: str) -> str:
    """``changed``, ``refused`` and ``said`` are as they should be; ``unnamed`` (refused in other words),
    ``noted`` (in other words), ``silent`` and ``broken`` are not."""
    status, value, err = found
    options = [word for word in option.split() if word.startswith("--")]
    if status == 3:
        return "broken"
    if status == 2:
        text = f"{value} {err}"
        return "refused" if any(_names(each, text) for each in options) else "unnamed"
    if numbers(base[1]) != numbers(value):
        return "changed"
    new = {*sentences(value), *err.splitlines()} - {*sentences(base[1]), *base[2].splitlines()}
    if any(_names(options[0], each) for each in new):
        return "said"
    return "noted" if new else "silent"


GOOD = ("changed", "refused", "said")


def excused(road: str, option: str, kind: str) -> bool:
    """Whether it is known why this changes nothing and is not named."""
    name = option.partition(" ")[0]
    return any(
        fnmatch(road, place) and fnmatch(name, which) and fnmatch(kind, whose)
        for place, which, whose in CANNOT_MATTER
    )


def questions() -> Iterator[tuple[str, str, str]]:
    """(road, command line, option with a value) of all of them; a road's own value is not asked again."""
    for road, line in roads():
        for name in options_of(line.partition(" ")[0]):
            for value in () if name in NOT_ASKED else VALUES[name]:
                option = f"{name} {value}".strip()
                if f"{option} " not in f"{line} ":
                    yield road, line, option


@cache
def base_of(line: str, kind: str) -> Answer:
    """The answer of a road without more."""
    return asked(words_of(line, kind))


def held(road: str, line: str, kind: str, *options: str) -> str | None:
    """What is wrong with the last option beside the others; None where it is heard."""
    *before, option = options
    first = " ".join(before)
    base = base_of(f"{line} {first}".strip(), kind)
    if base[0] == 2:
        return None
    answer = asked(words_of(f"{line} {first}".strip(), kind, option))
    found = verdict(base, answer, option)
    if found in GOOD or excused(road, option, kind):
        return None
    wrong = f"{found}: {road} {' '.join(options)} ({kind})"
    # The other way round: beside this option it is another that is refused, or changes nothing.
    others = [word for word in f"{line} {first}".split() if word[:2] == "--" and word != "--engine"]
    if answer[0] == 2 or (first and found == "noted"):
        return None if any(verdict(base, answer, each) in GOOD for each in others) else wrong
    return wrong


def sampled(seed: int, number: int, pairs: bool) -> list[str]:
    """What is wrong in a sample."""
    rng, every, wrong = random.Random(seed), list(questions()), []
    while number:
        road, line, option = rng.choice(every)
        kind = rng.choice(list(KINDS))
        if base_of(line, kind)[0] == 2:
            continue
        number -= 1
        beside = (
            [rng.choice([other for place, _, other in every if place == road])] if pairs else []
        )
        if beside and option.partition(" ")[0] in beside[0].split():
            continue
        wrong += filter(None, [held(road, line, kind, *beside, option)])
    return wrong


def main(only: str) -> None:
    """Walk the roads whose names begin so."""
    count = 0
    for road, line, option in questions():
        if not road.startswith(only):
            continue
        for kind in KINDS:
            count += 1
            wrong = held(road, line, kind, option)
            if wrong is not None:
                print(wrong, flush=True)
    print(f"{count:,} questions", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
