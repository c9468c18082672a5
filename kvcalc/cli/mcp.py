"""``kvcalc mcp``: kvcalc's commands as tools of the Model Context Protocol, for agents."""

from typing import TYPE_CHECKING, Any

from kvcalc.errors import MissingExtraError

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

INSTRUCTIONS = (
    "Exact memory of transformer models: KV cache, weights, what fits a GPU or a Mac, what a serving "
    "engine allocates, why a start-up log says what it says. Every number of bytes is an integer and "
    "comes from the model's tensors; what kvcalc does not know it refuses with a sentence, which is "
    "an answer: do not guess instead. Models are named as 'models' lists them, by hub id, or by the "
    "path of a config.json, a spec, a GGUF file or a checkpoint. A GiB is 2^30 bytes."
)


def mcp() -> None:
    """Commands as tools for an agent, over stdin and stdout.

    A server of the Model Context Protocol. It reads files that are named to it and writes none. It
    needs the extra: pip install 'kvcalc[mcp]'. A client starts it itself: "command": "kvcalc",
    "args": ["mcp"].

    Example: kvcalc mcp
    """
    try:
        import anyio
        from mcp.server.stdio import stdio_server
    except ImportError:
        raise MissingExtraError("kvcalc mcp needs the extra: pip install 'kvcalc[mcp]'") from None

    async def serve() -> None:
        made = server()
        async with stdio_server() as (reading, writing):
            await made.run(reading, writing, made.create_initialization_options())

    anyio.run(serve)


def server() -> "Server[Any]":
    """The server, with its tools; it runs on any transport of the SDK's."""
    import mcp_types as types
    from mcp.server.lowlevel import Server

    from kvcalc import __version__
    from kvcalc.cli import tools
    from kvcalc.errors import UsageError

    async def listed(context: Any, params: Any) -> types.ListToolsResult:
        reads = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=tool.name,
                    description=tool.described,
                    input_schema=tool.schema,
                    annotations=reads,
                )
                for tool in tools.tools()
            ]
        )

    async def called(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        # Nothing is awaited while a command has stdout and stdin, so no two ever have them.
        try:
            answer = tools.ask(params.name, params.arguments or {})
        except UsageError as error:
            answer = tools.Answered(2, error.message)
        text: list[types.ContentBlock] = [types.TextContent(type="text", text=answer.text)]
        return types.CallToolResult(
            content=text, structured_content=_structured(answer), is_error=answer.status == 2
        )

    return Server(
        "kvcalc",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=listed,
        on_call_tool=called,
    )


def _structured(answer: Any) -> Any:
    """The protocol takes an object; several models' are one under a name."""
    try:
        found = answer.objects
    except ValueError:
        return None
    return found if isinstance(found, dict) else {"answers": found}
