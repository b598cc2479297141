"""A node: takes the model, changes it a little, sends it back."""

from __future__ import annotations

import time

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from testbed import model

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Says what it got and what it sends, by digest, and when."""
    began = time.time()
    weights = message.content["arrays"].to_numpy_ndarrays()
    got = model.digest(weights)
    time.sleep(float(context.run_config["train-seconds"]))
    number = int(message.content["config"]["server-round"])
    weights = model.updated(weights, (number, context.node_id))
    content = RecordDict(
        {
            "arrays": ArrayRecord(weights),
            "digests": ConfigRecord({"got": got, "sent": model.digest(weights)}),
            "times": MetricRecord({"began": began, "ended": time.time()}),
        }
    )
    return Message(content=content, reply_to=message)
