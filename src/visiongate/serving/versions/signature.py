"""Check that a model was signed with a key: that its file is one that the owner of the key approved.

Signatures are those of model-signing (OpenSSF), over the ONNX file. This module is imported only if a key is given, because its
packages take half a second and 40 MB of memory.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from model_signing import hashing, verifying
from model_signing.manifest import Manifest

from visiongate.errors import DataError, SettingsError
from visiongate.serving.sources.model_sources import ServedFile

SUFFIX: Final = ".sig"


class SignatureCheck:
    """Checks the signatures of models.

    Args:
        key: The file of a public key, PEM, of the curve P-256, P-384 or P-521.

    Raises:
        SettingsError: The file cannot be read, or has no such key.
    """

    def __init__(self, key: Path) -> None:
        self._key = key
        self._read_key()

    def check(self, file: ServedFile, sha256: str) -> None:
        """Check the signature beside a file, such as ``model.onnx.sig``.

        Args:
            file: The model.
            sha256: Of the content that was read from it.

        Raises:
            DataError: There is no signature, or it is not one of this content with this key.
            SettingsError: The key is gone.
        """
        signature = file.path.with_name(file.path.name + SUFFIX)
        if not signature.is_file():
            raise DataError(
                f"{file.source}: not signed: {signature} is missing, and serving.signature.key requires it; a version in a "
                "registry has none: copy it with `visiongate registry export --to`, sign the copy, and serve that folder"
            )
        config = self._read_key().set_hashing_config(_LoadedContent(sha256))
        try:
            config.verify(file.path, signature)
        # The errors of model_signing, and of what it calls with a damaged signature, have no common base class.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"{file.source}: {signature} is no signature of this file with {self._key}: {reason[:200]}; find out where the "
                "file comes from before you sign it again"
            ) from error

    def _read_key(self) -> verifying.Config:
        """Return model-signing's configuration, which is good for one check."""
        try:
            config = verifying.Config()  # type: ignore[no-untyped-call]
            return config.use_elliptic_key_verifier(public_key=self._key)
        except OSError as error:
            reason = error.strerror
        # A key of another kind, such as RSA, has no curve.
        except (ValueError, AttributeError):
            reason = "not a public key of an elliptic curve"
        raise SettingsError(
            f"serving.signature.key = {self._key}: {reason}; write one with `openssl ec -in key.pem -pubout -out key.pub`"
        )


class _LoadedContent(hashing.Config):
    """Hashes a file, which may have been replaced since its content was read.

    Args:
        sha256: Of the content.
    """

    def __init__(self, sha256: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sha256 = sha256
        # A mounted volume of Kubernetes has symbolic links.
        self.use_file_serialization(allow_symlinks=True)
        self.set_allow_symlinks(True)

    def hash(
        self, model_path: hashing.PathLike, *, files_to_hash: Iterable[hashing.PathLike] | None = None
    ) -> Manifest:
        """Return the hash of the file.

        Raises:
            ValueError: The file was replaced.
        """
        manifest = super().hash(model_path, files_to_hash=files_to_hash)
        if [each.digest.digest_hex for each in manifest.resource_descriptors()] != [self._sha256]:
            raise ValueError("the file was replaced while it was read")
        return manifest
