"""What a guest program sees of each emulated Raspberry Pi.

LiteRT asks the kernel's files which processor it runs on and chooses its kernels by the answer. Under plain emulation
it would read the x86 host's files: XNNPACK would stay off, or the library would crash (pytorch/cpuinfo counts no cache
on a processor it does not know). So each board brings files of its own, and they must agree with QEMU's `-cpu`: the
same part number, and no feature that the emulated core lacks. `-cpu max` is not offered: its int8 results are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Board:
    """One board: its core as QEMU names it, and what Linux prints of it on the real board.

    Attributes
    ----------
    name : short name on our command line.
    title : for people.
    cpu : QEMU's `-cpu`.
    part, variant, revision : MIDR_EL1 fields as /proc/cpuinfo shows them.
    features : /proc/cpuinfo's flags that the core has and QEMU emulates.
    l2_kb, l2_shared : size of the second-level cache, and whether the four cores share one.
    """

    name: str
    title: str
    cpu: str
    part: int
    variant: int
    revision: int
    features: str
    l2_kb: int
    l2_shared: bool


_V8_0 = "fp asimd evtstrm crc32 cpuid"
BOARDS = {
    board.name: board
    for board in (
        Board("pi3", "Raspberry Pi 3 (Cortex-A53)", "cortex-a53", 0xD03, 0, 4, _V8_0, 512, True),
        Board("pi4", "Raspberry Pi 4 (Cortex-A72)", "cortex-a72", 0xD08, 0, 3, _V8_0, 1024, True),
        Board(
            "pi5",
            "Raspberry Pi 5 (Cortex-A76)",
            "cortex-a76",
            0xD0B,
            4,
            1,
            "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
            512,
            False,
        ),
    )
}
CORES = 4


def write_board(board: Board, root: Path, folder: Path) -> None:
    """Make a prefix for QEMU's `-L`: the guest's Debian by links, and the board's own /proc and /sys.

    Parameters
    ----------
    root : the unpacked arm64 userland.
    folder : the prefix to make.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for entry in root.iterdir():
        link = folder / entry.name
        if not link.is_symlink():
            link.symlink_to(entry)
    _write(folder / "proc" / "cpuinfo", "".join(_cpuinfo(board, core) for core in range(CORES)))
    system = folder / "sys" / "devices" / "system" / "cpu"
    everyone = f"0-{CORES - 1}"
    for name in ("present", "possible", "online"):
        _write(system / name, everyone)
    _write(system / "kernel_max", "255")
    for core in range(CORES):
        topology, cache = system / f"cpu{core}" / "topology", system / f"cpu{core}" / "cache" / "index2"
        _write(topology / "physical_package_id", "0")
        for name in ("core_siblings_list", "package_cpus_list", "cluster_cpus_list"):
            _write(topology / name, everyone)
        _write(cache / "level", "2")
        _write(cache / "type", "Unified")
        _write(cache / "size", f"{board.l2_kb}K")
        _write(cache / "shared_cpu_list", everyone if board.l2_shared else str(core))


def _cpuinfo(board: Board, core: int) -> str:
    lines = (
        ("processor", core),
        ("BogoMIPS", "108.00"),
        ("Features", board.features),
        ("CPU implementer", "0x41"),
        ("CPU architecture", 8),
        ("CPU variant", hex(board.variant)),
        ("CPU part", hex(board.part)),
        ("CPU revision", board.revision),
    )
    return "".join(f"{key}\t: {value}\n" for key, value in lines) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.endswith("\n") else text + "\n")
