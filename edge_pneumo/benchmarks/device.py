"""What a benchmark ran on. Every fact is optional: one that this system does not tell is None, never an error, and
nothing needs root. All files are read below `root`, so that tests can bring a Raspberry Pi on a folder.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge_pneumo.benchmarks import power
from edge_pneumo.edge_runtime.processor import cpu_features

Command = Callable[[Sequence[str]], str | None]

# /proc/cpuinfo on ARM gives part numbers only (Arm's MIDR_EL1 tables; the parts in Raspberry Pis and common boards).
ARM_PARTS = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd49": "Neoverse-N2",
}

# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
THROTTLE_BITS = {
    0: "under-voltage now",
    1: "frequency capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "under-voltage has occurred",
    17: "frequency capping has occurred",
    18: "throttling has occurred",
    19: "soft temperature limit has occurred",
}


def run_command(arguments: Sequence[str]) -> str | None:
    """Output of a short command, or None if it is missing, fails or takes over five seconds."""
    if shutil.which(arguments[0]) is None:
        return None
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, errors="replace", timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def probe(root: Path = Path("/"), command: Command = run_command) -> dict[str, Any]:
    """Everything that does not change while a benchmark runs, plus the state now.

    Returns
    -------
    board, cpu, cpu_features, cores, clock_mhz (min, max), governor, memory {total_mb}, os, kernel, architecture,
    virtual, gpu [{name, driver, software}], power_sources, load_average, python, and `state` (see `state`).
    """
    cpuinfo = _text(root, "proc/cpuinfo") or ""
    return {
        "board": board(root),
        "cpu": cpu_model(cpuinfo),
        "cpu_features": cpu_features(cpuinfo),
        "cores": usable_cores(root),
        "clock_mhz": clock_limits(root, cpuinfo),
        "governor": _text(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory": {"total_mb": _meminfo_mb(root, "MemTotal"), "available_mb": _meminfo_mb(root, "MemAvailable")},
        "os": _os_name(root),
        "kernel": _text(root, "proc/sys/kernel/osrelease"),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "virtual": "hypervisor" in cpuinfo.split() or None,
        "gpu": gpus(root, command),
        "power_sources": power.sources(root),
        "load_average": load_average(root),
        "state": state(root, command),
    }


def state(root: Path = Path("/"), command: Command = run_command) -> dict[str, Any]:
    """What changes while a benchmark runs: temperature_c, clock_mhz now, throttle flags, power_w, battery."""
    return {
        "temperature_c": temperature_c(root),
        "clock_mhz": clock_now(root),
        "throttle": throttle(command),
        "power_w": power.watts(root),
        "battery": power.battery(root),
    }


def board(root: Path = Path("/")) -> str | None:
    """Board name from the device tree ("Raspberry Pi 4 Model B Rev 1.4") or, on a PC, vendor and product."""
    for path in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        if model := _text(root, path):
            return model
    parts = [_text(root, f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
    return " ".join(part for part in parts if part) or None


def cpu_model(cpuinfo: str) -> str | None:
    """Model name on x86; on ARM the core names of all clusters, e.g. "4 x Cortex-A72"."""
    if names := re.findall(r"^model name\s*:\s*(.+)$", cpuinfo, re.M):
        return names[0].strip()
    parts = re.findall(r"^CPU part\s*:\s*(\S+)$", cpuinfo, re.M)
    counts = {part: parts.count(part) for part in dict.fromkeys(parts)}
    return " + ".join(f"{n} x {ARM_PARTS.get(part, f'ARM part {part}')}" for part, n in counts.items()) or None


def clock_limits(root: Path, cpuinfo: str) -> dict[str, int] | None:
    """Lowest and highest clock in MHz, from cpufreq; where that is missing, the one that /proc/cpuinfo tells."""
    folder = "sys/devices/system/cpu/cpu0/cpufreq"
    low, high = _number(root, f"{folder}/cpuinfo_min_freq"), _number(root, f"{folder}/cpuinfo_max_freq")
    if low and high:
        return {"min": round(low / 1000), "max": round(high / 1000)}
    if clocks := re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", cpuinfo, re.M):
        return {"min": round(min(map(float, clocks))), "max": round(max(map(float, clocks)))}
    return None


def clock_now(root: Path = Path("/")) -> int | None:
    """Mean clock of all cores now, in MHz."""
    policies = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    clocks = [number for path in policies if (number := _number(root, str(path.relative_to(root))))]
    if not clocks:
        clocks = [
            1000 * float(c) for c in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", _text(root, "proc/cpuinfo") or "", re.M)
        ]
    return round(sum(clocks) / len(clocks) / 1000) if clocks else None


def temperature_c(root: Path = Path("/")) -> float | None:
    """Hottest CPU or SoC thermal zone in degrees Celsius; any zone where none says that it is the CPU's."""
    zones: list[tuple[bool, float]] = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        value = _number(root, str((zone / "temp").relative_to(root)))
        kind = (_text(root, str((zone / "type").relative_to(root))) or "").lower()
        if value is not None and -40_000 < value < 150_000:
            zones.append((bool(re.search(r"cpu|soc|x86_pkg|core", kind)), value / 1000))
    if not zones:
        return None
    cpu_zones = [value for is_cpu, value in zones if is_cpu]
    return round(max(cpu_zones or [value for _, value in zones]), 1)


