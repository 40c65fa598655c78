"""Which instruction sets a processor has, from the text of /proc/cpuinfo."""

from __future__ import annotations

import re

# Features that decide how fast int8 and float kernels are (XNNPACK picks its kernels by these).
ARM_FEATURES = {"asimd": "neon", "neon": "neon", "asimdhp": "fp16", "asimddp": "dotprod", "i8mm": "i8mm", "sve": "sve"}
X86_FEATURES = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")


def cpu_features(cpuinfo: str) -> list[str]:
    """The instruction sets that matter for inference, in one spelling: dotprod, i8mm, avx_vnni, avx512_vnni …"""
    lines = re.findall(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.M)
    flags = set(lines[0].split()) if lines else set()
    arm = [name for flag, name in ARM_FEATURES.items() if flag in flags]
    return list(dict.fromkeys([*arm, *(flag for flag in X86_FEATURES if flag in flags)]))
