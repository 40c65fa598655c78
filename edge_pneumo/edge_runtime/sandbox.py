"""A stranger's model meets the interpreter in a child process first.

A hash says that a file is whole, not that it means well: LiteRT trusts what it loads, and a crafted or unlucky network
can crash the process, eat its memory or never end. So a file that is neither the embedded default nor signed by a key
the user named is first loaded and run once in a child with limits. The verdict "it loads and runs" is remembered by
hash and runtime version in the user's cache folder, so that this costs a few hundred milliseconds once a file, not
once a start.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from edge_pneumo.edge_runtime.backends import BackendUnavailable
from edge_pneumo.edge_runtime.engine import choose_backend
from edge_pneumo.errors import EdgePneumoError, ModelFileError

TIMEOUT_S = 60
MEMORY_BYTES = 8 << 30
"""Address space, not memory: LiteRT and its GPU library map far more than they use."""

CANNOT_RUN = 75
"""Exit code of the child when the fault is the machine's, not the model's (EX_TEMPFAIL of sysexits.h)."""

_PACKAGES = {"cpu": "ai-edge-litert", "gpu": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}


def admit(path: Path, sha256: str) -> None:
    """Let a child process load and run the model file once, unless it did so before.

    Parameters
    ----------
    path : the model file.
    sha256 : of the whole file, as the caller read it; the child refuses to look at anything else.

    Raises
    ------
    ModelFileError : the child crashed, ran out of time or memory, or the runtime refused the network.
    BackendUnavailable : the runtime cannot work on this machine.
    MissingExtra : no runtime is installed.
    """
    verdict = _verdict_path(sha256)
    if verdict.is_file():
        return
    # the package is named by its place, since the child does not share our sys.path (an editable install, a zip app)
    root = str(Path(__file__).parents[2])
    code = f"import sys; sys.path.append({root!r}); from edge_pneumo.edge_runtime.sandbox import main; main()"
    command = [sys.executable, "-P", "-c", code, str(path), sha256]
    try:
        child = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(
            f"{path}: the model did not answer within {TIMEOUT_S} s in a trial run. {_ADVICE}"
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"{path}: the trial run of an unsigned model needs a child process, which this system did not allow "
            f"({error.strerror or error}). Sign the model and use --require-signature, or use the default model."
        ) from error
    if child.returncode == 0:
        _remember(verdict)
        return
    if child.returncode == CANNOT_RUN:
        raise BackendUnavailable(child.stderr.strip().splitlines()[-1])
    raise ModelFileError(f"{path}: {_why(child)}. {_ADVICE}")


def main() -> None:
    """Entry point of the child: argv is PATH SHA256; exit 0 if the network loads and runs."""
    _limit_self()
    path, expected = sys.argv[1], sys.argv[2]
    data = Path(path).read_bytes()
    if hashlib.sha256(data).hexdigest() != expected:
        sys.exit("the file changed while it was being checked")
    from edge_pneumo.edge_runtime.bundle import open_bundle
    from edge_pneumo.edge_runtime.engine import check_outputs, open_engine
    from edge_pneumo.edge_runtime.flatbuffer import read_graph
    from edge_pneumo.edge_runtime.golden import golden_inputs

    try:
        bundle = open_bundle(path, trial=False)
        read_graph(bundle.tflite, path)
        engine = open_engine(data, spec=bundle.input_spec)
        side = check_outputs({name: info.shape for name, info in engine.outputs.items()})
        size, stride = bundle.input_spec.size_px, bundle.decode_spec.stride
        if side * stride != size:
            sys.exit(f"the network has {side} cells a side, its metadata says {size} px in strides of {stride}")
        engine.run(golden_inputs(bundle.input_spec, 1))
    except BackendUnavailable as error:  # nothing is known of the model then
        print(error, file=sys.stderr)
        sys.exit(CANNOT_RUN)
    except EdgePneumoError as error:
        sys.exit(str(error))


_ADVICE = "Do not use it; convert it again, or ask whoever made it."


def _why(child: subprocess.CompletedProcess[str]) -> str:
    if child.returncode < 0:
        try:
            name = signal.Signals(-child.returncode).name
        except ValueError:
            name = f"signal {-child.returncode}"
        return f"the model crashed the interpreter in a trial run ({name})"
    said = child.stderr.strip().splitlines() or ["no message"]
    return f"the model failed in a trial run: {said[-1].rstrip('.')}"


def _limit_self() -> None:
    """Bound what a hostile network can take, where the system can."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT_S, TIMEOUT_S))
    if sys.maxsize > 2**32 and sys.platform == "linux":
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        wanted = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(MEMORY_BYTES, most)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))


def cache_dir() -> Path:
    """Where verdicts are kept: `$XDG_CACHE_HOME/edge-pneumo` or `~/.cache/edge-pneumo`."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "edge-pneumo"
    except RuntimeError:  # a user without a home (a container's): nothing is remembered
        return Path("/nonexistent/edge-pneumo")


def _verdict_path(sha256: str) -> Path:
    from edge_pneumo.edge_runtime.backends import package_version

    package = _PACKAGES[choose_backend("auto")]
    return cache_dir() / "admitted" / f"{sha256}.{package}-{package_version(package)}"


def _remember(verdict: Path) -> None:
    try:
        verdict.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        verdict.touch(mode=0o600)
    except OSError:
        return  # a read-only home only means that the next start tries the model again
