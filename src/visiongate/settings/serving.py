"""The section ``serving``: the inference service.

The settings have defaults, so that the service starts without ``params.yaml``. Those in ``conf/serving`` are the same.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from visiongate.settings.fields import Count, Index, Name, OpenShare, Positive, Section, Share

Port = Annotated[int, Field(ge=0, le=65535)]
# Ten years.
MAX_WINDOW_HOURS = 87_600
# The name of `Serving.model` in requests.
DEFAULT = "default"
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Limits(Section):
    """What the service accepts at most."""

    body_bytes: Count = Field(default=33_554_432, description="Bytes of a request.")
    jpeg_pixels: Count = Field(
        default=50_000_000, description="Width times height of a JPEG, which is decoded at a reduced scale."
    )
    pixels: Count = Field(
        default=16_777_216,
        description="Width times height of another image; each pixel takes up to 16 bytes of memory.",
    )
    files: Count = Field(default=16, description="Images of a request.")
    requests: Count = Field(
        default=64, description="Requests with images at a time; further ones are answered with status 429."
    )
    bytes: Count = Field(default=134_217_728, description="Bytes of all requests at a time.")
    connections: Count = Field(default=1000, description="Open connections.")
    deadline_seconds: Positive = Field(
        default=10.0, description="From a request's complete arrival to its answer."
    )
    send_seconds: Positive = Field(
        default=20.0, description="In which the headers must arrive, and the body after them."
    )
    idle_seconds: Count = Field(default=30, description="After which an idle connection is closed.")
    drain_seconds: Positive = Field(
        default=2.0,
        description="After SIGTERM, how long connections are accepted, and idle ones may still send a request.",
    )


class ServingRegistry(Section):
    """The registry that versions come from."""

    uri: str | None = Field(default=None, description="MLflow's address; null for that of `tracking.uri`.")
    poll_seconds: Positive = Field(default=10.0, description="Between two looks at an alias.")
    timeout_seconds: Positive = Field(default=5.0, description="Of a request to the registry.")
    cache: str | None = Field(
        default=None, description="Folder of downloaded versions; null for the user's cache folder."
    )


class KeptImages(Section):
    """The image files that are stored, so that corrected ones can become training images."""

    keep: Literal["none", "unsure", "sample", "all"] = Field(
        default="none",
        description="Which; unsure: those whose class is not sure, or that are unlike the training images. Unless none, those "
        "whose class is asked for, too.",
    )
    share: Share = Field(default=0.01, description="Of the images, for sample.")
    folder: str = Field(
        default="logs/images", description="Where; s3://BUCKET/FOLDER needs the package s3fs besides."
    )
    days: Count = Field(default=30, description="After which an image is deleted.")
    max_bytes: Count = Field(
        default=1_000_000_000, description="Bytes that are kept; older images are deleted."
    )
    queue_bytes: Count = Field(
        default=67_108_864,
        description="Bytes of images that wait to be stored; further images are not stored.",
    )


class PredictionLog(Section):
    """What was predicted, for feedback and statistics."""

    enabled: bool = Field(default=True, description="Whether to write it.")
    address: str = Field(
        default="sqlite:///logs/predictions.sqlite", description="SQLAlchemy's address of the database."
    )
    queue: Count = Field(
        default=10_000, description="Predictions that wait to be written; further ones are dropped."
    )
    days: Count = Field(default=90, description="After which a prediction is deleted.")
    max_rows: Count = Field(
        default=1_000_000, description="Predictions that are kept; older ones are deleted."
    )
    max_megabytes: Count = Field(
        default=2000,
        ge=100,
        description="Size of the predictions that are kept, about; older ones are deleted.",
    )
    embeddings: bool = Field(
        default=True, description="Whether to record a short form of the model's embedding of an image."
    )
    ask_share: Share = Field(
        default=0.02,
        description="Share of the answers, chosen at random, for which the client is asked for the true class.",
    )
    images: KeptImages = Field(default_factory=KeptImages, description="The image files that are stored.")
    window_hours: Count = Field(
        default=168, le=MAX_WINDOW_HOURS, description="Hours that statistics look back."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.images.keep != "none" and not self.enabled:
            raise ValueError(
                f"images.keep = {self.images.keep} needs the prediction log; set enabled to true, or images.keep to none"
            )
        return self


class Rollout(Section):
    """A second model that sees a share of the requests for the first."""

    canary: str | None = Field(default=None, description="The model that answers a share of the requests.")
    canary_share: OpenShare = Field(default=0.1, description="The share.")
    shadow: str | None = Field(
        default=None, description="The model that predicts a share of the images without answering."
    )
    shadow_share: Share = Field(default=0.1, description="The share.")


class Signature(Section):
    """What models must be signed with."""

    key: str | None = Field(
        default=None,
        description="File of a public key; a model without a valid signature is then not loaded. Null for no signatures.",
    )


class Tracing(Section):
    """OpenTelemetry."""

    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = Field(
        default=None,
        description="Of a collector, OTLP over HTTP, such as http://collector:4318; null for no traces.",
    )


class Serving(Section):
    """The inference service."""

    model: str | None = Field(
        default=None,
        description="An ONNX file, a folder of `visiongate registry export`, or `models:/NAME@ALIAS`; null for the champion.",
    )
    models: dict[Name, str] = Field(
        default_factory=dict, description="Further models by name, given as `model`."
    )
    threshold: OpenShare | None = Field(
        default=None,
        description="Probability from which the second of two classes is predicted; null for the model's own.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: Port = Field(default=8000, description="Port to listen on.")
    log_level: LogLevel = Field(default="INFO", description="Lowest level of the log.")
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="Format of the log; auto: text on a terminal, otherwise JSON."
    )
    cores: Index = Field(
        default=0, description="Threads of the model and of decoding; 0 for the usable cores."
    )
    batch: Count = Field(default=16, description="Images per call of the model.")
    keys: list[str] = Field(
        default_factory=list, description="API keys as NAME:SHA256, printed by `visiongate serve-key NAME`."
    )
    keys_file: str | None = Field(
        default=None, description="File of further API keys, one a line; without any, none are required."
    )
    cors_origins: list[str] = Field(
        default_factory=list, description="Origins whose pages may call the service."
    )
    hsts_seconds: Index = Field(
        default=0, description="Of Strict-Transport-Security; 0 leaves it to what terminates TLS."
    )
    limits: Limits = Field(default_factory=Limits, description="What the service accepts at most.")
    registry: ServingRegistry = Field(
        default_factory=ServingRegistry, description="The registry that versions come from."
    )
    signature: Signature = Field(default_factory=Signature, description="What models must be signed with.")
    log: PredictionLog = Field(default_factory=PredictionLog, description="What was predicted.")
    rollout: Rollout = Field(default_factory=Rollout, description="A canary or shadow beside the model.")
    tracing: Tracing = Field(default_factory=Tracing, description="OpenTelemetry.")

    @field_validator("models")
    @classmethod
    def _check_names(cls, models: dict[str, str]) -> dict[str, str]:
        if DEFAULT in models:
            raise ValueError(f"the name `{DEFAULT}` is that of `serving.model`; choose another")
        return models

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.limits.bytes < self.limits.body_bytes:
            raise ValueError(
                f"limits.bytes = {self.limits.bytes} must be at least limits.body_bytes = {self.limits.body_bytes}"
            )
        return self
