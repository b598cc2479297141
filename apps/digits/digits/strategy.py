"""Federated averaging that keeps, beside the global model, one model per site.

A site's own model is averaged over that site's nodes only: it is what the site
would have without the federation, after the same rounds of the same training.
To Flower this is plain FedAvg: the extra records are added to the messages just
before they leave, and taken out of the replies before FedAvg looks at them.
"""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from digits import records
from digits.model import weighted_mean


class FedAvgBesideAlone(FedAvg):
    """FedAvg, and the same for each site alone."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._start: ArrayRecord | None = None
        self._site_of_node: dict[int, str] = {}
        self._alone: dict[str, ArrayRecord] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the global model and the one of the node's site."""
        if self._start is None:
            self._start = arrays
        messages = list(super().configure_train(server_round, arrays, config, grid))
        for message in messages:
            # The site of a node is known from its first reply on. Until then it
            # gets what every model started from.
            alone = self._alone_of(message.metadata.dst_node_id)
            _add_alone(message, self._start if alone is None else alone)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average over all nodes, and over those of each site."""
        replies = list(replies)
        updates: dict[str, list[tuple[ArrayRecord, float]]] = {}
        for reply in _usable(replies):
            node, site = reply.metadata.src_node_id, _site(reply)
            update = reply.content.pop(records.ALONE_MODEL)
            trained_site_model = self._site_of_node.get(node) == site
            self._site_of_node[node] = site
            # A node that joined late has trained the starting model: its update
            # would throw the site's model back.
            if trained_site_model or site not in self._alone:
                weight = reply.content[records.METRICS][self.weighted_by_key]
                updates.setdefault(site, []).append((update, weight))
        result = super().aggregate_train(server_round, replies)
        for site, of_site in updates.items():
            arrays, weights = zip(*of_site, strict=True)
            self._alone[site] = weighted_mean(list(arrays), list(weights))
        return result

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Have both models judged by the same images."""
        messages = list(super().configure_evaluate(server_round, arrays, config, grid))
        for message in messages:
            alone = self._alone_of(message.metadata.dst_node_id)
            if alone is not None:
                _add_alone(message, alone)
        return messages

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Flower's average, plus `alone/<site>/accuracy` for each site."""
        replies = list(replies)
        alone: dict[str, list[float]] = {}
        for reply in _usable(replies):
            # FedAvg wants the same keys from all, and averages over all.
            accuracy = reply.content[records.METRICS].pop(records.ALONE_ACCURACY, None)
            if accuracy is not None:
                alone.setdefault(_site(reply), []).append(accuracy)
        metrics = super().aggregate_evaluate(server_round, replies)
        if metrics is not None:
            for site, accuracies in sorted(alone.items()):
                metrics[records.alone_key(site)] = sum(accuracies) / len(accuracies)
        return metrics

    def _alone_of(self, node: int) -> ArrayRecord | None:
        return self._alone.get(self._site_of_node.get(node, ""))


def _add_alone(message: Message, alone: ArrayRecord) -> None:
    # All messages of a round share one content: each gets its own.
    message.content = RecordDict({**message.content, records.ALONE_MODEL: alone})


def _usable(replies: list[Message]) -> list[Message]:
    return [reply for reply in replies if not reply.has_error()]


def _site(reply: Message) -> str:
    return str(reply.content[records.NODE][records.SITE])
