"""What a SuperNode does: train both models on its part, judge both on the test set."""

from __future__ import annotations

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits import model, records
from digits.data import load_partition, load_test
from digits.node import read_node

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model and the site's own, each from where it was."""
    node, run = read_node(context.node_config), context.run_config
    images = load_partition(node.partition_id, node.num_partitions, int(run["seed"]))
    server_round = int(message.content["config"]["server-round"])

    def further(name: str) -> model.Model:
        return model.train(
            model.from_record(message.content[name]),
            images,
            epochs=int(run["local-epochs"]),
            learning_rate=float(run["learning-rate"]),
            batch_size=int(run["batch-size"]),
            # The same order of images for both, so that only the start differs.
            rng=np.random.default_rng((int(run["seed"]), server_round, node.partition_id)),
        )

    trained = further(records.GLOBAL_MODEL)
    loss, _ = model.evaluate(trained, images)
    content = RecordDict(
        {
            records.GLOBAL_MODEL: model.to_record(trained),
            records.ALONE_MODEL: model.to_record(further(records.ALONE_MODEL)),
            records.METRICS: MetricRecord(
                {records.TRAIN_LOSS: loss, records.NUM_EXAMPLES: len(images.digits)}
            ),
            records.NODE: ConfigRecord({records.SITE: node.site}),
        }
    )
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Judge the global model and, if it came along, the site's own."""
    node = read_node(context.node_config)
    images = load_test(int(context.run_config["seed"]))
    loss, accuracy = model.evaluate(
        model.from_record(message.content[records.GLOBAL_MODEL]), images
    )
    metrics = MetricRecord(
        {
            records.ACCURACY: accuracy,
            records.LOSS: loss,
            records.NUM_EXAMPLES: len(images.digits),
        }
    )
    if records.ALONE_MODEL in message.content:
        alone = model.from_record(message.content[records.ALONE_MODEL])
        _, metrics[records.ALONE_ACCURACY] = model.evaluate(alone, images)
    content = RecordDict(
        {records.METRICS: metrics, records.NODE: ConfigRecord({records.SITE: node.site})}
    )
    return Message(content=content, reply_to=message)
