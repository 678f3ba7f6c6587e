"""A map of embeddings in two dimensions."""

import numpy as np
import numpy.typing as npt

# t-SNE takes a few seconds for so many images.
MAX_IMAGES = 1000
# The map needs a few neighbors of each image.
MIN_IMAGES = 10
# Scikit-learn's default, which suits some hundred images and more.
PERPLEXITY = 30.0
# Half of scikit-learn's default: the groups of so few images do not move any more.
ITERATIONS = 500
# Enough for the neighborhoods, and t-SNE is slow in more: section 4.2 of the paper.
DIMENSIONS = 30


def project(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Place images in two dimensions, so that images with similar embeddings are near each other.

    t-SNE after a reduction to `DIMENSIONS` by PCA: van der Maaten, L., Hinton, G. (2008), Visualizing data using t-SNE, JMLR 9.
    Distances between groups of points have no meaning.

    Args:
        embeddings: N×D, with N from `MIN_IMAGES` to `MAX_IMAGES`.

    Returns:
        N×2; the same for the same embeddings, and zeros if all embeddings are equal.
    """
    if np.ptp(embeddings, axis=0).max() == 0:
        # t-SNE would divide by zero, and scikit-learn's crashes on the result.
        return np.zeros((len(embeddings), 2))
    from sklearn.decomposition import PCA  # noqa: PLC0415 - slow to import
    from sklearn.manifold import TSNE  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    count, size = embeddings.shape
    # The sums of several threads differ from run to run.
    with threadpool_limits(1):
        reduced = PCA(min(DIMENSIONS, count, size), svd_solver="full").fit_transform(embeddings)
        perplexity = min(PERPLEXITY, (count - 1) / 3)
        points = TSNE(init="pca", perplexity=perplexity, max_iter=ITERATIONS, random_state=0).fit_transform(
            reduced
        )
    return np.asarray(points, dtype=np.float64)
