"""``--gpu this``: recorded outputs of each tool, and what is made of them."""

import json

import pytest

from kvcalc.deployment.this_machine import chosen, devices
from kvcalc.errors import NotFoundError, UsageError

MIB = 1 << 20
MEMINFO = "MemTotal:       65791236 kB\nMemFree:        1048576 kB\nMemAvailable:   50331648 kB\n"
ROCM = json.dumps({
    "card0": {"VRAM Total Memory (B)": "25753026560", "VRAM Total Used Memory (B)": "27111424",
              "Card Series": "Radeon RX 7900 XTX", "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]"},
    "system": {"Driver version": "6.8"},
})  # fmt: skip


def machine(**outputs: str):  # type: ignore[no-untyped-def]
    """An ``ask`` that answers with what a tool printed: by the tool, or by sysctl's key."""

    def ask(command: list[str]) -> str | None:
        key = command[-1] if command[0] == "sysctl" else command[0]
        return outputs.get(key.replace(".", "_").replace("-", "_"))

    return ask


def test_nvidia_smi_on_linux() -> None:
    line = "NVIDIA GeForce RTX 4090, 24564, 23011, 8.9\n"
    (device,) = devices("Linux", machine(nvidia_smi=line), lambda: MEMINFO)
    assert (device.name, device.bytes, device.free, device.sm) == (
        "rtx-4090", 24564 * MIB, 23011 * MIB, 89
    )  # fmt: skip
    assert device.note == "nvidia-smi prints 24,564 MiB, 23,011 MiB of it free"


def test_a_name_with_several_memories_is_told_by_the_memory() -> None:
    line = "NVIDIA GeForce RTX 3060, 12288, 11000, 8.6\n"
    (device,) = devices("Windows", machine(nvidia_smi=line), str)
    assert (device.name, device.system, device.bytes) == ("rtx-3060-12gb", "windows", 12288 * MIB)


def test_a_card_that_the_catalogue_lacks_keeps_its_own_figures() -> None:
    line = "NVIDIA Imaginary 9000, 50000, [N/A], 13.1\n"
    (device,) = devices("Linux", machine(nvidia_smi=line), str)
    assert (device.name, device.bytes, device.free, device.sm) == (
        "nvidia-imaginary-9000", 50000 * MIB, None, 131
    )  # fmt: skip


def test_several_cards() -> None:
    lines = "Tesla T4, 15360, 15000, 7.5\nNVIDIA L4, 23034, 22000, 8.9\n"
    found = devices("Linux", machine(nvidia_smi=lines), str)
    with pytest.raises(UsageError, match=r"this:0 \(t4\), this:1 \(l4\): say which"):
        chosen("this", found)
    assert chosen("this:1", found).name == "l4"
    with pytest.raises(UsageError, match="this:2: this machine has"):
        chosen("this:2", found)
    assert chosen("this", found[:1]).name == "t4"


def test_rocm_smi() -> None:
    (device,) = devices("Linux", machine(rocm_smi=ROCM), lambda: MEMINFO)
    assert (device.name, device.bytes, device.free) == ("rx-7900-xtx", 25753026560, 25725915136)


def test_a_mac_by_chip_memory_and_system() -> None:
    outputs = {"machdep_cpu_brand_string": "Apple M4 Pro\n", "hw_memsize": "51539607552\n",
               "iogpu_wired_limit_mb": "0\n", "sw_vers": "26.1\n"}  # fmt: skip
    (device,) = devices("Darwin", machine(**outputs), str)
    assert (device.name, device.bytes) == ("m4-pro-48gb", 40_200_900_000)
    (device,) = devices("Darwin", machine(**{**outputs, "sw_vers": "15.6\n"}), str)
    assert device.bytes == 36864 * MIB
    (device,) = devices("Darwin", machine(**{**outputs, "iogpu_wired_limit_mb": "43008\n"}), str)
    assert device.bytes == 43008 * MIB


def test_without_an_accelerator_the_memory_is_the_device() -> None:
    (device,) = devices("Linux", machine(), lambda: MEMINFO)
    assert (device.name, device.bytes, device.free) == ("ram", 65791236 << 10, 50331648 << 10)
    text = "\r\nFreePhysicalMemory=8000000\r\nTotalVisibleMemorySize=16649384\r\n"
    (device,) = devices("Windows", machine(wmic=text), str)
    assert (device.bytes, device.free) == (16649384 << 10, 8000000 << 10)


def test_a_machine_that_says_nothing() -> None:
    with pytest.raises(NotFoundError, match="--gpu NAME or --gpu-memory SIZE"):
        devices("Windows", machine(nvidia_smi="garbage\n"), str)
