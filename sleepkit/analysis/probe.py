"""Linear probes: what a linear readout finds in the fast weights (Alain and Bengio 2016, arXiv 1610.01644)."""

import numpy as np

from sleepkit.errors import require

_RIDGES = 10.0 ** np.arange(-4, 4)


def probe_accuracy(
    features: np.ndarray, bits: np.ndarray, held_out_features: np.ndarray, held_out_bits: np.ndarray
) -> np.ndarray:
    """Fit one ridge regression for each bit and return how often its sign is right on held-out examples.

    Features are standardised. The ridge is the one, of eight decades around the mean of the singular values' squares, that does
    best on a fifth of the fitted examples which is left out for this choice; held-out examples are used once, at the end.

    Args:
        features: [n, F].
        bits: [n, M] of 0 and 1.
        held_out_features: [m, F].
        held_out_bits: [m, M].

    Returns:
        [M] accuracies in [0, 1].

    Raises:
        InvalidInputError: if there are fewer than 10 examples or the shapes do not fit.
    """
    require(len(features) >= 10, "features", "must hold 10 examples or more", len(features))
    fits = len(features) == len(bits) and len(held_out_features) == len(held_out_bits)
    fits &= features.shape[1:] == held_out_features.shape[1:] and bits.shape[1:] == held_out_bits.shape[1:]
    shapes = (features.shape, bits.shape, held_out_features.shape, held_out_bits.shape)
    require(fits, "features, bits", "must be [n, F], [n, M], [m, F], [m, M]", shapes)
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread == 0] = 1.0
    known, unknown = (features - mean) / spread, (held_out_features - mean) / spread
    n_fit = len(known) - len(known) // 5
    tried = _predictions(known[:n_fit], bits[:n_fit], known[n_fit:], _RIDGES)
    shares = ((tried > 0) == (bits[n_fit:] == 1)).mean(axis=(1, 2))
    predicted = _predictions(known, bits, unknown, _RIDGES[[int(np.argmax(shares))]])[0]
    accuracy: np.ndarray = ((predicted > 0) == (held_out_bits == 1)).mean(axis=0)
    return accuracy


def _predictions(known: np.ndarray, bits: np.ndarray, unknown: np.ndarray, ridges: np.ndarray) -> np.ndarray:
    """Solve the ridge regressions on +-1 by one singular value decomposition: [ridges, m, M]."""
    targets = 2.0 * bits - 1.0
    offset = targets.mean(axis=0)
    left, singular, right = np.linalg.svd(known, full_matrices=False)
    scale = float((singular**2).mean()) or 1.0
    inner, readout = left.T @ (targets - offset), unknown @ right.T
    shrunk = [singular / (singular**2 + ridge * scale) for ridge in ridges]
    return np.stack([offset + readout @ (factor[:, None] * inner) for factor in shrunk])
