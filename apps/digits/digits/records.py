"""The names under which things travel between ServerApp and ClientApp."""

# Records of a message. Flower's FedAvg uses "arrays" for the global model.
GLOBAL_MODEL = "arrays"
ALONE_MODEL = "alone"
METRICS = "metrics"
NODE = "node"

# Key of the node record.
SITE = "site"

# Keys of the metrics of one node.
NUM_EXAMPLES = "num-examples"
TRAIN_LOSS = "train-loss"
ACCURACY = "accuracy"
LOSS = "loss"
ALONE_ACCURACY = "alone-accuracy"


def alone_key(site: str) -> str:
    """Aggregated metric: how well the model does that this site trained alone."""
    return f"{ALONE_MODEL}/{site}/{ACCURACY}"


def site_of_alone_key(key: str) -> str | None:
    """The site of a key made by `alone_key`, None for any other key."""
    prefix, suffix = f"{ALONE_MODEL}/", f"/{ACCURACY}"
    if key.startswith(prefix) and key.endswith(suffix) and len(key) > len(prefix) + len(suffix):
        return key[len(prefix) : -len(suffix)]
    return None
