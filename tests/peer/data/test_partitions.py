"""Who gets which images: every partition is disjoint, seeded, and as large as it says."""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.data import DataSpec, Images, label_counts, load_source, partition
from topology.errors import UserError

DIGITS = load_source(DataSpec())
PEERS = st.integers(1, 40)
SEEDS = st.integers(0, 2**63 - 1)


def made_of(labels: list[int] | None, count: int | None = None) -> Images:
    size = len(labels) if labels is not None else count
    pixels = np.zeros((size, 1, 2, 2), dtype=np.uint8)
    return Images(pixels, None if labels is None else np.array(labels), "made")


def assert_disjoint(shards: list[np.ndarray], size: int) -> set[int]:
    """Return what is held, having checked that nothing is held twice."""
    held = np.concatenate(shards)
    assert len(np.unique(held)) == len(held)
    assert held.min() >= 0
    assert held.max() < size
    for shard in shards:
        assert shard.dtype == np.int64
        assert np.all(np.diff(shard) > 0)
    return set(held.tolist())


def indices_of(labels: set[int]) -> set[int]:
    return set(np.flatnonzero(np.isin(DIGITS.labels, list(labels))).tolist())


def refusal(spec: DataSpec, images: Images, peers: int) -> str:
    with pytest.raises(UserError) as caught:
        partition(spec, images, peers, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- iid ------------------------------------------------------------------------------------------


@given(peers=PEERS, seed=SEEDS)
def test_iid_is_equal_disjoint_and_leaves_less_than_one_each(peers, seed):
    shards = partition(DataSpec(), DIGITS, peers, seed)
    assert [len(shard) for shard in shards] == [1797 // peers] * peers
    assert 1797 - len(assert_disjoint(shards, 1797)) == 1797 % peers


def test_iid_is_the_documented_stream():
    sequence = np.random.SeedSequence(5, spawn_key=(zlib.crc32(b"partition"),))
    order = np.random.Generator(np.random.PCG64(sequence)).permutation(1797)
    shards = partition(DataSpec(), DIGITS, 4, seed=5)
    for k, shard in enumerate(shards):
        assert np.array_equal(shard, np.sort(order[449 * k : 449 * (k + 1)]))


@pytest.mark.parametrize("form", ["iid", "pairs", {"name": "pairs", "cap": 20}])
def test_same_seed_same_partition_other_seed_another(form):
    spec = DataSpec(partition=form)
    first, again, other = (partition(spec, DIGITS, 7, seed) for seed in (3, 3, 4))
    assert all(map(np.array_equal, first, again))
    # Peers 0, 1, 5 and 6 share their pairs; 2, 3 and 4 choose only under a cap or where all do.
    assert not any(np.array_equal(first[k], other[k]) for k in (0, 1, 5, 6))


def test_iid_mixes_classes():
    for shard in partition(DataSpec(), DIGITS, 5, seed=0):
        assert set(label_counts(DIGITS, shard)) == set(range(10))


def test_iid_needs_no_labels():
    shards = partition(DataSpec(), made_of(None, count=9), 3, seed=0)
    assert assert_disjoint(shards, 9) == set(range(9))


# --- pairs ----------------------------------------------------------------------------------------


@given(peers=PEERS, seed=SEEDS)
def test_pairs_are_peer_mod_five_disjoint_and_exhaustive(peers, seed):
    shards = partition(DataSpec(partition="pairs"), DIGITS, peers, seed)
    for k, shard in enumerate(shards):
        assert set(label_counts(DIGITS, shard)) == {2 * (k % 5), 2 * (k % 5) + 1}
    wanted = indices_of({label for k in range(min(peers, 5)) for label in (2 * k, 2 * k + 1)})
    assert assert_disjoint(shards, 1797) == wanted


def test_five_pairs_hold_all_of_their_two_classes():
    shards = partition(DataSpec(partition="pairs"), DIGITS, 5, seed=0)
    counts = Counter(DIGITS.labels.tolist())
    for k, shard in enumerate(shards):
        assert label_counts(DIGITS, shard) == {c: counts[c] for c in (2 * k, 2 * k + 1)}


def test_peers_of_one_pair_split_each_class_evenly():
    shards = partition(DataSpec(partition="pairs"), DIGITS, 15, seed=0)
    for k in range(5):
        for label in (2 * k, 2 * k + 1):
            parts = [label_counts(DIGITS, shards[j])[label] for j in (k, k + 5, k + 10)]
            assert sum(parts) == np.count_nonzero(DIGITS.labels == label)
            assert max(parts) - min(parts) <= 1


def test_last_class_of_an_odd_number_is_nobodys():
    shards = partition(DataSpec(partition="pairs"), made_of([0, 1, 2, 3, 4] * 2), 3, seed=0)
    assert shards[1].tolist() == [2, 3, 7, 8]
    assert assert_disjoint([shards[0], shards[2]], 10) == {0, 1, 5, 6}


@given(peers=st.integers(3, 20), seed=SEEDS)
def test_given_pairs_may_overlap_and_still_split_disjointly(peers, seed):
    pairs = [(7, 8), (1, 3), (8, 1)]
    shards = partition(DataSpec(partition={"pairs": pairs}), DIGITS, peers, seed)
    for k, shard in enumerate(shards):
        assert set(label_counts(DIGITS, shard)) == set(pairs[k % 3])
    assert assert_disjoint(shards, 1797) == indices_of({1, 3, 7, 8})


def test_cap_keeps_a_random_part_of_the_same_shard():
    whole = partition(DataSpec(partition="pairs"), DIGITS, 5, seed=0)
    capped = partition(DataSpec(partition={"name": "pairs", "cap": 200}), DIGITS, 5, seed=0)
    for all_of_it, part in zip(whole, capped, strict=True):
        assert len(part) == 200
        assert set(part) < set(all_of_it)
        assert set(part) != set(all_of_it[:200])
        assert len(label_counts(DIGITS, part)) == 2
    loose = partition(DataSpec(partition={"name": "pairs", "cap": 10_000}), DIGITS, 5, seed=0)
    assert all(map(np.array_equal, loose, whole))


# --- labels ---------------------------------------------------------------------------------------


@given(
    sets=st.lists(st.sets(st.integers(0, 9), min_size=1).map(sorted), min_size=1, max_size=12),
    seed=SEEDS,
)
def test_labels_give_each_peer_its_classes_and_every_image_once(sets, seed):
    shards = partition(DataSpec(partition={"labels": sets}), DIGITS, len(sets), seed)
    for classes, shard in zip(sets, shards, strict=True):
        assert set(label_counts(DIGITS, shard)) == set(classes)
    assert assert_disjoint(shards, 1797) == indices_of(set().union(*sets))


def test_a_shared_class_is_shuffled_then_cut_in_id_order():
    images = made_of([0] * 10)
    shards = partition(DataSpec(partition={"labels": [[0], [0], [0]]}), images, 3, seed=0)
    assert [len(shard) for shard in shards] == [4, 3, 3]
    assert assert_disjoint(shards, 10) == set(range(10))
    assert shards[0].tolist() != [0, 1, 2, 3]


def test_labels_take_a_cap():
    spec = DataSpec(partition={"labels": [[0, 1, 2], [3]], "cap": 50})
    assert [len(shard) for shard in partition(spec, DIGITS, 2, seed=0)] == [50, 50]


# --- own and all ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", [DataSpec(partition="all"), DataSpec(source="idx", path="{id}", partition="own")]
)
@pytest.mark.parametrize("peers", [1, 3])
def test_everything_for_everybody(spec, peers):
    shards = partition(spec, made_of([0, 1, 0, 2]), peers, seed=0)
    assert [shard.tolist() for shard in shards] == [[0, 1, 2, 3]] * peers


# --- refusals -------------------------------------------------------------------------------------


def test_too_few_images_name_the_peer_and_the_key():
    message = refusal(DataSpec(), made_of(None, count=3), 4)
    assert message == (
        "data.partition: iid leaves peer 0 (of 4 that hold data, from 0) without any of the "
        "3 images; lower peers"
    )
    assert refusal(DataSpec(limit=3), made_of(None, count=3), 4).endswith("or raise data.limit")


def test_too_few_of_a_pair_names_the_first_peer_without():
    message = refusal(DataSpec(partition="pairs"), made_of([0, 1, 2, 3]), 4)
    assert "leaves peer 2 (of 4" in message
    assert message.endswith("lower peers or give it other classes in data.partition.pairs")


def test_label_sets_of_a_class_that_is_not_there():
    message = refusal(DataSpec(partition={"labels": [[0], [1]]}), made_of([0, 0, 2]), 2)
    assert "labels leaves peer 1" in message
    assert "data.partition.labels" in message


@pytest.mark.parametrize("form", ["pairs", {"labels": [[0]]}])
def test_label_partitions_need_labels(form):
    message = refusal(DataSpec(partition=form), made_of(None, count=9), 1)
    assert "goes by label, and made has no labels; add them at data.path" in message
    assert message.endswith("or use data.partition: iid")


@pytest.mark.parametrize(("key", "sets"), [("pairs", [[0, 10]]), ("labels", [[0], [1, 10, 2]])])
def test_unknown_classes_are_refused(key, sets):
    message = refusal(DataSpec(partition={key: sets}), DIGITS, 2)
    assert message == (
        f"data.partition.{key}: there is no class 10; name classes of digits, 0 to 9"
    )


@pytest.mark.parametrize("peers", [1, 3])
def test_label_sets_must_be_one_a_peer(peers):
    message = refusal(DataSpec(partition={"labels": [[0], [1]]}), DIGITS, peers)
    assert message == (
        f"data.partition.labels: 2 sets for {peers} peers that hold data; give {peers}, one a peer"
    )


def test_more_pairs_than_peers_are_refused():
    message = refusal(DataSpec(partition={"pairs": [[0, 1], [2, 3], [4, 5]]}), DIGITS, 2)
    assert "3 pairs for 2 peers that hold data leave 1 to nobody" in message
    assert message.endswith("give at most 2, or raise peers")


def test_pairs_of_one_class_are_refused():
    message = refusal(DataSpec(partition="pairs"), made_of([0, 0]), 1)
    assert "pairs needs two classes, and made has 1; use data.partition: iid" in message


def test_nobody_to_hold_data():
    assert refusal(DataSpec(), DIGITS, 0).startswith("peers: 0 of them hold data; raise it")


# --- counts ---------------------------------------------------------------------------------------


def test_label_counts():
    images = made_of([3, 0, 3, 1, 3])
    assert label_counts(images, [0, 1, 2]) == {0: 1, 3: 2}
    assert list(label_counts(images, np.arange(5)).items()) == [(0, 1), (1, 1), (3, 3)]
    assert label_counts(images, []) == {}
    assert label_counts(made_of(None, count=4), [0, 1]) == {}


# --- real data ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist(real_data: Path) -> Images:
    return load_source(DataSpec(source="idx", path=str(real_data / "mnist")))


@pytest.mark.real_data
def test_real_mnist_pairs_have_the_sizes_of_the_specification(mnist):
    sizes = [12665, 12089, 11263, 12183, 11800]
    for cap in (None, 12_000):
        spec = DataSpec(partition={"name": "pairs", "cap": cap})
        shards = partition(spec, mnist, 5, seed=0)
        assert [len(shard) for shard in shards] == [min(size, cap or size) for size in sizes]
        assert_disjoint(shards, 60_000)
        for k, shard in enumerate(shards):
            assert set(label_counts(mnist, shard)) == {2 * k, 2 * k + 1}


@pytest.mark.real_data
def test_real_mnist_iid_is_twelve_thousand_each(mnist):
    shards = partition(DataSpec(), mnist, 5, seed=0)
    assert [len(shard) for shard in shards] == [12_000] * 5
    assert len(assert_disjoint(shards, 60_000)) == 60_000
