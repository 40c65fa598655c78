"""The device probe on made-up file systems: a Raspberry Pi 4, a laptop, and nothing at all."""

from __future__ import annotations

import json

import pytest

from edge_pneumo.benchmarks import device, power

PI_CPUINFO = "".join(
    f"processor\t: {i}\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n"
    for i in range(4)
)
PI = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/cpuinfo": PI_CPUINFO,
    "proc/meminfo": "MemTotal:        3884356 kB\nMemAvailable:    3400000 kB\n",
    "proc/loadavg": "0.08 0.03 0.01 1/150 900\n",
    "proc/sys/kernel/osrelease": "6.6.31-v8\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48199\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_min_freq": "600000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1800000\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "600000\n",
    "sys/class/hwmon/hwmon0/name": "ina219\n",
    "sys/class/hwmon/hwmon0/power1_input": "3250000\n",
}
LAPTOP = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Some Core i5\ncpu MHz\t\t: 2400.5\n"
    "flags\t\t: fpu avx2 fma avx_vnni hypervisor\n",
    "sys/class/dmi/id/sys_vendor": "Maker\n",
    "sys/class/dmi/id/product_name": "Book 14\n",
    "sys/class/thermal/thermal_zone0/type": "acpitz\n",
    "sys/class/thermal/thermal_zone0/temp": "30000\n",
    "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone1/temp": "55000\n",
    "sys/class/power_supply/BAT0/type": "Battery\n",
    "sys/class/power_supply/BAT0/status": "Discharging\n",
    "sys/class/power_supply/BAT0/capacity": "83\n",
    "sys/class/power_supply/BAT0/current_now": "1000000\n",
    "sys/class/power_supply/BAT0/voltage_now": "12000000\n",
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "123456\n",
    "sys/class/powercap/intel-rapl:0:0/name": "core\n",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "1\n",
}


def build(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def answers(**known):
    return lambda arguments: known.get(arguments[0].replace("-", "_"))


def test_raspberry_pi(tmp_path):
    found = device.probe(build(tmp_path, PI), answers(vcgencmd="throttled=0x50005\n"))
    assert found["board"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert found["cpu"] == "4 x Cortex-A72"
    assert found["cpu_features"] == ["neon"]
    assert found["cores"] == 4
    assert found["clock_mhz"] == {"min": 600, "max": 1800}
    assert found["governor"] == "ondemand"
    assert found["memory"]["total_mb"] == 3793
    assert found["os"] == "Debian GNU/Linux 12 (bookworm)"
    assert found["power_sources"] == ["ina:ina219"]
    assert found["state"]["temperature_c"] == 48.2
    assert found["state"]["clock_mhz"] == 1200
    assert found["state"]["power_w"] == 3.25
    assert found["state"]["throttle"]["flags"] == [
        "under-voltage now",
        "throttled now",
        "under-voltage has occurred",
        "throttling has occurred",
    ]


def test_laptop(tmp_path):
    found = device.probe(build(tmp_path, LAPTOP), answers(nvidia_smi="Some RTX, 550.1, 8192\n"))
    assert found["board"] == "Maker Book 14"
    assert found["cpu_features"] == ["avx2", "fma", "avx_vnni"]
    assert found["virtual"] is True
    assert found["state"]["temperature_c"] == 55.0  # the package, not the board
    assert found["state"]["power_w"] == 12.0
    assert found["state"]["battery"] == {"percent": 83, "status": "Discharging"}
    assert found["gpu"] == [{"name": "Some RTX", "driver": "550.1", "memory_mb": 8192, "software": False}]
    assert power.energy_uj(tmp_path) == 123456  # sub-domains are parts of the package


def test_a_system_that_tells_nothing_is_no_error(tmp_path):
    found = device.probe(tmp_path, answers())
    assert found["board"] is None
    assert found["cpu"] is None
    assert found["state"]["temperature_c"] is None
    assert found["gpu"] == []
    json.dumps(found)


@pytest.mark.parametrize("text", ["", "garbage", "-1", "\x00\xff"])
def test_damaged_files_are_no_error(tmp_path, text):
    build(tmp_path, dict.fromkeys([*PI, *LAPTOP], text))
    json.dumps(device.probe(tmp_path, answers(vcgencmd=text, nvidia_smi=text)))


@pytest.mark.parametrize(
    ("answer", "flags"),
    [
        ("throttled=0x0", []),
        ("throttled=0x50000", ["under-voltage has occurred", "throttling has occurred"]),
        ("throttled=0x8", ["soft temperature limit now"]),
    ],
)
def test_throttle_bits(answer, flags):
    decoded = device.decode_throttle(answer)
    assert decoded is not None
    assert decoded["flags"] == flags


def test_no_vcgencmd_is_none():
    assert device.decode_throttle("error=1 error_msg='Command not registered'") is None


def test_this_machine_is_probed_without_error():
    found = device.probe()
    assert found["cores"] >= 1
    json.dumps(found)


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("VK_ICD_FILENAMES", "/usr/lib/chromium/vk_swiftshader_icd.json", "SwiftShader"),
        ("VK_DRIVER_FILES", "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json", "llvmpipe"),
        ("VK_DRIVER_FILES", "/usr/share/vulkan/icd.d/nvidia_icd.json", None),
    ],
)
def test_software_gpus_are_known_by_name(monkeypatch, variable, value, name):
    monkeypatch.delenv("VK_ICD_FILENAMES", raising=False)
    monkeypatch.delenv("VK_DRIVER_FILES", raising=False)
    monkeypatch.setenv(variable, value)
    assert device.software_vulkan() == name
