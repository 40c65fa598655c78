"""Power, where the system tells without root: Intel and AMD energy counters (RAPL), batteries, INA sensors (hwmon)."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def sources(root: Path = Path("/")) -> list[str]:
    """Names of what can be read here: "rapl:package-0", "battery:BAT0", "ina:ina219" …"""
    found = [f"rapl:{name}" for name, _ in _rapl(root)]
    found += [f"battery:{path.name}" for path in _batteries(root)]
    found += [f"ina:{name}" for name, _ in _sensors(root)]
    return found


def energy_uj(root: Path = Path("/")) -> int | None:
    """Sum of the RAPL package counters in microjoules. They wrap: use differences over seconds, never absolutes.

    Linux 5.10 and newer let only root read them (CVE-2020-8694); None then.
    """
    values = [value for _, path in _rapl(root) if (value := _integer(path)) is not None]
    return sum(values) if values else None


def watts(root: Path = Path("/")) -> float | None:
    """Power drawn now by the first INA sensor or the discharging battery, in watts; RAPL has energy only."""
    for _, path in _sensors(root):
        if (value := _integer(path)) is not None:
            return round(value / 1e6, 3)
    for battery_folder in _batteries(root):
        if _word(battery_folder / "status") != "Discharging":
            continue
        if (value := _integer(battery_folder / "power_now")) is not None:
            return round(value / 1e6, 3)
        current, voltage = _integer(battery_folder / "current_now"), _integer(battery_folder / "voltage_now")
        if current is not None and voltage is not None:
            return round(abs(current) * voltage / 1e12, 3)
    return None


def battery(root: Path = Path("/")) -> dict[str, Any] | None:
    """Charge and status of the first battery: {"percent", "status"}."""
    for path in _batteries(root):
        return {"percent": _integer(path / "capacity"), "status": _word(path / "status")}
    return None


def _rapl(root: Path) -> list[tuple[str, Path]]:
    """Readable package domains; sub-domains (core, dram) are parts of them or not comparable."""
    found = []
    for folder in sorted((root / "sys/class/powercap").glob("*-rapl:[0-9]")):
        name = _word(folder / "name")
        if name and _integer(folder / "energy_uj") is not None:
            found.append((name, folder / "energy_uj"))
    return found


def _batteries(root: Path) -> list[Path]:
    folder = root / "sys/class/power_supply"
    return [path for path in sorted(folder.glob("*")) if _word(path / "type") == "Battery"]


def _sensors(root: Path) -> list[tuple[str, Path]]:
    """INA2xx and INA3221 power inputs, in microwatts (Documentation/hwmon/ina2xx.rst)."""
    found = []
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        name = _word(folder / "name") or ""
        if name.startswith("ina"):
            found += [(name, path) for path in sorted(folder.glob("power[0-9]*_input"))]
    return found


def _word(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace").strip() or None
    except OSError:
        return None


def _integer(path: Path) -> int | None:
    word = _word(path)
    try:
        return int(word) if word else None
    except ValueError:
        return None
