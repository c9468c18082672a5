"""The MCP server, asked by the SDK's own client; what its tools say is what the commands say."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kvcalc.cli import tools
from kvcalc.errors import UsageError

WRITING = ("output", "force", "plot")


def test_every_tool_is_a_command_with_the_commands_own_arguments() -> None:
    found = {tool.name: tool for tool in tools.tools()}
    assert {"estimate", "fit", "capacity", "explain"} <= set(found)
    assert {"context", "batch", "kv_dtype", "models"} <= set(found["estimate"].schema["properties"])
    for tool in found.values():
        assert tool.described
        assert not set(tool.schema["properties"]) & {*WRITING, "format"}
        for name, node in tool.schema["properties"].items():
            assert node["description"], (tool.name, name)


def test_an_answer_is_the_commands_json() -> None:
    answer = tools.ask("estimate", {"models": ["llama-3-8b"], "context": "8k"})
    assert answer.status == 0
    # 2 * 32 layers * 8 heads * 128 * 2 bytes * 8192 tokens: Llama 3's config.json.
    assert answer.objects["cache"]["bytes"] == 1073741824


def test_a_verdict_is_no_error_and_bad_input_is_the_commands_sentence() -> None:
    no = tools.ask("fit", {"models": ["llama-3-70b"], "gpu": ["rtx-4090"], "context": 8192})
    assert (no.status, no.objects["fits"]) == (1, False)
    wrong = tools.ask("estimate", {"models": ["llama-3-8b"], "kv_dtype": "fp7"})
    assert wrong.status == 2
    assert "fp7" in wrong.objects["error"]["message"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "llama-3-8b"}, "estimate has no model (did you mean 'models'?)"),
        ({"models": ["llama-3-8b"], "expert_parallel": "yes"}, "estimate has no expert_parallel"),
        ({"models": ["llama-3-8b"], "format": "csv"}, "estimate has no format"),
    ],
)
def test_arguments_that_are_none_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        tools.ask("estimate", given)
    assert said in refused.value.message


def test_a_model_is_never_an_option() -> None:
    answer = tools.ask("estimate", {"models": ["--format=csv"]})
    assert answer.status == 2
    assert answer.objects["error"]["kind"] == "not_found"


def test_what_an_agent_has_at_hand_needs_no_file() -> None:
    answer = tools.ask("traffic", {"models": ["llama-3-8b"], "text": "100\n200\n"})
    assert (answer.objects["requests"], answer.objects["tokens"]) == (2, 300)
    with pytest.raises(UsageError, match="not both"):
        tools.ask("traffic", {"models": ["llama-3-8b"], "text": "1", "lengths": "a.csv"})


@pytest.mark.slow
def test_the_sdks_client_lists_and_calls(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    import anyio
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    async def asked() -> tuple[Any, Any, Any, Any]:
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "kvcalc", "mcp"], cwd=tmp_path
        )
        with anyio.fail_after(60):
            async with Client(stdio_client(command)) as client:
                listed = await client.list_tools()
                one = await client.call_tool(
                    "capacity", {"model": "llama-3-8b", "available": "20GiB", "max_model_len": 8192}
                )
                two = await client.call_tool("estimate", {"models": ["llama-3-8b", "qwen3-8b"]})
                bad = await client.call_tool("explain", {"model": "no-such-model"})
                return listed, one, two, bad

    listed, one, two, bad = anyio.run(asked)
    assert [tool.name for tool in listed.tools] == [tool.name for tool in tools.tools()]
    assert all(tool.annotations.read_only_hint for tool in listed.tools)
    # vLLM's blocks of 16 tokens of 128 KiB: 20 GiB / 2 MiB.
    assert one.structured_content["pool"]["num_blocks"] == 10240
    assert not one.is_error
    assert json.loads(one.content[0].text) == one.structured_content
    assert [each["model"]["name"] for each in two.structured_content["answers"]] == [
        "llama-3-8b", "qwen3-8b",
    ]  # fmt: skip
    assert bad.is_error
    assert "no-such-model" in bad.content[0].text
