"""The structure of networks that end in a linear layer, and what they return besides the logits.

A network of this structure exports its embedding, and after global average pooling its activation maps, as further outputs.
"""

from torch import Tensor, nn
from torch.nn import functional

from visiongate.models.predictor import ACTIVATION_MAP, EMBEDDING

LOGITS = "logits"


class EmbeddingNetwork(nn.Module):
    """A network that maps normalized float images, N×C×H×W, to logits, N×K. A subclass defines `embed`.

    Attributes:
        head: Maps an embedding, N×D, to logits.
    """

    head: nn.Linear

    def embed(self, images: Tensor) -> Tensor:
        """Return the embedding, N×D: the input of the head."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.embed(images))
        return logits

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return `LOGITS` and the further outputs by name."""
        embedding = self.embed(images)
        return {LOGITS: self.head(embedding), EMBEDDING: embedding}


class PooledNetwork(EmbeddingNetwork):
    """A network that ends in global average pooling, dropout and the head. A subclass defines `feature_map`.

    Args:
        dropout: Dropout rate before the head.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last feature map, N×D×h×w."""
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        """Return the pooled features, N×D."""
        return self._pool(self.feature_map(images))

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return `LOGITS`, the embedding and the activation maps, N×K×h×w.

        The activation map of a class is the head applied at each place of the feature map, without the bias. Pooling and head
        are linear, so its mean over the places is the logit without the bias.

        Source: Zhou et al., Learning Deep Features for Discriminative Localization, 2016, section 2.
        """
        feature_map = self.feature_map(images)
        embedding = self._pool(feature_map)
        activation_map = functional.conv2d(feature_map, self.head.weight[:, :, None, None])
        return {LOGITS: self.head(embedding), EMBEDDING: embedding, ACTIVATION_MAP: activation_map}

    def _pool(self, feature_map: Tensor) -> Tensor:
        pooled: Tensor = self.dropout(feature_map.mean(dim=(2, 3)))
        return pooled
