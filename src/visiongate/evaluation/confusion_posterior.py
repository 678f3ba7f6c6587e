"""What a table of confusions leaves open: how good the classes may truly be, given the few mistakes that were seen.

A bootstrap repeats the mistakes that the images have, and knows no other: of a model without one it says there can be none.
Here each class's answers are drawn from what its images make likely, a Dirichlet distribution with Jeffreys' prior for its
recall, shared among the other answers. Goutte, C., Gaussier, E. (2005), A probabilistic interpretation of precision, recall and
F-score, ECIR; Tötsch, N., Hoffmann, D. (2021), Classifier uncertainty: evidence, potential impact, and probabilistic treatment,
PeerJ Computer Science 7:e398.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
PRIOR = 0.5  # of the right answer, and of all wrong ones together
CELLS = 4_000_000  # of the tables held at a time: 32 MB


def draw_confusions(
    confusions: npt.NDArray[np.int64], share: float, samples: int, seed: int
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Yield how many images of each class are right, there, and called so, K×S, for some samples at a time.

    Args:
        confusions: K×K, the true class down, the predicted one across; a class without images stays without.
        share: Independent draws by image, at most 1: images of one group are no independent witnesses.
        samples: How many to draw in all.
        seed: Of the draw.
    """
    classes = len(confusions)
    prior = np.full((classes, classes), PRIOR / max(1, classes - 1))
    np.fill_diagonal(prior, PRIOR)
    there = confusions.sum(axis=1).astype(np.float64)
    generator = np.random.default_rng(seed)
    step = max(1, CELLS // classes**2)
    for start in range(0, samples, step):
        width = min(step, samples - start)
        # Gamma draws by the rows' own scale are a Dirichlet draw of each row.
        cells = generator.standard_gamma(confusions * share + prior, (width, classes, classes))
        cells *= (there / np.maximum(cells.sum(axis=2), np.finfo(np.float64).tiny))[..., None]
        right = np.diagonal(cells, axis1=1, axis2=2)
        yield right.T, np.repeat(there[:, None], width, axis=1), cells.sum(axis=1).T
