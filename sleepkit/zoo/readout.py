"""A linear readout of fast weights in one byte a weight. Plain numpy.

A place (a cell of a string after a step, the node some hops after a start) is in one of C classes. Class c is the c-th corner of
a simplex in C - 1 dimensions (a column of the Helmert matrix), so that two classes take one output and no output is implied by
the others. The readout regresses on the corners; the corner that its outputs lie nearest to is what it reads.

Axes: F feature (an entry of S), P place, O output, P (C - 1) of them.
"""

import dataclasses

import numpy as np
from scipy.linalg import helmert

_LEVELS = 127


@dataclasses.dataclass(frozen=True)
class Readout:
    """A readout of the state after one pass.

    Attributes:
        codes: [F, O] int8, the weights of standardised features in steps of ``scale``.
        scale: [O] float32.
        offset: [O] float32, added to the outputs.
        spread: [F] float32, what features are divided by.
        sharpness: [P] float32, scores are multiplied by it before the softmax that makes them probabilities.
    """

    codes: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    spread: np.ndarray
    sharpness: np.ndarray

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.scale) // len(self.sharpness) + 1

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return how near the outputs are to each corner: [..., F] -> [..., P, C]."""
        outputs = (features / self.spread) @ self.codes.astype(np.float32) * self.scale + self.offset
        scores: np.ndarray = outputs.reshape(*outputs.shape[:-1], len(self.sharpness), -1) @ helmert(self.n_classes)
        return scores

    def read(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the class that is read at each place and its probability: [..., F] -> two [..., P]."""
        scores = self.scores(features)
        return scores.argmax(axis=-1), probabilities(scores, self.sharpness).max(axis=-1)


def probabilities(scores: np.ndarray, sharpness: np.ndarray) -> np.ndarray:
    """Return the softmax of sharpened scores [..., P, C]."""
    sharpened = sharpness[:, None] * (scores - scores.max(axis=-1, keepdims=True))
    powers = np.exp(sharpened)
    shares: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def coded(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round weights [F, O] to one byte: codes int8 and the scale of each output, float32."""
    largest = np.abs(weights).max(axis=0)
    scale = np.where(largest == 0, 1.0, largest / _LEVELS).astype(np.float32)
    return np.round(weights / scale).astype(np.int8), scale
