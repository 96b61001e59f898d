"""FeGAN's and Oasis's arithmetic: golden values, and what their papers promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, silhouette_score
from torch import nn

import algorithms
from algorithms.fegan.load import Capability, Loads, assign, regression
from algorithms.fegan.probe import probe
from algorithms.fegan.sampling import kl_weights, queues_of, sample_balanced, scores, with_loads
from algorithms.oasis.annealing import Annealed, Annealing
from algorithms.oasis.clustering import Grouping, find_groups, merge_small
from algorithms.oasis.representation import Representation, represent
from peer.data.partitions import partition
from peer.data.sources import Images
from peer.data.spec import DataSpec
from peer.effects import Gradient, Now, StepResult
from peer.experiment import from_mapping
from peer.gan.losses import LOSSES
from peer.gan.objectives import OBJECTIVES, Batch
from peer.peer import Peer
from sim.metrics.seen import seen_by_rounds
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN
from topology.errors import UserError

HISTOGRAMS = {
    0: np.array([10, 0, 0]), 1: np.array([0, 20, 10]), 2: np.array([10, 10, 20]),
}  # fmt: skip


# --- FeGAN ----------------------------------------------------------------------------------------


def test_the_golden_scores_and_weights() -> None:
    s = scores(HISTOGRAMS)
    assert [s[k] for k in range(3)] == pytest.approx([0.173287, 0.129118, 0.021237], abs=1e-6)
    exp = kl_weights(s, [0, 1, 2], "exp")
    assert list(exp.values()) == pytest.approx([0.355147, 0.339802, 0.305052], abs=1e-6)
    assert list(kl_weights(s, [1, 0], "exp").values()) == pytest.approx(
        [0.511040, 0.488960], abs=1e-6
    )
    linear = kl_weights(s, [0, 1, 2], "linear")
    assert list(linear.values()) == pytest.approx([0.535427, 0.398953, 0.065620], abs=1e-6)
    assert list(kl_weights(s, [0, 1, 2], "dirac").values()) == [1, 0, 0]
    loaded = with_loads(exp, {0: 1.0, 1: 0.25, 2: 1.0})
    assert list(loaded.values()) == pytest.approx([0.476612, 0.114005, 0.409384], abs=1e-6)
    assert kl_weights({0: 0.0, 1: 0.0}, [0, 1], "linear") == {0: 0.5, 1: 0.5}
    assert scores({0: np.array([0, 0]), 1: np.array([3, 1])})[0] == 0.0


def test_the_golden_rounds_of_balanced_sampling() -> None:
    c = {0: [30, 0, 0], 1: [0, 5, 0], 2: [0, 5, 40], 3: [10, 10, 10]}
    queues = queues_of({k: np.array(of) for k, of in c.items()})
    taken = [0.0, 0.0, 0.0]
    rounds, sums = [], []
    for _ in range(4):
        rounds.append(set(sample_balanced(queues, taken, c, 2)))
        sums.append(tuple(taken))
    assert rounds == [{3, 0}, {3, 2}, {1, 3}, {2, 1}]
    assert sums == [(40, 10, 10), (50, 25, 60), (60, 40, 70), (60, 50, 110)]


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=8))
def test_a_group_is_of_different_devices_and_taken_is_what_they_show(table: list) -> None:
    c = {k: row for k, row in enumerate(table) if sum(row)}
    if not c:
        return
    queues = queues_of({k: np.array(row) for k, row in c.items()})
    taken = [0.0] * 3
    shown = np.zeros(3)
    for _ in range(5):
        group = sample_balanced(queues, taken, c, 3)
        assert 0 < len(group) == len(set(group)) <= min(3, len(c))
        shown += np.sum([c[k] for k in group], axis=0)
        assert taken == shown.tolist()


def digits60k() -> Images:
    labels = np.repeat(np.arange(10), 6000)
    return Images(np.zeros((60_000, 1, 1, 1), dtype=np.uint8), labels, "sixty", unit=127.5)


@pytest.mark.parametrize("setting", [(5, 3000), (10, 2000), (20, 3000), (40, 4000)])
@pytest.mark.parametrize("fraction", [0.025, 0.1])
def test_balanced_sampling_sees_a_truer_distribution(
    setting: tuple[int, int], fraction: float
) -> None:
    """KL(seen || real) below random sampling's on the paper's own partitions, 20 seeds."""
    images = digits60k()
    assert images.labels is not None
    most_classes, most_samples = setting
    spec = DataSpec.model_validate(
        {"partition": {"name": "fegan", "max_class": most_classes, "max_samples": most_samples}}
    )
    everything = dict.fromkeys(range(10), 6000)
    balanced, random = [], []
    for seed in range(20):
        parts = partition(spec, images, 80, seed)
        c = {k: np.bincount(images.labels[part], minlength=10) for k, part in enumerate(parts)}
        assert 90_000 < sum(of.sum() for of in c.values()) < 640_000  # devices overlap
        held = {k: dict(enumerate(of.tolist())) for k, of in c.items()}
        size = int(fraction * 80)
        queues, taken = queues_of(c), [0.0] * 10
        shows = {k: of.tolist() for k, of in c.items()}
        groups = [sample_balanced(queues, taken, shows, size) for _ in range(50)]
        rng = np.random.default_rng(seed)
        chance = [rng.choice(80, size, replace=False).tolist() for _ in range(50)]
        balanced.append(seen_by_rounds(groups, held, everything).divergence)
        random.append(seen_by_rounds(chance, held, everything).divergence)
    ours, theirs = np.mean(balanced, axis=0), np.mean(random, axis=0)
    for after in (10, 50):
        assert ours[after - 1] < theirs[after - 1]


def test_loads_follow_the_median_device_and_memory() -> None:
    fast, slow = Capability(alpha=1.0), Capability(alpha=3.0)
    small = Capability(alpha=0.0, beta=1 / 50, delta=1.0, memory=30.0)
    weak = Capability(alpha=1000.0)
    given_ = assign({1: fast, 2: slow, 3: small, 4: fast, 5: weak}, 30, 50, Loads())
    # medians: E t(B) is 30, 90, 30, 30, 30000 -> 30
    assert given_ == {1: (30, 50), 2: (10, 50), 3: (30, 25), 4: (30, 50)}
    linear = assign({1: Capability(score=0.5)}, 30, 50, Loads(by="linear"))
    assert linear == {1: (15, 26)}
    alpha, beta = regression([8, 16, 32], [1.8, 2.6, 4.2])
    assert (alpha, beta) == (pytest.approx(1.0), pytest.approx(0.1))


def test_a_probe_learns_nothing_and_draws_nothing() -> None:
    experiment = from_mapping(PLAIN | {"algorithm": {"name": "fegan", "rounds": 1}})
    state = make_states(experiment)[1]
    before = state.dump()
    running = probe(Peer(state, experiment.schedule))
    seconds, effect = 0.0, running.send(None)
    found = None
    while found is None:
        answer: object = None
        if isinstance(effect, Now):
            answer = seconds
        elif isinstance(effect, Gradient):
            seconds += 0.5 + 0.01 * len(effect.inputs["z"])
            answer = StepResult(0.0, 0.0)
        try:
            effect = running.send(answer)
        except StopIteration as ended:
            found = ended.value
    assert (found.alpha, found.beta) == (pytest.approx(1.0), pytest.approx(0.02))
    after = state.dump()
    assert before.facts == after.facts
    assert all(torch.equal(before.tensors[k], after.tensors[k]) for k in before.tensors)


def test_absentees_are_not_counted_as_seen() -> None:
    keys = PLAIN | {
        "algorithm": {"name": "fegan", "rounds": 3, "local_steps": 1, "fraction": 1.0},
        "faults": [{"peer": 2, "down": 0.0025}],  # in its second round: a round is two steps
        "deadline": 5.0,
    }
    experiment = from_mapping(keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    facts = states[0].facts
    assert [2 in came for came in facts["history"]] == [True, False, False]
    counted = np.zeros(10)
    for came in facts["history"]:
        counted += np.sum([facts["shows"][str(k)] for k in came], axis=0)
    assert facts["taken"] == counted.tolist()


def test_labels_are_asked_for_in_one_line(tmp_path) -> None:
    np.savez(tmp_path / "bare.npz", images=np.zeros((60, 8, 8), dtype=np.uint8))
    data = {"source": "npz", "path": str(tmp_path / "bare.npz"), "partition": "iid"}
    keys = PLAIN | {"data": data, "algorithm": {"name": "fegan", "rounds": 1, "local_steps": 1}}
    experiment = from_mapping(keys)
    with pytest.raises(UserError, match=r"algorithm.histogram: .*say histogram: clusters"):
        drive(experiment, make_states(experiment), algorithms.find(experiment))


# --- Oasis ----------------------------------------------------------------------------------------


def test_the_golden_regulariser() -> None:
    one = torch.ones(3, 1)
    omega = LOSSES["bce_ns"].penalty(one, -one, 4 * one, 4 * one)
    assert omega.item() == pytest.approx(0.578636, abs=1e-6)
    assert LOSSES["lsgan"].penalty(one, one, 9 * one, 4 * one).item() == 2.0


@pytest.mark.parametrize("loss", ["bce_ns", "lsgan"])
def test_the_regularisers_gradient_is_that_of_finite_differences(loss: str) -> None:
    torch.manual_seed(0)
    D = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    batch = Batch(
        torch.randn(5, 1, 2, 2, dtype=torch.float64),
        fake=torch.randn(5, 1, 2, 2, dtype=torch.float64),
        gamma=0.7,
    )

    def value() -> torch.Tensor:
        return OBJECTIVES["regularised"].value(None, D, LOSSES[loss], batch).minimised

    gradients = torch.autograd.grad(value(), list(D.parameters()))
    for w, gradient in zip(D.parameters(), gradients, strict=True):
        for i in range(w.numel()):
            with torch.no_grad():
                kept = w.view(-1)[i].item()
                w.view(-1)[i] = kept + 1e-5
            high = value().item()
            with torch.no_grad():
                w.view(-1)[i] = kept - 1e-5
            low = value().item()
            with torch.no_grad():
                w.view(-1)[i] = kept
            assert gradient.view(-1)[i].item() == pytest.approx((high - low) / 2e-5, abs=1e-7)


def clients(seed: int, count: int = 20) -> tuple[list[Peer], list[int]]:
    keys = PLAIN | {
        "peers": count + 1,
        "seed": seed,
        "algorithm": {"name": "oasis", "rounds": 1},
    }
    experiment = from_mapping(keys)
    states = make_states(experiment)
    peers = [Peer(states[k], experiment.schedule) for k in range(1, count + 1)]
    return peers, [k % 5 for k in range(count)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reduce", ["mean_then_encode", "encode_then_mean"])
def test_clients_with_alike_digits_find_each_other(seed: int, reduce: str) -> None:
    peers, truth = clients(seed)
    R = np.stack([represent(peer, Representation(reduce=reduce)) for peer in peers])
    groups = find_groups(R, [peer.samples for peer in peers], Grouping(), seed)
    found = [next(i for i, group in enumerate(groups) if c in group) for c in range(20)]
    assert adjusted_rand_score(truth, found) >= 0.9


def test_the_best_silhouette_wins_and_small_groups_join_the_nearest() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((3, 6)) * 4
    R = np.concatenate([centre + 0.05 * rng.standard_normal((4, 6)) for centre in centres])
    groups = find_groups(R, [100] * 12, Grouping(), 0)
    assert groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    labels = np.repeat(range(3), 4)
    assert silhouette_score(R, labels, metric="correlation") > 0.9
    points = np.array([[0.0], [1.0], [5.0], [5.5], [20.0]])
    merged = merge_small([[0], [1], [2, 3], [4]], points, [10, 10, 30, 30, 90], Grouping(eta=50))
    assert merged == [[0, 1, 2, 3], [4]]
    everything = merge_small([[0], [1], [2, 3], [4]], points, [1] * 5, Grouping(eta=1e9))
    assert everything == [[0, 1, 2, 3, 4]]


def test_what_cannot_be_grouped_is_one_group() -> None:
    assert find_groups(np.ones((5, 4)), [1] * 5, Grouping(), 0) == [[0, 1, 2, 3, 4]]
    assert find_groups(np.eye(2), [1, 1], Grouping(), 0) == [[0, 1]]
    constant = np.array([[1.0, 1.0], [2.0, 2.0], [9.0, 9.0], [9.5, 9.5]])  # no correlation
    assert find_groups(constant, [1] * 4, Grouping(), 0) == [[0, 1], [2, 3]]


def result(loss: float) -> StepResult:
    return StepResult(loss, 0.0)


def test_the_golden_annealing() -> None:
    experiment = from_mapping(PLAIN | {"algorithm": {"name": "oasis", "rounds": 1}})
    peer = Peer(make_states(experiment)[1], experiment.schedule)
    closed = Annealed(peer, Annealing(), steps=5, planned=10)
    for _ in range(5):
        closed.observe(result(1.0), result(0.5))  # L_G below ln 2: it holds
        closed.observe(result(1.0), result(0.8))  # not
    assert peer.facts["tau"] == 5
    assert closed.weight() == pytest.approx(0.01)
    again = Annealed(peer, Annealing(), steps=5, planned=10)
    assert again.weight() == pytest.approx(0.01)  # kept across rounds
    literal = Annealed(peer, Annealing(annealing="literal"), steps=10, planned=10)
    for _ in range(10):
        literal.observe(result(1.0), result(0.0))
    assert literal.weight() == pytest.approx(0.1 * 0.01**5.5)  # 1e-12
    assert pytest.approx(1e-12) == 0.1 * 0.01**5.5
    gap = Annealed(peer, Annealing(trigger="delta_loss"), steps=1, planned=1)
    before = peer.facts["tau"]
    gap.observe(result(0.2), result(0.8))  # Delta = -0.6
    assert peer.facts["tau"] == before
    gap.observe(result(0.4), result(0.8))
    assert peer.facts["tau"] == before + 1


def test_groups_never_mix() -> None:
    keys = PLAIN | {
        "algorithm": {
            "name": "oasis", "rounds": 2, "local_steps": 1, "fraction": 1.0, "grouping": {"k": 2},
        },
    }  # fmt: skip
    experiment = from_mapping(keys)
    states = make_states(experiment)
    drive(experiment, states, algorithms.find(experiment))
    groups = states[0].facts["groups"]
    assert sorted(k for group in groups for k in group) == [1, 2, 3, 4]
    assert math.isclose(sum(states[0].facts["mixture"].values()), 1.0)
    for i, group in enumerate(groups):
        kept = states[0].tensors[f"group-{i}/generator"]
        n = sum(len(states[k].shard) for k in group)
        mean = sum(
            len(states[k].shard) / n * states[k].nets["generator"].arena.vector for k in group
        )
        assert torch.allclose(kept, mean, atol=1e-6)  # of its own members alone
