"""Signatures of models: what the service loads, and what it refuses, once `serving.signature.key` is given."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pooled_models import write_pooled_model
from served import application
from visiongate.errors import DataError, SettingsError
from visiongate.records.files import sha256_of
from visiongate.serving import startup
from visiongate.serving.sources.model_sources import FileSource

pytest.importorskip(
    "model_signing.verifying",
    reason="needs the extra: pip install 'visiongate[signing]'",
    exc_type=ImportError,
)
from model_signing import signing

from visiongate.serving.versions.signature import SignatureCheck

KEY = "VISIONGATE_SERVING__SIGNATURE__KEY"


def write_key(folder: Path, name: str, *kind: str) -> Path:
    """Write a pair of keys as the docs do, and return the private one."""
    private = folder / f"{name}.pem"
    kind = kind or ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    subprocess.run(["openssl", "genpkey", *kind, "-out", str(private)], check=True, capture_output=True)
    public = ["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(private.with_suffix(".pub"))]
    subprocess.run(public, check=True, capture_output=True)
    return private


def sign(model: Path, key: Path) -> None:
    config = signing.Config().use_elliptic_key_signer(private_key=key)
    config.sign(model, model.with_name(f"{model.name}.sig"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path, "key")


@pytest.fixture
def model(tmp_path: Path, key: Path) -> Path:
    """A signed model."""
    path = tmp_path / "model.onnx"
    write_pooled_model(path, 2.0)
    sign(path, key)
    return path


def check(model: Path, key: Path) -> None:
    SignatureCheck(key.with_suffix(".pub")).check(FileSource(model).current(), sha256_of(model))


def test_the_service_loads_signed_versions_only(model: Path, key: Path, tmp_path: Path) -> None:
    first = sha256_of(model)
    second = tmp_path / "second.onnx"
    write_pooled_model(second, 1.0)
    environment = {KEY: str(key.with_suffix(".pub"))}

    async def work() -> None:
        async with application(model, environment) as app:
            slot = app.service.slots["default"]
            assert slot.require().origin.sha256 == first
            shutil.copy(second, tmp_path / "new")
            (tmp_path / "new").replace(model)
            reload = await app.client.post("/admin/reload")
            assert reload.status_code != 200
            assert "model.onnx.sig is no signature of this file" in reload.text
            assert slot.require().origin.sha256 == first
            sign(model, key)
            assert (await app.client.post("/admin/reload")).status_code == 200
            assert slot.require().origin.sha256 == sha256_of(second)

    asyncio.run(work())


def test_a_model_without_a_signature_is_never_ready(model: Path, key: Path) -> None:
    model.with_name("model.onnx.sig").unlink()

    async def work() -> str:
        async with application(model, {KEY: str(key.with_suffix(".pub"))}, wait=False) as app:
            slot = app.service.slots["default"]
            async with asyncio.timeout(30):
                while not slot.problems:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            assert slot.active is None
            return (await app.client.get("/health/ready")).text

    assert "not signed" in asyncio.run(work())


def _cut(signature: Path) -> None:
    signature.write_bytes(signature.read_bytes()[:-40])


def _empty(signature: Path) -> None:
    signature.write_text("{}")


def _edit(signature: Path) -> None:
    signature.write_text(signature.read_text().replace('"payload":"ewog', '"payload":"ewoK'))


@pytest.mark.parametrize("damage", [_cut, _empty, _edit])
def test_a_damaged_signature_is_refused(model: Path, key: Path, damage: Callable[[Path], None]) -> None:
    check(model, key)
    damage(model.with_name("model.onnx.sig"))
    with pytest.raises(DataError, match="is no signature of this file"):
        check(model, key)


def test_the_signature_of_another_key_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Key mismatch"):
        check(model, write_key(tmp_path, "another"))


def test_a_file_that_is_replaced_while_it_is_read_is_refused(model: Path, key: Path) -> None:
    signatures = SignatureCheck(key.with_suffix(".pub"))
    with pytest.raises(DataError, match="the file was replaced while it was read"):
        signatures.check(FileSource(model).current(), "0" * 64)


def test_a_model_behind_symbolic_links_is_checked(model: Path, key: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    for file in (model, model.with_name("model.onnx.sig")):
        (mounted / file.name).symlink_to(file)
    check(mounted / "model.onnx", key)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (None, "No such file or directory"),
        (("-algorithm", "RSA"), "not a public key of an elliptic curve"),
        (
            ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"),
            "not a public key of an elliptic curve",
        ),
    ],
)
def test_a_key_of_another_kind_is_an_error(
    tmp_path: Path, kind: tuple[str, ...] | None, message: str
) -> None:
    path = tmp_path / "wrong.pub"
    if kind is not None:
        write_key(tmp_path, "wrong", *kind)
    with pytest.raises(SettingsError, match=message):
        SignatureCheck(path)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "visiongate.serving.versions.signature")
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(SettingsError, match="EXTRAS=signing"):
        startup._require_signatures("key.pub")  # noqa: SLF001
