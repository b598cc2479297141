"""python -m unittest tests/test_digits.py (from the folder of the app; no network)."""

import subprocess
import sys
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
from flwr.app import ConfigRecord, Context, RecordDict

from digits import data, model, node, records, server_app
from digits.client_app import app as client_app
from digits.strategy import FedAvgBesideAlone

SEED = 7
RUN_CONFIG = {
    "num-server-rounds": 3,
    "min-nodes": 4,
    "round-timeout": 60,
    "local-epochs": 20,
    "learning-rate": 0.5,
    "batch-size": 16,
    "seed": SEED,
}


class Data(unittest.TestCase):
    def setUp(self):
        self.images = data.load_all()

    def test_the_file_is_what_scikit_learn_loads(self):
        np.testing.assert_array_equal(data._read_table(), data._read_table_with_sklearn())

    def test_importing_the_client_does_not_import_scikit_learn(self):
        code = (
            "import sys, digits.client_app, digits.data as d; d.load_all();"
            "sys.exit('sklearn' in sys.modules)"
        )
        root = Path(__file__).parent.parent
        self.assertEqual(subprocess.run([sys.executable, "-c", code], cwd=root).returncode, 0)

    def test_parts_and_test_set_are_disjoint_and_cover_everything(self):
        test, _ = data.split_indices(self.images.digits, SEED)
        for num_partitions in (1, 2, 3, 4, 7, 16, 100, 1397):
            parts = data.partition_indices(self.images.digits, num_partitions, SEED)
            self.assertEqual(len(parts), num_partitions)
            self.assertTrue(all(len(part) for part in parts))
            together = np.concatenate([test, *parts])
            np.testing.assert_array_equal(np.sort(together), np.arange(len(self.images.digits)))

    def test_test_set_has_every_digit_equally_often(self):
        counts = np.bincount(data.load_test(SEED).digits)
        self.assertEqual(counts.tolist(), [data.TEST_IMAGES_PER_DIGIT] * 10)

    def test_cut_is_the_same_every_time_and_another_with_another_seed(self):
        first, again, other = (
            data.partition_indices(self.images.digits, 4, seed) for seed in (SEED, SEED, SEED + 1)
        )
        for one, two in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, two)
        self.assertFalse(np.array_equal(first[0], other[0]))

    def test_low_parts_have_low_digits_but_a_few_of_the_others(self):
        low, high = 0, 0
        for partition_id in range(4):
            digits = data.load_partition(partition_id, 4, SEED).digits
            own = (digits < 5) if partition_id < 2 else (digits >= 5)
            self.assertGreater(own.mean(), 0.9)
            low, high = low + (digits < 5).sum(), high + (digits >= 5).sum()
            self.assertLess(own.mean(), 1.0)
        self.assertGreater(min(low, high), 600)

    def test_more_parts_than_images_is_refused(self):
        with self.assertRaisesRegex(ValueError, "num-partitions is 1398.*1 to 1397"):
            data.load_partition(0, 1398, SEED)


class Training(unittest.TestCase):
    def test_record_round_trip(self):
        rng = np.random.default_rng(0)
        before = model.Model(rng.normal(size=(64, 10)), rng.normal(size=10))
        after = model.from_record(model.to_record(before))
        for one, two in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, two)

    def test_training_lowers_the_loss_and_leaves_its_input(self):
        images, start = data.load_partition(0, 1, SEED), model.initial()
        trained = model.train(
            start, images, epochs=1, learning_rate=0.5, batch_size=16, rng=np.random.default_rng(0)
        )
        self.assertLess(model.evaluate(trained, images)[0], model.evaluate(start, images)[0] / 2)
        self.assertFalse(start.weights.any())

    def test_an_untrained_model_guesses(self):
        loss, accuracy = model.evaluate(model.initial(), data.load_test(SEED))
        self.assertAlmostEqual(loss, np.log(10))
        self.assertAlmostEqual(accuracy, 0.1)

    def test_mean_is_weighted(self):
        zero, one = (
            model.to_record(model.Model(np.full((64, 10), v), np.full(10, v))) for v in (0.0, 1.0)
        )
        mean = model.from_record(model.weighted_mean([zero, one], [1, 3]))
        np.testing.assert_allclose(mean.weights, 0.75)
        np.testing.assert_allclose(mean.bias, 0.75)


class NodeConfig(unittest.TestCase):
    good = {"partition-id": 1, "num-partitions": 4, "site": "paris"}

    def test_good(self):
        self.assertEqual(node.read_node(self.good), node.Node(1, 4, "paris"))

    def test_a_missing_key_is_named_with_an_example(self):
        for key in self.good:
            config = {k: v for k, v in self.good.items() if k != key}
            with self.assertRaises(ValueError) as caught:
                node.read_node(config)
            self.assertIn(f"{key} is missing", str(caught.exception))
            self.assertIn(node.EXAMPLE, str(caught.exception))

    def test_all_problems_at_once(self):
        every = "partition-id is missing.*num-partitions is 0.*site is 5"
        with self.assertRaisesRegex(ValueError, every):
            node.read_node({"num-partitions": 0, "site": 5})

    def test_wrong_values(self):
        for key, value in (
            ("partition-id", 4),
            ("partition-id", "1"),
            ("partition-id", -1),
            ("partition-id", True),
            ("site", " "),
        ):
            with self.assertRaisesRegex(ValueError, f"{key} is "):
                node.read_node({**self.good, key: value})


