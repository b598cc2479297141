"""The SuperLink's side: rounds with all nodes, and a report that a program can read."""

from __future__ import annotations

import json
import logging
import time

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

from testbed import model

# By name, because the module that exports it has moved between releases.
log = logging.getLogger("flwr")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs the rounds; how a failure looks like is in the report too."""
    config = context.run_config

    def tell(event: str, **what: object) -> None:
        line = json.dumps({"event": event, "at": time.time(), **what})
        log.info("testbed %s", line)
        if config["report"]:
            with open(str(config["report"]), "a", encoding="utf-8") as report:
                report.write(line + "\n")

    tell("start")
    try:
        weights = model.initial(int(config["arrays"]), float(config["megabytes"]))
        nodes = wait_for(grid, int(config["min-nodes"]))
        tell("nodes", nodes=len(nodes))
        for number in range(1, int(config["rounds"]) + 1):
            weights = one_round(grid, nodes, number, weights, float(config["round-timeout"]), tell)
    except BaseException as why:
        tell("failed", why=f"{type(why).__name__}: {why}")
        raise
    tell("end")


def wait_for(grid: Grid, count: int) -> list[int]:
    """The nodes, when they are all there."""
    while len(nodes := sorted(grid.get_node_ids())) < count:
        time.sleep(0.5)
    return nodes


def objects_of(content: RecordDict) -> list[int]:
    """The sizes of the objects that Flower makes of a message's content; names are not asked for,
    since Flower would hash everything again for each of them."""
    sizes = [len(content.deflate())]
    for record in content.values():
        sizes.append(len(record.deflate()))
        for array in record.values() if isinstance(record, ArrayRecord) else ():
            sizes.append(len(array.deflate()))
            sizes += [len(chunk.deflate()) for chunk in array.children.values()]
    return sizes


def one_round(grid, nodes, number, weights, timeout, tell):
    """Sends the model to all, takes their answers, and compares every bit."""
    arrays, sent = ArrayRecord(weights), model.digest(weights)
    messages = [
        Message(
            content=RecordDict(
                {"arrays": arrays, "config": ConfigRecord({"server-round": number})}
            ),
            dst_node_id=node,
            message_type=MessageType.TRAIN,
            group_id=str(number),
        )
        for node in nodes
    ]
    if number == 1:
        # Of each node's own there is only the message itself.
        sizes = objects_of(messages[0].content) + [len(message.deflate()) for message in messages]
        tell("model", bytes=sum(sizes), objects=len(sizes))
    tell("round", round=number)
    began = time.time()
    replies = list(grid.send_and_receive(messages, timeout=timeout))
    seconds = time.time() - began
    errors = [str(reply.error) for reply in replies if reply.has_error()]
    good = [reply for reply in replies if not reply.has_error()]
    models = [reply.content["arrays"].to_numpy_ndarrays() for reply in good]
    different = 0
    for reply, got in zip(good, models, strict=True):
        digests = reply.content["digests"]
        different += digests["got"] != sent or digests["sent"] != model.digest(got)
    times = [reply.content["times"] for reply in good]
    tell(
        "round-end",
        round=number,
        seconds=seconds,
        results=len({reply.metadata.src_node_id for reply in good}),
        errors=errors,
        different=different,
        # From the begin of the round until a node has its model, and from when it has answered until its end.
        down=[float(node["began"]) - began for node in times],
        up=[began + seconds - float(node["ended"]) for node in times],
    )
    return model.mean(models) if models else weights