def throttle(command: Command = run_command) -> dict[str, Any] | None:
    """Raspberry Pi's throttle and under-voltage flags, decoded; None on other boards."""
    return decode_throttle(command(("vcgencmd", "get_throttled")) or "")


def decode_throttle(answer: str) -> dict[str, Any] | None:
    """Decode vcgencmd's "throttled=0x50005" to {"raw", "flags": [words]}; None if it is no such line."""
    found = re.search(r"throttled=(0x[0-9a-fA-F]+)", answer)
    if not found:
        return None
    value = int(found.group(1), 16)
    return {"raw": found.group(1), "flags": [word for bit, word in THROTTLE_BITS.items() if value >> bit & 1]}


def gpus(root: Path = Path("/"), command: Command = run_command) -> list[dict[str, Any]]:
    """GPUs with their driver. SwiftShader and llvmpipe, named by the Vulkan loader's variables, are marked software."""
    found: list[dict[str, Any]] = []
    listing = command(("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"))
    for line in (listing or "").splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 3:
            found.append({"name": fields[0], "driver": fields[1], "memory_mb": _int(fields[2]), "software": False})
    for card in sorted((root / "sys/class/drm").glob("card[0-9]")):
        link = card / "device/driver"
        driver = link.resolve().name if link.exists() else None
        if driver and not (driver.startswith("nvidia") and found):
            found.append({"name": f"{card.name} ({driver})", "driver": driver, "memory_mb": None, "software": False})
    if software := software_vulkan():
        found.append({"name": software, "driver": software, "memory_mb": None, "software": True})
    return found


def software_vulkan() -> str | None:
    """Name of the software Vulkan driver that this process is told to use, or None."""
    named = os.environ.get("VK_DRIVER_FILES") or os.environ.get("VK_ICD_FILENAMES") or ""
    if "swiftshader" in named.lower():
        return "SwiftShader"
    return "llvmpipe" if "lvp_icd" in named.lower() else None


def busy_seconds(root: Path = Path("/")) -> float | None:
    """CPU seconds used by all processes since the machine started, and those stolen from a virtual machine."""
    found = re.search(r"^cpu +(.+)$", _text(root, "proc/stat") or "", re.M)
    if not found:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = [int(word) for word in found.group(1).split()] + [
        0
    ] * 8
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def load_average(root: Path = Path("/")) -> float | None:
    """One-minute load average."""
    found = re.match(r"\d+\.\d+", _text(root, "proc/loadavg") or "")
    return float(found.group()) if found else None


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process may use."""
    if root == Path("/"):
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, len(re.findall(r"^processor\s*:", _text(root, "proc/cpuinfo") or "", re.M)))


def _meminfo_mb(root: Path, key: str) -> int | None:
    found = re.search(rf"^{key}:\s*(\d+) kB", _text(root, "proc/meminfo") or "", re.M)
    return round(int(found.group(1)) / 1024) if found else None


def _os_name(root: Path) -> str | None:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)"?', _text(root, "etc/os-release") or "", re.M)
    return found.group(1) if found else None


def _text(root: Path, path: str) -> str | None:
    """A small file's text without the device tree's trailing NUL; None where it cannot be read."""
    try:
        return (root / path).read_text("utf-8", "replace").strip("\0 \n") or None
    except OSError:
        return None


def _number(root: Path, path: str) -> float | None:
    text = _text(root, path)
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _int(text: str) -> int | None:
    return int(text) if text.isdigit() else None