class RunConfig(unittest.TestCase):
    def test_good(self):
        server_app.check_run_config(RUN_CONFIG)
        server_app.check_run_config({**RUN_CONFIG, "learning-rate": 1})

    def test_all_problems_at_once(self):
        bad = {**RUN_CONFIG, "local-epochs": 0, "seed": 1.5, "learning-rate": -1}
        every = "local-epochs is 0.*seed is 1.5.*learning-rate is -1"
        with self.assertRaisesRegex(ValueError, every):
            server_app.check_run_config(bad)


class LocalGrid:
    """Hands every message straight to the ClientApp, as one SuperNode per node id would."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.sent = []

    def get_node_ids(self):
        return list(self.nodes)

    def send_and_receive(self, messages, *, timeout=None):
        replies = []
        for message in messages:
            self.sent.append(message)
            node_id = message.metadata.dst_node_id
            context = Context(
                run_id=1,
                node_id=node_id,
                node_config=self.nodes[node_id],
                state=RecordDict(),
                run_config=RUN_CONFIG,
            )
            replies.append(client_app(message, context))
        return replies


def four_nodes():
    return {
        100 + i: {"partition-id": i, "num-partitions": 4, "site": "paris" if i < 2 else "lisbon"}
        for i in range(4)
    }


class Federation(unittest.TestCase):
    def setUp(self):
        # Newer releases of Flower number messages by the process's run.
        try:
            from flwr.supercore.task_identity import TaskIdentity
        except ImportError:
            return
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1

    def start(self, grid, rounds):
        strategy = FedAvgBesideAlone(min_train_nodes=2, min_evaluate_nodes=2, min_available_nodes=2)
        return strategy, strategy.start(
            grid=grid, initial_arrays=model.to_record(model.initial()), num_rounds=rounds
        )

    def test_the_federation_is_good_and_each_site_alone_is_not(self):
        _, result = self.start(LocalGrid(four_nodes()), 3)
        self.assertEqual(set(result.train_metrics_clientapp[3]), {"train-loss"})
        metrics = result.evaluate_metrics_clientapp[3]
        self.assertEqual(
            list(metrics), ["accuracy", "loss", "alone/lisbon/accuracy", "alone/paris/accuracy"]
        )
        self.assertGreaterEqual(metrics["accuracy"], 0.90)
        self.assertLessEqual(metrics["alone/paris/accuracy"], 0.65)
        self.assertLessEqual(metrics["alone/lisbon/accuracy"], 0.65)
        line = server_app.summary(3, metrics)
        self.assertRegex(
            line,
            r"^Accuracy after round 3: federation 0\.9\d\d,"
            r" lisbon alone 0\.\d{3}, paris alone 0\.\d{3}$",
        )

    def test_a_site_model_is_what_its_nodes_alone_would_have_trained(self):
        both, _ = self.start(LocalGrid(four_nodes()), 2)
        paris = {i: c for i, c in four_nodes().items() if c["site"] == "paris"}
        _, alone = self.start(LocalGrid(paris), 2)
        for one, two in zip(
            model.from_record(both._alone["paris"]), model.from_record(alone.arrays), strict=True
        ):
            np.testing.assert_allclose(one, two)

    def test_a_late_node_does_not_throw_its_site_back(self):
        grid = LocalGrid({i: c for i, c in four_nodes().items() if i != 101})
        strategy, result = self.start(grid, 1)
        before = model.from_record(strategy._alone["paris"])
        grid.nodes[101] = four_nodes()[101]
        config = ConfigRecord()
        replies = grid.send_and_receive(strategy.configure_train(2, result.arrays, config, grid))
        of_100 = next(r for r in replies if r.metadata.src_node_id == 100)
        expected = model.from_record(of_100.content["alone"])
        strategy.aggregate_train(2, replies)
        after = model.from_record(strategy._alone["paris"])
        np.testing.assert_allclose(after.weights, expected.weights)
        self.assertFalse(np.array_equal(before.weights, after.weights))

    def test_metric_keys_can_be_read_back(self):
        self.assertEqual(records.alone_key("paris"), "alone/paris/accuracy")
        for site in ("paris", "new york", "a/b"):
            self.assertEqual(records.site_of_alone_key(records.alone_key(site)), site)
        for key in ("accuracy", "alone//accuracy", "alone/paris/loss"):
            self.assertIsNone(records.site_of_alone_key(key))

    def test_a_run_that_learned_nothing_fails(self):
        empty = mock.Mock(evaluate_metrics_clientapp={})
        context = mock.Mock(run_config=RUN_CONFIG)
        with mock.patch.object(FedAvgBesideAlone, "start", return_value=empty):
            with self.assertRaisesRegex(RuntimeError, "No node returned"):
                server_app.main(None, context)


if __name__ == "__main__":
    unittest.main()
