"""What an experiment file says under `graph` and `weights`, and what all peers must agree on."""

import numpy as np
import pytest

import topology
from peer.experiment import schema as experiments
from topology import UserError

BASE = {"peers": 4, "algorithm": "diffusion", "gan": "mlp-digits", "optimizer": "sgd"}
SYMMETRIC = [[0.5, 0.5, 0, 0], [0.5, 0.25, 0.25, 0], [0, 0.25, 0.25, 0.5], [0, 0, 0.5, 0.5]]


def experiment(overrides=(), folder=None, **keys):
    return experiments.from_mapping(BASE | keys, overrides, folder)


def agreed(**keys):
    return experiment(**keys).fingerprint()["graph"]


def test_a_static_graph_is_that_of_every_round():
    found = experiment(graph="star")
    assert found.schedule.static
    assert found.graph_of_peers is found.schedule.graph(7)
    assert sorted(found.graph_of_peers.edges) == [(0, 1), (0, 2), (0, 3)]


def test_the_network_of_a_schedule_is_all_its_links():
    found = experiment(graph={"schedule": "one-peer-exponential"})
    assert sorted(found.graph_of_peers.edges) == [(0, 1), (0, 2), (1, 3), (2, 3)]
    assert sorted(found.schedule.graph(3).edges) == [(0, 2), (1, 3)]
    again = found.varied(seed=1)
    assert again.schedule.facts() == found.schedule.facts()


def test_peers_must_agree_on_the_schedule_and_the_weights():
    graphs = ["ring", {"schedule": "one-peer-exponential"}]
    graphs += [{"schedule": "random-matching", "of": "ring"}, {"cycle": ["ring", "ring"]}]
    weights = ["metropolis", "max-degree", {"rule": "laplacian", "epsilon": 0.1}]
    found = [agreed(graph=graph) for graph in graphs]
    found += [agreed(graph="path", weights=rule) for rule in [*weights, {"matrix": SYMMETRIC}]]
    assert len(set(found)) == 8


def test_a_matrix_in_a_file_is_the_one_in_the_experiment(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.array(SYMMETRIC))
    monkeypatch.chdir(tmp_path.parent)
    found = experiment(folder=tmp_path, graph="path", weights={"file": "a.npy"})
    assert topology.neighbour_weights(found.graph_of_peers, found.weights, 1) == {0: 0.5, 2: 0.25}
    assert found.fingerprint()["graph"] == agreed(graph="path", weights={"matrix": SYMMETRIC})
    elsewhere = experiments.from_mapping(found.resolved(), folder=tmp_path / "runs")
    assert elsewhere.weights == found.weights == {"file": str(tmp_path / "a.npy")}


def test_settings_of_a_rule_can_be_overridden():
    found = experiment(["weights.epsilon=0.2"], weights="laplacian")
    assert found.weights == {"rule": "laplacian", "epsilon": 0.2}
    assert topology.neighbour_weights(found.graph_of_peers, found.weights, 0) == {1: 0.2, 3: 0.2}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"weights": {"rule": "laplacian", "epsilon": 2}},
            r"weights\.epsilon: must be more than 0",
        ),
        ({"weights": {"matrix": SYMMETRIC}, "graph": "star"}, r"weights\.matrix: a\[1\]\[2\] is 0"),
        ({"weights": {"file": "none.csv"}}, r"weights\.file: cannot read .*none\.csv: No such"),
        ({"weights": {"file": "none.csv"}, "base": 3}, r"base: "),
        ({"weights": "best"}, r"weights: there is no rule 'best'"),
        ({"graph": {"cycle": [{"edges": [[0, 1]]}]}}, r"graph\.cycle: all links together fall"),
        ({"graph": {"schedule": "often"}}, r"graph\.schedule: there is no schedule 'often'"),
        (
            {"graph": {"cycle": ["path", "star"]}, "weights": {"matrix": SYMMETRIC}},
            r"weights\.matrix: is of one graph, and graph changes with rounds",
        ),
    ],
)
def test_refused_in_one_line_that_names_the_key(keys, message):
    with pytest.raises(UserError, match=r"^experiment: " + message) as caught:
        experiment(**keys)
    assert len(str(caught.value).splitlines()) == 1
