"""The catalogue: exact names and stated aliases, each with its memory and source; nothing else answers."""

import re
from pathlib import Path

import pytest

import kvcalc.deployment.hardware as hardware
from kvcalc.deployment import index
from kvcalc.deployment.hardware import catalogue, find, of_size
from kvcalc.errors import NotFoundError, UsageError

GIB = 1 << 30


def test_every_entry_has_a_source_and_a_name_of_its_own() -> None:
    devices = catalogue()
    names = [name for device in devices for name in (device.name, *device.aliases)]
    assert len(devices) >= 280
    assert len(names) == len(set(names))
    assert all(device.source and device.kind and device.vendor for device in devices)
    assert sum(device.measured for device in devices) >= 100


def test_the_index_is_up_to_date() -> None:
    again = "python -m kvcalc.deployment.index writes it"
    assert index.FILE.read_text("utf-8") == index.text(), again


def test_a_file_that_changed_is_read(tmp_path: Path) -> None:
    file = tmp_path / "hardware.yaml"
    file.write_text("- {name: a, aliases: [b], sm: 90}\n", "utf-8")
    assert index.content(file) == [{"name": "a", "aliases": ["b"], "sm": 90}]


def test_the_file_is_one_line_an_entry() -> None:
    """Names are read line by line, without what stands behind them."""
    text = Path(hardware.__file__).with_name("hardware.yaml").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"- \{name: [a-z0-9-]+, .*\}", line) for line in lines)
    assert len(lines) == sum(device.vendor != "Apple" for device in catalogue())


def test_every_name_and_alias_answers_for_its_own_device() -> None:
    for device in catalogue():
        for name in (device.name, *device.aliases, device.name.upper().replace("-", " ")):
            assert find(name).name == device.name


@pytest.mark.parametrize(
    ("text", "name"),
    [("4090", "rtx-4090"), ("rtx4090", "rtx-4090"), ("NVIDIA GeForce RTX 3090", "rtx-3090"),
     ("RTX_4060Ti 16GB", "rtx-4060-ti-16gb"), ("a100 80gb", "a100-80gb"), ("a10", "a10"),
     ("NVIDIA GeForce RTX 4060 Laptop GPU", "rtx-4060-laptop"), ("7900 XTX", "rx-7900-xtx"),
     ("AMD Radeon RX 7900 XT", "rx-7900-xt"), ("Apple M4 Pro 48GB", "m4-pro-48gb"),
     ("NVIDIA H100 80GB HBM3", "h100-80gb"), ("dgx-spark", "gb10"), ("Intel Arc B580", "arc-b580")],
)  # fmt: skip
def test_a_name_is_known_however_it_is_spelt(text: str, name: str) -> None:
    assert find(text).name == name


@pytest.mark.parametrize(
    ("name", "gib"),
    [("rtx-4060", 8), ("RTX 5070", 12), ("2080", 8), ("rtx-5060", 8), ("rtx-4070", 12),
     ("rtx-3060-ti", 8), ("rtx-4080-laptop", 12), ("rtx-4090-laptop", 16), ("rx-7600", 8),
     ("rtx-4070-ti-super", 16), ("titan-rtx", 24), ("rtx-a4500", 20), ("mi355x", 288)],
)  # fmt: skip
def test_a_product_has_its_own_memory(name: str, gib: int) -> None:
    """Makers' pages. An RTX 4060 is no 4060 Ti, an RTX 2080 no 2080 Ti."""
    device = find(name)
    assert device.nominal == f"{gib}GiB"
    assert 0.9 * gib * GIB < device.bytes <= gib * GIB


