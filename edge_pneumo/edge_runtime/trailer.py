"""The zip trailer of a model file: `.tflite` bytes, then a plain zip that any zip tool reads.

LiteRT ignores what follows the flatbuffer, and zip readers look from the end, so one file is both. The trailer has ONE
form: members stored uncompressed, in a fixed order, dated 1980-01-01, offsets counted from the start of the file. A
reader rebuilds the trailer from what it read and compares the bytes, so that no bit of it can change unnoticed,
whatever field of the zip format it lies in (PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.16).

    metadata.json   what the model is: contract of input and outputs, decode, operating points, training, gate …
    MODEL_CARD.md   the same for people
    labels.txt      one label a line
    golden.npz      inputs and the exact outputs they must give (optional)
    manifest.json   size and SHA-256 of the network and of every member above; this is what a signature signs
    signature.json  Ed25519 signature of manifest.json (optional)
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from typing import Any

from edge_pneumo.errors import ModelFileError

METADATA, CARD, LABELS, GOLDEN = "metadata.json", "MODEL_CARD.md", "labels.txt", "golden.npz"
MANIFEST, SIGNATURE = "manifest.json", "signature.json"
ORDER = (METADATA, CARD, LABELS, GOLDEN, MANIFEST, SIGNATURE)
REQUIRED = (METADATA, CARD, LABELS, MANIFEST)
MAX_BYTES = 64 << 20

_LOCAL, _CENTRAL, _END = "<4s5H3L2H", "<4s6H3L5H2L", "<4s4H2LH"
_END_SIZE = struct.calcsize(_END)
_DATE, _VERSION = 0x21, 20  # 1980-01-01; zip 2.0


def is_tflite(head: bytes) -> bool:
    """Whether a file that begins with these 8 bytes or more begins as a TFLite flatbuffer does."""
    return head[4:8] == b"TFL3"


def pack(members: dict[str, bytes], offset: int) -> bytes:
    """The trailer that holds `members`, for a network of `offset` bytes."""
    body, directory = b"", b""
    names = [name for name in ORDER if name in members]
    for name in names:
        data, raw_name = members[name], name.encode()
        size, crc = len(data), zlib.crc32(data)
        place = offset + len(body)
        body += (
            struct.pack(_LOCAL, b"PK\3\4", _VERSION, 0, 0, 0, _DATE, crc, size, size, len(raw_name), 0)
            + raw_name
            + data
        )
        directory += struct.pack(
            _CENTRAL,
            b"PK\1\2",
            _VERSION,
            _VERSION,
            0,
            0,
            0,
            _DATE,
            crc,
            size,
            size,
            len(raw_name),
            0,
            0,
            0,
            0,
            0,
            place,
        )
        directory += raw_name
    end = struct.pack(_END, b"PK\5\6", 0, 0, len(names), len(names), len(directory), offset + len(body), 0)
    return body + directory + end


def find(tail: bytes, file_size: int) -> int | None:
    """Where the trailer begins in a file of `file_size` bytes, or None if there is no trailer.

    Parameters
    ----------
    tail : the last bytes of the file, some kilobytes.
    """
    if len(tail) < _END_SIZE or tail[-_END_SIZE:][:4] != b"PK\5\6":
        return None
    directory_size, directory_at = struct.unpack_from("<2L", tail, len(tail) - _END_SIZE + 12)
    first = len(tail) - _END_SIZE - directory_size
    if directory_at + directory_size + _END_SIZE != file_size or first < 0 or tail[first : first + 4] != b"PK\1\2":
        return None
    start = struct.unpack_from("<L", tail, first + 42)[0] if directory_size >= 46 else file_size
    return start if start < directory_at else None


def unpack(trailer: bytes, offset: int, what: str) -> dict[str, bytes]:
    """The members of a trailer that begins at byte `offset` of its file.

    Raises
    ------
    ModelFileError : a bit of it is not as `pack` writes it.
    """
    members: dict[str, bytes] = {}
    place = 0
    while trailer[place : place + 4] == b"PK\3\4" and len(trailer) >= place + 30:
        size, name_size = (
            struct.unpack_from("<L", trailer, place + 18)[0],
            struct.unpack_from("<H", trailer, place + 26)[0],
        )
        name = trailer[place + 30 : place + 30 + name_size].decode("ascii", "replace")
        start = place + 30 + name_size
        members[name] = trailer[start : start + size]
        place = start + size
    missing = [name for name in REQUIRED if name not in members]
    if missing or pack(members, offset) != trailer:
        raise ModelFileError(
            f"{what}: the trailer (metadata, card, golden vectors) is damaged or was rewritten by another tool"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + ". Copy the model file again."
        )
    return members


def manifest(tflite: bytes, members: dict[str, bytes]) -> bytes:
    """`manifest.json` for a network and the members to be signed."""
    entries = {name: _fingerprint(members[name]) for name in ORDER[:4] if name in members}
    return dump_json({"schema": 1, "tflite": _fingerprint(tflite), "members": entries})


def check_manifest(tflite_sha256: str, tflite_bytes: int, members: dict[str, bytes], what: str) -> None:
    """Compare every part of a file with its manifest.

    Raises
    ------
    ModelFileError : a part is not what the manifest says; the message names it.
    """
    listed = parse_json(members[MANIFEST], f"{what}: {MANIFEST}")
    found = {name: _fingerprint(members[name]) for name in ORDER[:4] if name in members}
    expected = listed.get("members")
    if listed.get("tflite") != {"bytes": tflite_bytes, "sha256": tflite_sha256}:
        raise ModelFileError(
            f"{what}: the network was changed: its SHA-256 is {tflite_sha256[:16]}… ({tflite_bytes} bytes), the "
            f"manifest says {str(listed.get('tflite'))[:120]}. Copy the model file again."
        )
    if expected != found:
        changed = sorted(name for name in ORDER[:4] if (expected or {}).get(name) != found.get(name))
        raise ModelFileError(
            f"{what}: changed after the manifest was made: {', '.join(changed)}. Copy the model file again."
        )


def dump_json(value: Any) -> bytes:
    """JSON as it is stored in a model file: UTF-8, indented, keys in the order given."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object of schema 1.

    Raises
    ------
    ModelFileError : not JSON, not an object, or of a newer schema.
    """
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{what} is not JSON ({error}). Copy or convert the model again.") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{what} holds no JSON object. Copy or convert the model again.")
    schema = value.get("schema")
    if schema != 1 or isinstance(schema, bool):
        newer = isinstance(schema, int) and schema > 1
        raise ModelFileError(
            f"{what} has schema {schema!r}; this version of edge-pneumo reads schema 1. "
            + ("Upgrade edge-pneumo (pip install -U edge-pneumo)." if newer else "Convert the model again.")
        )
    return value


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
