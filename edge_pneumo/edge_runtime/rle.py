"""DICOM's run-length coding (PS3.5 Annex G), decoded no further than the picture is large.

pydicom and its plug-ins decode a segment to its end before they look at its size, so that one megabyte of runs becomes
sixty-four; here a segment stops at the size the header promises.
"""

from __future__ import annotations

import struct

import numpy as np

from edge_pneumo.edge_runtime.limits import Deadline
from edge_pneumo.errors import FilmRefused

RUNS_BETWEEN_CHECKS = 100_000


def decode(stream: bytes | memoryview, pixels: int, samples: int, bytes_per_sample: int, deadline: Deadline) -> bytes:
    """Decode one frame.

    Parameters
    ----------
    stream : the frame, with its header of 64 bytes.
    pixels, samples, bytes_per_sample : what the film's header says of the frame.

    Returns
    -------
    Samples of `bytes_per_sample` bytes each, little endian, one plane of `pixels` after the other.

    Raises
    ------
    FilmRefused : `truncated`, `unreadable` or `timeout`.
    """
    data, name = bytes(stream), deadline.name
    wanted = samples * bytes_per_sample
    if len(data) < 64:
        raise FilmRefused("truncated", f"{name}: its run-length coded pixels end within their header. Copy it again.")
    count, *offsets = struct.unpack_from("<16I", data)
    if count != wanted:
        raise FilmRefused(
            "unreadable", f"{name}: {count} run-length segments, its header promises {wanted}. Export it again."
        )
    planes = np.empty((samples, pixels, bytes_per_sample), np.uint8)
    for segment in range(count):
        end = offsets[segment + 1] if segment + 1 < count else len(data)
        plane = _unpack(data[offsets[segment] : end], pixels, deadline)
        if len(plane) < pixels:
            raise FilmRefused(
                "truncated", f"{name}: a run-length segment holds {len(plane):,} of {pixels:,} bytes. Copy it again."
            )
        # A sample's most significant byte has the first of its segments.
        place = bytes_per_sample - 1 - segment % bytes_per_sample
        planes[segment // bytes_per_sample, :, place] = np.frombuffer(plane, np.uint8, pixels)
    return planes.tobytes()


def _unpack(data: bytes, wanted: int, deadline: Deadline) -> bytearray:
    """PackBits: at most a run more than `wanted` bytes."""
    out, position, runs = bytearray(), 0, 0
    while len(out) < wanted and position + 1 < len(data):
        control = data[position]
        if control < 128:
            out += data[position + 1 : position + 2 + control]
            position += 2 + control
        elif control > 128:
            out += data[position + 1 : position + 2] * (257 - control)
            position += 2
        else:
            position += 1
        runs += 1
        if runs % RUNS_BETWEEN_CHECKS == 0:
            deadline.check()
    return out