@pytest.mark.parametrize(
    ("name", "told"),
    [("rx 7900", "rx-7900-gre (16 GiB), rx-7900-xt (20 GiB) or rx-7900-xtx (24 GiB): say which"),
     ("3080", "rtx-3080-10gb (10 GiB), rtx-3080-12gb (12 GiB),"),
     ("rtx-3060", "rtx-3060-8gb (8 GiB), rtx-3060-12gb (12 GiB),"),
     ("A100", "may be a100-40gb (40 GiB), a100-80gb (80 GiB) or a100-pcie-80gb (80 GiB): say which"),
     ("m3-max", "m3-max-36gb (36 GiB), m3-max-48gb (48 GiB), m3-max-64gb (64 GiB), "
                "m3-max-96gb (96 GiB) or m3-max-128gb (128 GiB): say which"),
     ("m3-max-63gb", "m3-max-64gb (64 GiB)"), ("rtx-4090-16gb", "rtx-4090 (24 GiB)")],
)  # fmt: skip
def test_several_memories_are_refused_with_each(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        find(name)


@pytest.mark.parametrize(
    "name", ["h101", "h10", "rtx-4065", "rtx-9090", "m6-max", "mi400", "gpu", ""]
)
def test_what_there_is_not_gets_no_other_product(name: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find(name)
    assert "did you mean" not in str(caught.value)


def test_a_slip_of_the_keyboard_is_told_with_the_memory() -> None:
    with pytest.raises(
        NotFoundError, match=re.escape("did you mean jetson-agx-orin-64gb (64 GiB)?")
    ):
        find("jetsn-agx-orin-64gb")


def test_a_measured_device_carries_the_range_of_its_last_digit() -> None:
    """79.19 GiB, as vLLM printed it: 85,029,615,042 bytes, half of 0.01 GiB either way."""
    device = find("H100")
    assert device.bytes == 85_029_615_042
    assert (device.bytes - device.least, device.most - device.bytes) == (5_368_709, 5_368_709)
    assert device.measured


@pytest.mark.parametrize(
    ("name", "num_bytes", "measured"),
    [("rtx-4080", 17_179_869_184, False), ("rtx-4080-windows", 17_169_131_765, True),
     ("b200", 191_501_854_310, True), ("tpu-v6e", 33_550_237_696, True),
     ("h100-nvl", 100_931_731_456, False), ("rtx-5070-ti-windows", 17_093_885_952, True),
     ("rtx-4070", 12_442_402_816, True), ("rtx-4070-windows", 12_877_561_856, True)],
)  # fmt: skip
def test_memories_are_multiples_of_binary_units(name: str, num_bytes: int, measured: bool) -> None:
    """15.99 GiB (EasyPhoto #281), 178.35 (pytorch/ao PR 4002), 33,550,237,696 B (vllm PR 16211),
    16,302, 11,866 and 12,281 MiB (ggml_cuda_init)."""
    assert (find(name).bytes, find(name).measured) == (num_bytes, measured)


def test_a_system_of_which_no_log_was_found_is_refused() -> None:
    with pytest.raises(
        UsageError, match="what windows shows of h100-80gb is not known; known is linux"
    ):
        find("h100-windows")


@pytest.mark.parametrize(
    ("name", "num_bytes"),
    [("m4-16gb", 12_713_120_000), ("m4-16gb-older-macos", 11_453_250_000),
     ("m3-max-64gb", 55_662_790_000), ("m4-pro-48gb", 40_200_900_000), ("m4-max-36gb", 28_991_030_000),
     ("m5-max-128gb", 115_448_720_916), ("m2-ultra-192gb", 154_618_822_656)],
)  # fmt: skip
def test_what_macos_lets_the_gpu_wire(name: str, num_bytes: int) -> None:
    """recommendedMaxWorkingSetSize as Metal printed it, by memory and system (apple.yaml)."""
    device = find(name)
    assert device.bytes == num_bytes
    assert device.unified
    assert device.vendor == "Apple"


def test_plain_memory_is_a_device() -> None:
    assert (find("ram-64gb").bytes, find("ram-64gb").unified) == (64 * GIB, True)


def test_a_size_needs_its_unit() -> None:
    with pytest.raises(UsageError, match="--gpu-memory: '80G' is ambiguous"):
        of_size("80G")
    with pytest.raises(UsageError, match="--gpu-memory: '24' has no unit: write 24GiB"):
        of_size("24")


def test_compute_capabilities() -> None:
    """9.0, 8.9, 12.1, 6.0: https://developer.nvidia.com/cuda-gpus; other vendors have none."""
    names = ("h200", "l4", "gb10", "p100", "mi300x")
    assert [find(name).sm for name in names] == [90, 89, 121, 60, 0]
    assert of_size("80GiB").sm is None
    assert all(device.sm for device in catalogue() if device.vendor == "NVIDIA")


@pytest.mark.parametrize(
    ("text", "named"),
    [("2x3090", ["3090", "3090"]), ("2x 3090", ["3090", "3090"]), ("rtx 3090 x2", ["rtx 3090", "rtx 3090"]),
     ("3090,4090", ["3090", "4090"]), ("8×H100", ["H100"] * 8), ("rx 7900 xtx", ["rx 7900 xtx"]),
     ("m4 max 128gb", ["m4 max 128gb"])],
)  # fmt: skip
def test_a_number_of_equal_devices_as_people_write_it(text: str, named: list[str]) -> None:
    from kvcalc.deployment.where import listed

    assert listed(text) == tuple(named)


@pytest.mark.parametrize(
    ("text", "name"),
    [("r9700", "radeon-ai-pro-r9700"), ("w7900", "radeon-pro-w7900"), ("b60", "arc-pro-b60"),
     ("b70", "arc-pro-b70"), ("910b", "ascend-910b"), ("pro 6000", "rtx-pro-6000"),
     ("Mac Studio M3 Ultra 512GB", "m3-ultra-512gb"), ("MacBook Pro M3 Max 36GB", "m3-max-36gb")],
)  # fmt: skip
def test_short_names_and_the_macs_around_a_chip(text: str, name: str) -> None:
    assert find(text).name == name


def test_one_known_memory_of_several_that_are_sold_is_not_a_choice() -> None:
    told = r"known is strix-halo-128gb \(128 GiB\), and it is sold with other memory"
    with pytest.raises(UsageError, match=told):
        find("strix halo")
