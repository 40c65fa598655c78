"""Ways to damage a DICOM file: bits, cuts, lengths, value representations, rows and columns."""

from __future__ import annotations

import random
import struct

HUGE = (0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0xFFFFFFF0, 0x10000000)
REPRESENTATIONS = (b"SQ", b"UN", b"OB", b"OW", b"UT", b"US", b"UL", b"FD", b"IS", b"ZZ", b"\0\0", b"??", b"AT")


def element_starts(data: bytes) -> list[int]:
    """Where elements of an explicit little endian file begin, found by their look: a known group, then two capitals."""
    groups = (2, 8, 0x10, 0x18, 0x20, 0x28, 0x7FE0)
    return [
        i
        for i in range(132, min(len(data) - 8, 4000), 2)
        if int.from_bytes(data[i : i + 2], "little") in groups
        and data[i + 4 : i + 6].isalpha()
        and data[i + 4 : i + 6].isupper()
    ]


def mutate(data: bytes, seed: int) -> tuple[str, bytes]:
    """One mutation, chosen and placed by `seed`: (what was done, damaged bytes)."""
    rng = random.Random(seed)
    damaged, starts = bytearray(data), element_starts(data) or [132]
    kind = ("bits", "header bits", "cut", "length", "representation", "size", "insert", "zeros")[seed % 8]
    if kind == "bits":
        for _ in range(rng.choice((1, 8, 64))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    elif kind == "header bits":
        for _ in range(rng.choice((1, 3, 10))):
            damaged[rng.randrange(128, min(1500, len(damaged)))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del damaged[rng.choice((rng.randrange(len(damaged)), rng.randrange(min(1500, len(damaged))))) :]
    elif kind == "length":
        at = rng.choice(starts)
        long = bytes(damaged[at + 4 : at + 6]) in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        struct.pack_into(
            "<I" if long else "<H",
            damaged,
            at + (8 if long else 6),
            rng.choice(HUGE) & (0xFFFFFFFF if long else 0xFFFF),
        )
    elif kind == "representation":
        at = rng.choice(starts)
        damaged[at + 4 : at + 6] = rng.choice(REPRESENTATIONS)
    elif kind == "size":
        tag = rng.choice(
            (b"\x28\0\x10\0", b"\x28\0\x11\0", b"\x28\0\x02\0", b"\x28\0\0\x01", b"\x28\0\x01\x01", b"\x28\0\x02\x01")
        )
        at = damaged.find(tag, 132)
        if at >= 0 and at + 10 <= len(damaged):
            struct.pack_into("<H", damaged, at + 8, rng.choice((0, 1, 3, 63, 1000, 5000, 32768, 65535)))
    elif kind == "insert":
        at = rng.randrange(132, len(damaged))
        damaged[at:at] = rng.randbytes(rng.choice((1, 2, 7, 4096)))
    else:
        at = rng.randrange(132, len(damaged))
        damaged[at : at + 64] = bytes(len(damaged[at : at + 64]))
    return kind, bytes(damaged)
