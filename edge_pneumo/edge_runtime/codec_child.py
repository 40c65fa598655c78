"""The other side of `codec_pool`: a process that decodes JPEG 2000, HTJ2K, JPEG-LS and 12-bit JPEG by pydicom.

These codecs are C and C++ fed with bytes from strangers. Here they may crash, swell or hang: the process has a memory
limit and is killed when the film's time is over, and the next film gets a new one.

A request is a line of JSON (`syntax`, `size`, `options`) and `size` bytes; the answer a line of JSON and, for status
`ok`, the array's bytes. Both go over the standard streams.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

MEMORY_BYTES = 420 * 2**20
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
STUFFED_END = b"\x00\xff\xd9"


def limit_memory() -> None:
    """Let allocations fail beyond `MEMORY_BYTES`, where the system can do that."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    except (ImportError, OSError, ValueError):
        return


def decode(syntax: str, stream: bytes, options: dict[str, Any]) -> Any:
    """One frame as an array (h, w) or (h, w, 3), colours as RGB."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    def ask(code: bytes) -> Any:
        return get_decoder(syntax).as_array(encapsulate([code], has_bot=False), index=0, **options)[0]

    end = stream.rfind(STUFFED_END) if syntax in JPEG_LS else -1
    if end < 0:
        return ask(stream)
    try:
        return ask(stream)
    except RuntimeError:  # some encoders made the length even with a zero before the end marker, not after it
        return ask(stream[:end] + stream[end + 1 :])


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    import warnings

    import numpy as np

    warnings.simplefilter("ignore")
    while line := requests.readline():
        request = json.loads(line)
        stream = requests.read(request["size"])
        try:
            array = np.ascontiguousarray(decode(request["syntax"], stream, request["options"]))
            head, body = {"status": "ok", "dtype": array.dtype.str, "shape": array.shape}, array.data.cast("B")
        except MemoryError:
            head, body = {"status": "too-large", "message": "needs more memory than a film may take"}, b""
        except Exception as error:  # the boundary of the process: whatever a codec does is an answer
            head, body = {"status": "unreadable", "message": f"{type(error).__name__}: {error}"[:500]}, b""
        answers.write(json.dumps(head).encode() + b"\n")
        answers.write(body)
        answers.flush()


def main() -> None:
    """Run as the child process."""
    limit_memory()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # codecs that print must not do so into the answers
    serve(sys.stdin.buffer, answers)
