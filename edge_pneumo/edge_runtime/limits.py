"""What a film may cost. Checked from headers, before any pixel is decoded, so that a lie is refused and not suffered.

Together with the memory that numpy and Pillow take themselves (about 80 MB), these keep one film under 512 MB: the
dearest case is a progressive colour JPEG of `MAX_PIXELS` (libjpeg holds 2 bytes a coefficient, 3 components: 216 MB,
beside the file and its grey picture). Chest detectors have up to 18 million pixels, mammography 28 million.

Time: sizes bound the work of libjpeg, zlib and numpy; loops in Python ask the `Deadline`; every other codec runs in a
child process that is killed when the time is over (`codec_pool`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from edge_pneumo.errors import FilmRefused

MAX_FILE_BYTES = 160 * 2**20
MAX_PIXELS = 36_000_000
MAX_CODEC_PIXELS = 24_000_000
"""Of JPEG 2000, JPEG-LS and 12-bit JPEG, whose codecs need eight bytes a pixel beside ours."""
MAX_DECODED_BYTES = 144 * 2**20
MIN_SIDE_PX = 64
MAX_ASPECT = 5.0
MAX_ELEMENTS = 100_000
"""Data elements before the pixels; real radiographs have a few hundred."""
MAX_SCANS = 100
"""Scans of a progressive JPEG; each costs a pass over the picture, encoders write about ten."""
SECONDS_PER_FILM = 8.0
"""A film is answered within ten, whatever it is: this leaves two for starting, the door and the network."""


def check_size(columns: int, rows: int, bytes_per_pixel: float, name: str) -> None:
    """Refuse a film whose size no radiograph has, or whose pixels would not fit the memory allowed.

    Raises
    ------
    FilmRefused : `bad-dimensions` (none, under `MIN_SIDE_PX`, or a strip) or `too-large`.
    """
    if min(columns, rows) < MIN_SIDE_PX:
        raise FilmRefused(
            "bad-dimensions",
            f"{name}: {columns} x {rows} pixels; a film has at least {MIN_SIDE_PX} x {MIN_SIDE_PX}. Give the full one.",
        )
    if columns * rows > MAX_PIXELS or columns * rows * bytes_per_pixel > MAX_DECODED_BYTES:
        raise FilmRefused(
            "too-large",
            f"{name}: {columns} x {rows} pixels of {bytes_per_pixel:g} bytes; at most {MAX_PIXELS:,} pixels and"
            f" {MAX_DECODED_BYTES:,} bytes are read. Export the film at a lower resolution.",
        )
    if max(columns, rows) > MAX_ASPECT * min(columns, rows):
        raise FilmRefused(
            "bad-dimensions", f"{name}: {columns} x {rows} pixels is a strip, not a film. Give the full picture."
        )


@dataclass(frozen=True)
class Deadline:
    """The moment after which a film is given up; loops in Python ask it, codecs in C run in a child that is killed."""

    ends_at: float
    name: str

    @classmethod
    def start(cls, name: str, seconds: float = SECONDS_PER_FILM) -> Deadline:
        """A deadline `seconds` from now for the film called `name`."""
        return cls(time.monotonic() + seconds, name)

    @property
    def left_s(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self.ends_at - time.monotonic())

    def check(self) -> None:
        """Raise FilmRefused `timeout` once the time is over."""
        if time.monotonic() > self.ends_at:
            raise FilmRefused(
                "timeout", f"{self.name}: not read within {SECONDS_PER_FILM:g} s. Export it uncompressed, or smaller."
            )
