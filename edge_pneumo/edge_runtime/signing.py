"""Ed25519 signatures of model files (RFC 8032), by the `cryptography` package.

A signature covers `manifest.json`, which holds the hashes of everything else in the file; it is stored as
`signature.json` in the same trailer. What a signature proves is who made the file, so the key to check it with must
come from the user, never from the file.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_pneumo.edge_runtime import trailer
from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.errors import MissingExtra, ModelFileError, UsageFault

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CONTEXT = b"edge-pneumo model file, schema 1\n"
"""Signed before the manifest, so that a signature made for another purpose never fits a model."""


def new_key(path: str | Path, passphrase: bytes | None = None) -> Path:
    """Make a key pair: the private key under `path` (PEM, readable by its owner only), the public one under `path`.pub.

    Raises
    ------
    UsageFault : a file of that name exists.
    WriteFailed : the place cannot be written.
    """
    serialization, ed25519 = _cryptography("making a key")
    private_path, public_path = Path(path), Path(f"{path}.pub")
    for taken in (private_path, public_path):
        if taken.exists():
            raise UsageFault(f"{taken} exists already, and a key is never overwritten. Choose another name.")
    key = ed25519.Ed25519PrivateKey.generate()
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    encoding, formats = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    previous = os.umask(0o077)
    try:
        with atomic_write(private_path) as stream:
            stream.write(key.private_bytes(encoding, formats, encryption))
    finally:
        os.umask(previous)
    with atomic_write(public_path) as stream:
        stream.write(key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
    return public_path


def load_private_key(path: str | Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Read an Ed25519 private key in PEM.

    Raises
    ------
    UsageFault : no such file, not such a key, or a passphrase is missing or wrong.
    """
    serialization, ed25519 = _cryptography("signing")
    from cryptography.exceptions import UnsupportedAlgorithm

    data = _read_key(path)
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except TypeError as error:
        raise UsageFault(f"{path}: the key needs a passphrase, or was given one without need.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageFault(
            f"{path}: expected an Ed25519 private key in PEM, or the passphrase is wrong ({error}). "
            "Make one with `edge-pneumo sign --new-key KEY.pem`."
        ) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UsageFault(f"{path}: expected an Ed25519 private key, found {type(key).__name__}.")
    return key


def load_public_key(path: str | Path) -> Ed25519PublicKey:
    """Read an Ed25519 public key: PEM as `new_key` writes it, or one line as `ssh-keygen -t ed25519` writes it.

    Raises
    ------
    UsageFault : no such file, or not such a key.
    """
    serialization, ed25519 = _cryptography("checking a signature")
    from cryptography.exceptions import UnsupportedAlgorithm

    data = _read_key(path)
    try:
        read = serialization.load_ssh_public_key if data.startswith(b"ssh-") else serialization.load_pem_public_key
        key = read(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageFault(f"{path}: expected an Ed25519 public key (PEM or OpenSSH); {error}.") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise UsageFault(f"{path}: expected an Ed25519 public key, found {type(key).__name__}.")
    return key


def sign_model(model: str | Path, key: Ed25519PrivateKey, out: str | Path | None = None) -> dict[str, Any]:
    """Sign a model file, in place or as `out`; an older signature is replaced.

    Returns
    -------
    what `signature.json` holds.
    """
    from edge_pneumo.edge_runtime.bundle import open_bundle, write_parts

    bundle = open_bundle(model)
    public = _raw(key.public_key())
    signature = {
        "schema": 1,
        "algorithm": "Ed25519",
        "signs": trailer.MANIFEST,
        "key_id": key_id(public),
        "public_key": base64.b64encode(public).decode(),
        "signature": base64.b64encode(key.sign(CONTEXT + bundle.members[trailer.MANIFEST])).decode(),
    }
    members = {**bundle.members, trailer.SIGNATURE: trailer.dump_json(signature)}
    write_parts(out or bundle.path, bundle.tflite, members)
    return signature


def check_signature(members: dict[str, bytes], key_path: str | Path, what: str) -> None:
    """Check the signature of a file's manifest with a public key.

    Raises
    ------
    ModelFileError : not signed, or not by this key.
    UsageFault : the key cannot be used.
    MissingExtra : `cryptography` is not installed.
    """
    key = load_public_key(key_path)
    if trailer.SIGNATURE not in members:
        raise ModelFileError(
            f"{what}: not signed, and a signature by {key_path} is required. Ask for a signed file, or sign it with "
            "`edge-pneumo sign` once you trust it."
        )
    stored = trailer.parse_json(members[trailer.SIGNATURE], f"{what}: {trailer.SIGNATURE}")
    from cryptography.exceptions import InvalidSignature

    try:
        signature = base64.b64decode(str(stored.get("signature")), validate=True)
        key.verify(signature, CONTEXT + members[trailer.MANIFEST])
    except (InvalidSignature, ValueError) as error:
        raise ModelFileError(
            f"{what}: its signature does not hold for the key {key_path} (key id {key_id(_raw(key))}); the file says "
            f"it was signed by key id {stored.get('key_id')!r}. Do not use it unless you trust that key."
        ) from error


def key_id(public: bytes) -> str:
    """Short name of a public key: the first 16 hex digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(public).hexdigest()[:16]


def _raw(key: Ed25519PublicKey) -> bytes:
    serialization, _ = _cryptography("a signature")
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _read_key(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageFault(f"{path}: the key cannot be read: {error.strerror or error}.") from error


def _cryptography(feature: str) -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtra(feature, "cryptography", "sign") from error
    return serialization, ed25519
