"""The subcommands of ``kvcalc``, and the application that typer makes of those that are asked for."""

import os
from importlib import import_module
from typing import Any

import typer

from kvcalc import __version__
from kvcalc.cli.kinds import folded
from kvcalc.cli.output import write

# command -> (module, function): the order of `kvcalc --help`.
COMMANDS: dict[str, tuple[str, str]] = {
    "estimate": ("kvcalc.cli.estimate", "estimate"),
    "compare": ("kvcalc.cli.compare", "compare"),
    "explain": ("kvcalc.cli.explain", "explain"),
    "models": ("kvcalc.cli.models", "models"),
    "check": ("kvcalc.cli.check", "check"),
    "diff": ("kvcalc.cli.diff", "diff"),
    "report": ("kvcalc.cli.report", "report"),
    "site": ("kvcalc.cli.site", "site"),
    "schema": ("kvcalc.cli.schema", "schema"),
    "import": ("kvcalc.cli.import_", "import_"),
    "capacity": ("kvcalc.cli.capacity", "capacity"),
    "traffic": ("kvcalc.cli.traffic", "traffic"),
    "log": ("kvcalc.cli.log", "log"),
    "fit": ("kvcalc.cli.fit", "fit"),
    "tiers": ("kvcalc.cli.tiers", "tiers"),
    "verify": ("kvcalc.cli.verify", "verify"),
    "mcp": ("kvcalc.cli.mcp", "mcp"),
}

_OVERVIEW = """\
kvcalc {version}: exact KV-cache, attention and parameter memory of transformer models

what a model takes         kvcalc estimate llama-3-8b --context 128k --batch 32
models side by side        kvcalc compare llama-3-8b deepseek-v3 --context 8k,128k
another attention          kvcalc compare llama-3-8b --attention mha,gqa,mqa,mla
does it fit                kvcalc fit llama-3-70b --gpu h100-80gb
the equations              kvcalc explain gemma-3-27b
what an engine allocates   kvcalc capacity qwen3-8b --gpu h100-80gb
why its log says so        kvcalc log vllm.log
in RAM and on disk         kvcalc tiers llama-3-8b --engine vllm --host 200GiB
the models it comes with   kvcalc models
a spec from a config       kvcalc import config.json -o my-model.yaml
hold specs, in CI          kvcalc check model_specs
what a branch changes      kvcalc diff --base origin/main
one page to send around    kvcalc report llama-3-8b gemma-3-27b -o report.html
all of it as a folder      kvcalc site -o site
against real PyTorch       kvcalc verify gemma-3-1b
for agents (MCP)           kvcalc mcp

'kvcalc COMMAND --help' shows a command's options.
"""


def build(commands: tuple[str, ...]) -> typer.Typer:
    """A typer application with these commands."""
    app = typer.Typer(
        name="kvcalc",
        # --install-completion is an option of kvcalc itself: no run of one command gets to it.
        add_completion=len(commands) != 1 or "_KVCALC_COMPLETE" in os.environ,
        help="Exact KV-cache, attention and parameter memory of transformer models.",
        pretty_exceptions_enable=False,
        # Panels would cut words, and cost as much as the answer.
        rich_markup_mode=None,
        context_settings={
            "help_option_names": ["-h", "--help"],
            "max_content_width": 100,
            "token_normalize_func": folded,
        },
    )
    app.callback(invoke_without_command=True)(_root)
    for command in commands:
        module, function = COMMANDS[command]
        app.command(command)(getattr(import_module(module), function))
    return app


def commands_of(names: tuple[str, ...]) -> dict[str, Any]:
    """These commands as typer sees them, with their parameters."""
    from typer.main import get_command

    group: Any = get_command(build(names))
    return {name: group.commands[name] for name in names}


def _root(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and its environment."),
) -> None:
    """Exact KV-cache, attention and parameter memory of transformer models."""
    if version:
        write(_environment() + "\n")
    elif ctx.invoked_subcommand is None:
        write(_OVERVIEW.format(version=__version__))


def _environment() -> str:
    """What a bug report needs: versions of what kvcalc runs on, of extras only if they are there."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    lines = [f"kvcalc {__version__} (Python {platform.python_version()}, {platform.platform()})"]
    for package in ("typer", "rich", "pyyaml", "torch", "transformers", "huggingface_hub",
                    "matplotlib"):  # fmt: skip
        try:
            lines.append(f"  {package} {version_of(package)}")
        except PackageNotFoundError:
            continue
    return "\n".join(lines)
