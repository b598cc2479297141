"""The digits data set, cut into one uneven part per node and one common test set.

Every node makes the same cut from the same seed, so no index ever travels.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np

NUM_CLASSES = 10
NUM_PIXELS = 64
MAX_PIXEL = 16.0
TEST_IMAGES_PER_DIGIT = 40


class Images(NamedTuple):
    """Pixels in 0..1, shape (n, 64), and the digit each image shows, shape (n,)."""

    pixels: np.ndarray
    digits: np.ndarray


def load_all() -> Images:
    """All 1797 images that scikit-learn carries."""
    table = _read_table()
    return Images(table[:, :NUM_PIXELS] / MAX_PIXEL, table[:, NUM_PIXELS].astype(np.int64))


def load_test(seed: int) -> Images:
    """The test set: the same on every node, every digit equally often."""
    images = load_all()
    test, _ = split_indices(images.digits, seed)
    return take(images, test)


def load_partition(partition_id: int, num_partitions: int, seed: int) -> Images:
    """The training images of one node."""
    images = load_all()
    return take(images, partition_indices(images.digits, num_partitions, seed)[partition_id])


def take(images: Images, indices: np.ndarray) -> Images:
    """The images at these indices."""
    return Images(images.pixels[indices], images.digits[indices])


def split_indices(digits: np.ndarray, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Indices of the test set, and of the training images of each digit (shuffled)."""
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero(digits == d)) for d in range(NUM_CLASSES)]
    test = np.concatenate([indices[:TEST_IMAGES_PER_DIGIT] for indices in shuffled])
    return test, [indices[TEST_IMAGES_PER_DIGIT:] for indices in shuffled]


def partition_indices(digits: np.ndarray, num_partitions: int, seed: int) -> list[np.ndarray]:
    """Cut the training images into parts that each hold a neighbourhood of digits.

    The images are laid out from 0 to 9 and cut into runs of equal length: low
    partition ids get low digits. Neighbouring nodes, such as those of one site,
    therefore miss most other digits. A handful of each digit is dealt round to
    everybody first, so that no part is blind to a digit by construction.
    """
    _, by_digit = split_indices(digits, seed)
    total = sum(len(indices) for indices in by_digit)
    if not 1 <= num_partitions <= total:
        raise ValueError(
            f"num-partitions is {num_partitions}, but the {total} training images "
            f"can be cut into 1 to {total} parts"
        )
    shared = _shared_per_digit(num_partitions, min(len(indices) for indices in by_digit))
    dealt = np.concatenate([indices[:shared] for indices in by_digit])
    kept = np.concatenate([indices[shared:] for indices in by_digit])
    # Dealing favours the first parts by up to one image, so the cut favours the last:
    # it is made from the high end. With as many parts as images, nobody is empty.
    runs = np.array_split(kept[::-1], num_partitions)[::-1]
    return [np.concatenate([run, dealt[i::num_partitions]]) for i, run in enumerate(runs)]


def _shared_per_digit(num_partitions: int, fewest: int) -> int:
    """How many images of each digit are dealt round instead of staying in its run.

    Three are enough for four nodes to agree within three rounds, and few enough
    that a site alone stays bad. More nodes need more, up to a quarter of a digit.
    """
    return min(max(3, round(0.75 * num_partitions)), fewest // 4)


def _read_table() -> np.ndarray:
    """The 1797 x 65 table (64 pixels, then the digit) behind `load_digits`.

    Flower starts a process per message, and importing scikit-learn takes longer
    than all the rest of this app. Its file is read where it lies, without
    importing the package; `load_digits` answers if a release moves the file.
    """
    found = importlib.util.find_spec("sklearn")
    for folder in (found.submodule_search_locations or ()) if found else ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    return _read_table_with_sklearn()


def _read_table_with_sklearn() -> np.ndarray:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(np.float64)
