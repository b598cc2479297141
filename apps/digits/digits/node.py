"""What a SuperNode was told about itself with `--node-config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

EXAMPLE = """--node-config 'partition-id=0 num-partitions=4 site="paris"'"""


class Node(NamedTuple):
    """Which part of the data this node trains on, and where it stands."""

    partition_id: int
    num_partitions: int
    site: str


def read_node(config: Mapping[str, object]) -> Node:
    """Check the node config. All that is wrong with it is said at once."""
    problems: list[str] = []
    partition_id = _whole_number(config, "partition-id", problems)
    num_partitions = _whole_number(config, "num-partitions", problems)
    if num_partitions == 0:
        problems.append("num-partitions is 0, but must be at least 1")
    elif None not in (partition_id, num_partitions) and partition_id >= num_partitions:
        problems.append(
            f"partition-id is {partition_id}, but must be below num-partitions ({num_partitions})"
        )
    site = config.get("site")
    if "site" not in config:
        problems.append("site is missing")
    elif not isinstance(site, str) or not site.strip():
        problems.append(f"site is {site!r}, but must be a name in quotes")
    if problems:
        raise ValueError(
            "The node config of this SuperNode is not usable: "
            + "; ".join(problems)
            + f". Start the SuperNode with, for example: {EXAMPLE}"
        )
    return Node(partition_id, num_partitions, site.strip())


def _whole_number(config: Mapping[str, object], key: str, problems: list[str]) -> int | None:
    value = config.get(key)
    if key not in config:
        problems.append(f"{key} is missing")
    elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
        problems.append(f"{key} is {value!r}, but must be a whole number from 0")
    else:
        return value
    return None
