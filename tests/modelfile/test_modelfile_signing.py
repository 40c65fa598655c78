"""Ed25519 signatures: who made the file. Oracle: the `cryptography` package, and OpenSSL's own PEM."""

from __future__ import annotations

import base64
import json
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from edge_pneumo.edge_runtime import sandbox, signing, trailer
from edge_pneumo.edge_runtime.bundle import Bundle, open_bundle
from edge_pneumo.errors import MissingExtra, ModelFileError, UsageFault

pytest.importorskip("cryptography")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signing.new_key(tmp_path / "maker.pem")
    return tmp_path / "maker.pem"


@pytest.fixture
def signed(key: Path, tiny_path: Path, tmp_path: Path) -> Path:
    signing.sign_model(tiny_path, signing.load_private_key(key), tmp_path / "signed.tflite")
    return tmp_path / "signed.tflite"


def test_a_signed_file_is_the_same_model(signed: Path, key: Path, tiny: Bundle) -> None:
    bundle = open_bundle(signed, require_signature=f"{key}.pub")
    assert (bundle.tflite, bundle.metadata, bundle.card) == (tiny.tflite, tiny.metadata, tiny.card)
    assert bundle.sha256 != tiny.sha256


def test_the_signature_is_plain_ed25519_over_the_manifest(signed: Path, key: Path) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    with zipfile.ZipFile(signed) as archive:
        assert archive.testzip() is None
        stored = json.loads(archive.read("signature.json"))
        manifest = archive.read("manifest.json")
    public = load_pem_public_key(Path(f"{key}.pub").read_bytes())
    message = b"edge-pneumo model file, schema 1\n" + manifest
    public.verify(base64.b64decode(stored["signature"]), message)  # pyright: ignore


def test_a_required_signature_needs_no_trial_run(signed: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("a trial run was made")

    monkeypatch.setattr(sandbox, "admit", forbidden)
    assert open_bundle(signed, require_signature=f"{key}.pub").name == "tiny-test-model"
    with pytest.raises(AssertionError, match="a trial run was made"):
        open_bundle(signed)


def test_signing_again_replaces_the_signature(signed: Path, tmp_path: Path) -> None:
    signing.new_key(tmp_path / "other.pem")
    signing.sign_model(signed, signing.load_private_key(tmp_path / "other.pem"))
    assert open_bundle(signed, require_signature=tmp_path / "other.pem.pub").sha256
    with pytest.raises(ModelFileError, match="its signature does not hold for the key"):
        open_bundle(signed, require_signature=tmp_path / "maker.pem.pub")


def test_unsigned_and_wrongly_signed(tiny_path: Path, signed: Path, key: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"not signed, and a signature by .*maker\.pem\.pub is required"):
        open_bundle(tiny_path, require_signature=f"{key}.pub")
    bundle = open_bundle(signed, require_signature=f"{key}.pub")
    stored = json.loads(bundle.members[trailer.SIGNATURE])
    for broken in ("", "AAAA", "not base64!", base64.b64encode(bytes(64)).decode()):
        members = {**bundle.members, trailer.SIGNATURE: trailer.dump_json({**stored, "signature": broken})}
        path = tmp_path / "broken.tflite"
        path.write_bytes(bundle.tflite + trailer.pack(members, len(bundle.tflite)))
        with pytest.raises(ModelFileError, match="its signature does not hold"):
            open_bundle(path, require_signature=f"{key}.pub")


def test_a_signature_does_not_cover_another_model(signed: Path, key: Path, tiny: Bundle, tmp_path: Path) -> None:
    signature = open_bundle(signed, require_signature=f"{key}.pub").members[trailer.SIGNATURE]
    members = {**tiny.members, trailer.CARD: b"# a better card\n"}
    members[trailer.MANIFEST] = trailer.manifest(tiny.tflite, members)
    members[trailer.SIGNATURE] = signature
    path = tmp_path / "moved.tflite"
    path.write_bytes(tiny.tflite + trailer.pack(members, len(tiny.tflite)))
    with pytest.raises(ModelFileError, match="its signature does not hold"):
        open_bundle(path, require_signature=f"{key}.pub")


def test_key_files(key: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"BEGIN PRIVATE KEY" in key.read_bytes()
    with pytest.raises(UsageFault, match="exists already, and a key is never overwritten"):
        signing.new_key(key)
    with pytest.raises(UsageFault, match="expected an Ed25519 public key"):
        signing.load_public_key(key)
    with pytest.raises(UsageFault, match="expected an Ed25519 private key"):
        signing.load_private_key(f"{key}.pub")
    with pytest.raises(UsageFault, match="the key cannot be read: No such file"):
        signing.load_public_key(tmp_path / "nothing.pub")


def test_keys_of_another_kind(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "ec.pem").write_bytes(other.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    spki = s.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "ec.pub").write_bytes(other.public_key().public_bytes(s.Encoding.PEM, spki))
    with pytest.raises(UsageFault, match="expected an Ed25519 private key, found"):
        signing.load_private_key(tmp_path / "ec.pem")
    with pytest.raises(UsageFault, match="expected an Ed25519 public key, found"):
        signing.load_public_key(tmp_path / "ec.pub")


def test_an_openssh_public_key(signed: Path, key: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s

    public = signing.load_public_key(f"{key}.pub")
    (tmp_path / "id.pub").write_bytes(public.public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH))
    assert open_bundle(signed, require_signature=tmp_path / "id.pub").name == "tiny-test-model"


def test_passphrases(tmp_path: Path) -> None:
    signing.new_key(tmp_path / "secret.pem", b"open sesame")
    assert b"ENCRYPTED" in (tmp_path / "secret.pem").read_bytes()
    assert signing.load_private_key(tmp_path / "secret.pem", b"open sesame")
    with pytest.raises(UsageFault, match="passphrase"):
        signing.load_private_key(tmp_path / "secret.pem")
    with pytest.raises(UsageFault, match="passphrase is wrong"):
        signing.load_private_key(tmp_path / "secret.pem", b"close")


def test_without_cryptography(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(MissingExtra, match=r"pip install 'edge-pneumo\[sign\]'"):
        open_bundle(tiny_path, require_signature=tmp_path / "k.pub")
