"""Multinomial logistic regression by mini-batch gradient descent: 650 numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from flwr.app import Array, ArrayRecord

from digits.data import NUM_CLASSES, NUM_PIXELS, Images


class Model(NamedTuple):
    """Weights, shape (64, 10), and bias, shape (10,)."""

    weights: np.ndarray
    bias: np.ndarray


def initial() -> Model:
    """The model every training starts from. The loss is convex: zeros are as good as any."""
    return Model(np.zeros((NUM_PIXELS, NUM_CLASSES)), np.zeros(NUM_CLASSES))


def to_record(model: Model) -> ArrayRecord:
    """The model as it travels: one array per field, under the field's name."""
    return ArrayRecord({name: Array(value) for name, value in model._asdict().items()})


def from_record(record: ArrayRecord) -> Model:
    """The inverse of `to_record`."""
    return Model(**{name: record[name].numpy() for name in Model._fields})


def train(
    model: Model,
    images: Images,
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    rng: np.random.Generator,
) -> Model:
    """A model trained further on these images. The one given is left as it is."""
    weights, bias = model.weights.copy(), model.bias.copy()
    for _ in range(epochs):
        order = rng.permutation(len(images.digits))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            pixels, digits = images.pixels[batch], images.digits[batch]
            # Gradient of the mean cross entropy with respect to the scores.
            error = _probabilities(Model(weights, bias), pixels)
            error[np.arange(len(batch)), digits] -= 1.0
            error /= len(batch)
            weights -= learning_rate * (pixels.T @ error)
            bias -= learning_rate * error.sum(axis=0)
    return Model(weights, bias)


def evaluate(model: Model, images: Images) -> tuple[float, float]:
    """Mean cross entropy, and the share of images recognised."""
    probabilities = _probabilities(model, images.pixels)
    right = probabilities[np.arange(len(images.digits)), images.digits]
    loss = -np.log(np.maximum(right, 1e-12)).mean()
    accuracy = (probabilities.argmax(axis=1) == images.digits).mean()
    return float(loss), float(accuracy)


def weighted_mean(records: list[ArrayRecord], weights: list[float]) -> ArrayRecord:
    """Federated averaging of records with the same keys."""
    total = sum(weights)
    return ArrayRecord(
        {
            key: Array(
                np.asarray(
                    sum(
                        record[key].numpy() * (weight / total)
                        for record, weight in zip(records, weights, strict=True)
                    )
                )
            )
            for key in records[0]
        }
    )


def _probabilities(model: Model, pixels: np.ndarray) -> np.ndarray:
    scores = pixels @ model.weights + model.bias
    # The largest score becomes 0, so that exp never overflows.
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
