"""The section ``training``: how long, with which loss and on which hardware to train, for any network."""

from typing import Annotated, Literal

from pydantic import Field

from visiongate.settings.fields import (
    Count,
    Index,
    Monitor,
    NonNegative,
    OpenShare,
    Positive,
    Section,
    Share,
)

Border = Literal["black", "reflect"]


class Augmentation(Section):
    """Random changes to the training images, drawn for each image and epoch."""

    flip: Literal["none", "random", "alternating"] = Field(
        description="Flip left to right; alternating: every other epoch."
    )
    shift: Index = Field(description="Largest shift in each direction, in pixels.")
    border: Border = Field(description="What fills the border of a shifted image.")
    rotation: float = Field(ge=0, le=180, description="Largest rotation, in degrees.")
    zoom: float = Field(ge=0, lt=1, description="Largest zoom in or out, as a share.")
    brightness: Share = Field(description="Largest change of the brightness, as a share.")
    contrast: Share = Field(description="Largest change of the contrast, as a share.")
    saturation: Share = Field(description="Largest change of the saturation of color images, as a share.")
    noise: Share = Field(description="Standard deviation of the noise, with pixels from 0 to 1.")
    cutout: Index = Field(description="Side of a square that is blanked, in pixels.")
    mixup: NonNegative = Field(description="Alpha of the beta distribution; 0 turns mixup off.")


class Progressive(Section):
    """Smaller images at the start of a training, which cost less."""

    size: Annotated[int, Field(ge=4)] | None = Field(
        description="Width and height; null trains at full size."
    )
    until: Annotated[float, Field(gt=0, le=1)] = Field(description="Share of the steps with smaller images.")


class Launch(Section):
    """Processes that train together."""

    processes: Count = Field(description="Processes per machine.")
    machines: Count = Field(description="Number of machines.")
    address: Annotated[str, Field(pattern=r"^[^:\s]+:\d+$")] = Field(
        description="host:port of the first machine."
    )


class ReliabilityChoice(Section):
    """How often a model may be wrong about its own reliability, on images like the validation images."""

    error_rate: OpenShare = Field(
        description="Share of the images whose prediction set may lack the true class."
    )
    false_alarms: OpenShare = Field(description="Share of the images that may be called out of distribution.")


class Export(Section):
    """What changes the answers and the speed of the exported model, without a further training."""

    tta: Literal["none", "flip", "flip_shift"] = Field(
        description="Test-time augmentation inside the model: flip averages an image and its mirror image, flip_shift also "
        "both of them shifted by a pixel."
    )
    precision: Literal["fp32", "int8"] = Field(
        description="Of the convolutions; int8 is smaller and faster, and needs a network with convolutions."
    )


class Training(Section):
    """How to train, whatever the network."""

    epochs: Count = Field(description="Epochs.")
    patience: Count | None = Field(
        description="Epochs without improvement before training stops; null trains all epochs."
    )
    give_up: Count | None = Field(
        description="Epochs in which nothing is learned before training fails with advice; null never fails."
    )
    monitor: Monitor = Field(description="Metric that selects the best epoch.")
    loss: Literal["cross_entropy", "focal"] = Field(description="Loss.")
    focal_gamma: NonNegative = Field(description="Gamma of the focal loss.")
    label_smoothing: float = Field(ge=0, lt=1, description="Label smoothing.")
    class_weights: Literal["none", "balanced"] = Field(description="Weights of the classes in the loss.")
    gradient_clip: Positive | None = Field(description="Largest norm of a gradient; null clips nothing.")
    accumulation: Count = Field(description="Batches per step.")
    skip_easy: float = Field(
        ge=0, le=0.5, description="Share of the images that an epoch leaves out, of those with low losses."
    )
    ema: OpenShare | None = Field(
        description="Decay of the weights' moving average per step; null keeps none."
    )
    seed: Index = Field(description="Seed of all random numbers.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        description="Device; auto takes a GPU if there is one."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        description="Precision; auto takes bf16 where it is native, fp16 on older NVIDIA GPUs, and fp32 where it is faster."
    )
    tensorboard: bool = Field(description="Write TensorBoard logs to `logs/tensorboard`.")
    augmentation: Augmentation = Field(description="Random changes to the training images.")
    progressive: Progressive = Field(description="Smaller images at the start.")
    reliability: ReliabilityChoice = Field(description="When an answer of the model is sure.")
    export: Export = Field(description="Options of the exported model.")
    launch: Launch = Field(description="Processes that train together.")
