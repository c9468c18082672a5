"""What ``kvcalc explain`` says of a model's towers: each tensor with its shape, and what it comes to."""

from collections.abc import Iterator
from typing import Any

from kvcalc.memory.towers import tower_groups
from kvcalc.spec.model import ModelSpec


def tower_objects(spec: ModelSpec) -> list[dict[str, Any]]:
    """Every tower with its tensors; ``layers`` is how many layers own such a tensor, 1 for one."""
    found = []
    for name, tower in spec.towers.items():
        prefix = f"towers.{name}."
        groups = [group for group in tower_groups(spec) if group.prefix.startswith(prefix)]
        tensors: list[dict[str, Any]] = [
            {
                "name": group.prefix.removeprefix(prefix) + tensor.name,
                "shape": list(tensor.shape),
                "layers": group.count,
                "parameters": tensor.numel * group.count,
                "buffer": tensor.buffer,
            }
            for group in groups
            for tensor in group.tensors
        ]
        found.append({
            "name": name, "kind": tower.kind, "component": tower.component,
            "parameters": sum(each["parameters"] for each in tensors if not each["buffer"]),
            "tensors": tensors,
        })  # fmt: skip
    return found


def tower_lines(spec: ModelSpec) -> Iterator[str]:
    """The same in lines that can be checked by hand."""
    towers = tower_objects(spec)
    if not towers:
        return
    yield "Beside the language model: towers and projectors, which keep no cache"
    for tower in towers:
        yield (
            f"  {tower['name']}: {tower['kind']}, {tower['component']}, "
            f"{tower['parameters']:,} parameters ('kvcalc explain {tower['kind']}' has its equation)"
        )
        for tensor in tower["tensors"]:
            shape = " * ".join(map(str, tensor["shape"]))
            times = f" * {tensor['layers']} layers" if "{}" in tensor["name"] else ""
            name = tensor["name"].replace("{}", "N")
            about = " (a buffer, not in the sum)" if tensor["buffer"] else ""
            yield f"    {name}: {shape}{times} = {tensor['parameters']:,}{about}"
    total = sum(tower["parameters"] for tower in towers)
    yield f"  together {total:,} parameters"
    yield ""
