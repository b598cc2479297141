"""A model that looks like one to a compressor, and a way to tell whether two are the same to the last bit."""

from __future__ import annotations

import hashlib

import numpy as np

# Spread of the weights, and of what a node adds to them in a round.
WEIGHTS = 0.02
UPDATE = 1e-4


def initial(arrays: int, megabytes: float) -> list[np.ndarray]:
    """Weights; no two arrays are equal, since Flower would send those only once."""
    floats = max(arrays, round(megabytes * 1e6 / 4))
    sizes = [floats // arrays + (index < floats % arrays) for index in range(arrays)]
    random = np.random.default_rng(1)
    return [random.standard_normal(size, dtype=np.float32) * np.float32(WEIGHTS) for size in sizes]


def updated(weights: list[np.ndarray], seed: tuple[int, ...]) -> list[np.ndarray]:
    """The weights after a node's round."""
    random = np.random.default_rng(seed)
    return [
        array + random.standard_normal(array.size, dtype=np.float32) * np.float32(UPDATE)
        for array in weights
    ]


def mean(models: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Federated averaging of equals."""
    share = np.float32(1 / len(models))
    return [np.sum(arrays, axis=0, dtype=np.float32) * share for arrays in zip(*models, strict=True)]


def digest(weights: list[np.ndarray]) -> str:
    """SHA-256 over all bits."""
    total = hashlib.sha256()
    for array in weights:
        total.update(np.ascontiguousarray(array))
    return total.hexdigest()
