"""What the SuperLink does: federated averaging, and one line of summary at the end."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from flwr.app import Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from digits import model, records
from digits.strategy import FedAvgBesideAlone

# Flower's own logger: what goes there is in `flwr log` and `flwr run --stream`.
# Taken by name, because the module that exports it has moved between releases.
log = logging.getLogger("flwr")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for the configured number of rounds."""
    check_run_config(context.run_config)
    rounds = context.run_config["num-server-rounds"]
    min_nodes = context.run_config["min-nodes"]
    strategy = FedAvgBesideAlone(
        min_train_nodes=min_nodes,
        min_evaluate_nodes=min_nodes,
        min_available_nodes=min_nodes,
        weighted_by_key=records.NUM_EXAMPLES,
        arrayrecord_key=records.GLOBAL_MODEL,
    )
    result = strategy.start(
        grid=grid,
        initial_arrays=model.to_record(model.initial()),
        num_rounds=rounds,
        timeout=float(context.run_config["round-timeout"]),
    )
    evaluated = result.evaluate_metrics_clientapp
    if not evaluated:
        # Flower would call such a run finished; nothing was learned.
        raise RuntimeError(
            f"No node returned a usable evaluation in {rounds} rounds. "
            "The lines above beginning with '> Received error in reply' say why."
        )
    last = max(evaluated)
    log.info("%s", summary(last, evaluated[last]))


def summary(server_round: int, metrics: MetricRecord) -> str:
    """One line: the federation, then each site alone."""
    alone = [
        f"{site} alone {metrics[key]:.3f}"
        for key in metrics
        if (site := records.site_of_alone_key(key)) is not None
    ]
    together = f"federation {metrics[records.ACCURACY]:.3f}"
    return f"Accuracy after round {server_round}: {', '.join([together, *alone])}"


def check_run_config(config: Mapping[str, object]) -> None:
    """Refuse values that cannot work before any node is asked. All at once."""
    problems = [
        f"{key} is {config[key]!r}, but must be a whole number from {least}"
        for key, least in (
            ("num-server-rounds", 1),
            ("min-nodes", 1),
            ("round-timeout", 1),
            ("local-epochs", 1),
            ("batch-size", 1),
            ("seed", 0),
        )
        if isinstance(config[key], bool) or not isinstance(config[key], int) or config[key] < least
    ]
    rate = config["learning-rate"]
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
        problems.append(f"learning-rate is {rate!r}, but must be a number above 0")
    if problems:
        raise ValueError("The run config is not usable: " + "; ".join(problems))
