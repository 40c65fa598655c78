"""Build the emulated Raspberry Pis: a Debian arm64 userland, aarch64 wheels, and one QEMU prefix a board.

No root, no chroot, no container, no binfmt: packages are unpacked into a cache folder, and `qemu-aarch64` runs the
arm64 Python as an ordinary process that sees the board's files first and the host's after. Packages come from the
host's own apt and pip settings.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edge_pneumo.benchmarks.arm.boards import BOARDS, write_board
from edge_pneumo.edge_runtime.backends import package_version
from edge_pneumo.edge_runtime.sandbox import cache_dir
from edge_pneumo.errors import EdgePneumoError

DEBIAN_PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
WHEELS = ("ai-edge-litert", "numpy", "Pillow", "pydicom", "click")
# pip does not expand one platform tag to the older ones that it includes
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28", "manylinux_2_31", "manylinux_2_34")
PROJECT = Path(__file__).parents[3]


class EmulatorUnavailable(EdgePneumoError):
    """This machine cannot emulate the boards; the message says what is missing."""

    exit_code = 4


@dataclass(frozen=True)
class Emulator:
    """The built boards. `work` holds everything and may be deleted at will."""

    work: Path
    python: str
    wheels: tuple[str, ...]

    def command(self, board: str, arguments: list[str], plugin: str | None = None) -> list[str]:
        """The host command that runs the guest's Python on a board; `plugin` is QEMU's `-plugin` value."""
        qemu = ["qemu-aarch64", *(["-plugin", plugin] if plugin else [])]
        prefix = ["-cpu", BOARDS[board].cpu, "-L", str(self.work / board)]
        return [*qemu, *prefix, str(self.work / "root" / "usr" / "bin" / f"python{self.python}"), *arguments]

    def run(
        self, board: str, arguments: list[str], *, plugin: str | None = None, timeout_s: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run the guest's Python on a board, with edge-pneumo and its wheels importable.

        Raises
        ------
        subprocess.CalledProcessError : the guest failed; its standard error is in the exception.
        """
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "QEMU", "LD_", "VIRTUAL_ENV"))}
        environment = {
            **kept,
            "PYTHONPATH": os.pathsep.join([str(self.work / "guest"), str(self.work / "site"), str(PROJECT)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "EDGE_PNEUMO_GUEST_PYTHON": str(self.work / f"python-{board}"),
            "XDG_CACHE_HOME": str(self.work / "home"),
        }
        return subprocess.run(
            self.command(board, arguments, plugin),
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=self.work,
        )


def default_work_dir() -> Path:
    """Where the boards are built unless the caller says otherwise: the user's cache folder."""
    return cache_dir() / "arm"


def build(work: Path | None = None) -> Emulator:
    """Build the boards, or use what an earlier call built (about 10 s and 200 MB the first time).

    Raises
    ------
    EmulatorUnavailable : not Linux with Debian's tools, QEMU is missing, or packages cannot be fetched.
    """
    work = (work or default_work_dir()).resolve()
    suite = _check_host()
    python = DEBIAN_PYTHON[suite]
    # the same versions as here, so that only the processor differs
    wanted = {"suite": suite, "layout": 2, "wheels": [f"{name}=={package_version(name)}" for name in WHEELS]}
    stamp = work / "built.json"
    if not stamp.is_file() or json.loads(stamp.read_text()) != wanted:
        for part in ("root", "site", *BOARDS):
            shutil.rmtree(work / part, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        try:
            _unpack_debian(work, suite)
            _fetch_wheels(work / "site", python, wanted["wheels"])
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout or "").strip().splitlines()[-3:]
            raise EmulatorUnavailable(
                f"{error.cmd[0]} failed while fetching arm64 packages: {' / '.join(said)}"
            ) from error
        for board in BOARDS.values():
            write_board(board, work / "root", work / board.name)
        stamp.write_text(json.dumps(wanted))
    emulator = Emulator(work, python, tuple(wanted["wheels"]))
    _write_launchers(emulator)
    return emulator


def _check_host() -> str:
    """The Debian suite to emulate."""
    if sys.platform != "linux":
        raise EmulatorUnavailable("emulated boards need Linux")
    missing = [tool for tool in ("apt-get", "dpkg-deb", "qemu-aarch64") if shutil.which(tool) is None]
    if missing:
        raise EmulatorUnavailable(f"{', '.join(missing)} not found. On Debian: apt-get install qemu-user")
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    if suite not in DEBIAN_PYTHON:
        raise EmulatorUnavailable(f"emulated boards were tried on Debian {', '.join(DEBIAN_PYTHON)}; this is {suite!r}")
    return suite


def _mirror(suite: str) -> str:
    """The Debian mirror that this host's apt uses for its own suite."""
    places = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for place in (p for p in places if p.is_file()):
        text = place.read_text("utf-8", "replace")
        if place.suffix == ".sources":
            for stanza in text.split("\n\n"):
                fields = dict(line.split(":", 1) for line in stanza.splitlines() if ":" in line and line[0] not in "# ")
                if suite in fields.get("Suites", "").split():
                    return fields["URIs"].split()[0]
        else:
            for words in (line.split() for line in text.splitlines() if line.startswith("deb ")):
                addresses = [number for number, word in enumerate(words) if "://" in word]
                if addresses and words[addresses[0] + 1] == suite:
                    return words[addresses[0]]
    raise EmulatorUnavailable(f"apt's settings name no mirror for Debian {suite}")


def _unpack_debian(work: Path, suite: str) -> None:
    """Python and what it needs, from Debian arm64, unpacked and not installed."""
    apt, root = work / "apt", work / "root"
    shutil.rmtree(apt, ignore_errors=True)
    for folder in (apt / "state" / "lists" / "partial", apt / "cache" / "archives" / "partial", root):
        folder.mkdir(parents=True)
    (apt / "status").touch()
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "sources.list").write_text(f"deb [signed-by={keyring}] {_mirror(suite)} {suite} main\n")
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
        "Acquire::Languages": "none",
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
    }
    command = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in settings.items())]
    for action in (["update"], ["install", "-y", "--download-only", "python3", "libstdc++6", "zlib1g"]):
        subprocess.run([*command, *action], check=True, capture_output=True, text=True)
    if suite != "bookworm":  # from trixie on, packages rely on /lib and the like being links
        for name in ("bin", "lib", "sbin"):
            (root / "usr" / name).mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(f"usr/{name}")
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True, capture_output=True, text=True)
    shutil.rmtree(apt)


def _fetch_wheels(site: Path, python: str, requirements: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, "--target", str(site)]
    command += [word for name in PLATFORMS for word in ("--platform", f"{name}_aarch64")]
    subprocess.run([*command, *requirements], check=True, capture_output=True, text=True)


def _write_launchers(emulator: Emulator) -> None:
    """Let guest programs start child processes: `sys.executable` becomes a host script that calls QEMU again.

    The host's kernel cannot execute the arm64 Python itself, and registering it (binfmt_misc) would need root.
    """
    guest = emulator.work / "guest"
    guest.mkdir(exist_ok=True)
    (guest / "sitecustomize.py").write_text(
        "import os, sys\nsys.executable = os.environ.get('EDGE_PNEUMO_GUEST_PYTHON', sys.executable)\n"
    )
    for board in BOARDS:
        launcher = emulator.work / f"python-{board}"
        launcher.write_text(f'#!/bin/sh\nexec {" ".join(emulator.command(board, []))} "$@"\n')
        launcher.chmod(0o755)
