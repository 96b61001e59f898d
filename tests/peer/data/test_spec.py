"""What an experiment file says under `data`: defaults, forms, and refusals that help."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from peer.data import DataSpec
from peer.data.partitions import PARTITIONS
from peer.data.spec import All, Iid, Labels, Own, Pairs, parse_partition
from topology.errors import UserError


def test_defaults_are_the_embedded_digits_shared_out_evenly():
    spec = DataSpec()
    assert (spec.source, spec.path, spec.split, spec.limit) == ("digits", None, "train", None)
    assert spec.partition == Iid()


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ("iid", Iid()),
        ("pairs", Pairs()),
        ("own", Own()),
        ("all", All()),
        ({"name": "pairs"}, Pairs()),
        ({"name": "pairs", "cap": 12000}, Pairs(cap=12000)),
        ({"name": "pairs", "pairs": [[7, 8], [1, 3]]}, Pairs(pairs=((7, 8), (1, 3)))),
        ({"pairs": [[7, 8]], "cap": 5}, Pairs(pairs=((7, 8),), cap=5)),
        ({"labels": [[0, 1, 2], [3]]}, Labels(labels=((0, 1, 2), (3,)))),
        ({"name": "labels", "labels": [[4]]}, Labels(labels=((4,),))),
    ],
)
def test_partition_forms(given, settings):
    assert parse_partition(given) == settings


def test_table_has_every_partition_of_the_spec():
    with pytest.raises(UserError) as caught:
        parse_partition("?")
    assert str(caught.value).endswith("choose from " + ", ".join(PARTITIONS))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"source": "digit"}, "data.source: unknown 'digit'; did you mean 'digits'? choose from"),
        ({"source": "MNIST"}, "data.source: unknown 'MNIST'; choose from digits, idx, npz"),
        ({"split": "tests"}, "data.split: unknown 'tests'; did you mean 'test'? choose from train"),
        ({"partition": "pair"}, "data.partition: unknown 'pair'; did you mean 'pairs'? choose"),
        ({"partition": "IID"}, "data.partition: unknown 'IID'; did you mean 'iid'?"),
        ({"partition": {"name": "labls"}}, "did you mean 'labels'? choose from iid, pairs"),
        ({"partition": {"name": ["x"]}}, "data.partition: unknown ['x']; choose from iid"),
        ({"partition": None}, "data.partition: None is no partition; write one of iid, pairs"),
        ({"partition": {"cap": 3}}, "data.partition.name is missing beside cap; give one of iid"),
        ({"partition": {}}, "data.partition.name is missing beside nothing; give one of iid"),
        (
            {"partition": {"name": "pairs", "caps": 3}},
            "data.partition (name: pairs), key: unknown 'caps'; did you mean 'cap'?",
        ),
        (
            {"partition": "labels"},
            "data.partition.labels is missing: labels needs it, as in {labels: [[0, 1], [2, 3]]}",
        ),
        (
            {"partition": {"name": "pairs", "cap": 0}},
            "data.partition.cap: Input should be greater than 0 (given 0)",
        ),
        (
            {"partition": {"pairs": [[7, 8, 9]]}},
            "data.partition.pairs.0: Tuple should have at most 2 items",
        ),
        (
            {"partition": {"pairs": [[0, 1], [7, 7]]}},
            "data.partition.pairs: pair 1 is [7, 7]; name each class once",
        ),
        ({"partition": {"pairs": []}}, "data.partition.pairs is empty; give a list such as"),
        ({"partition": {"labels": []}}, "data.partition.labels is empty; give a list such as"),
        (
            {"partition": {"labels": [[0], []]}},
            "data.partition.labels: set 1 is empty; name a class, such as [0]",
        ),
        (
            {"partition": {"labels": [[0, -1]]}},
            "data.partition.labels.0.1: Input should be greater than or equal to 0 (given -1)",
        ),
        ({"source": "idx"}, "data.path is missing: source idx reads the folder of the IDX files"),
        (
            {"source": "npz", "path": ""},
            "data.path is missing: source npz reads an .npz file with an array `images`",
        ),
        (
            {"path": "x"},
            "data.path: source digits reads no path; leave it out, or set "
            "data.source to idx or npz",
        ),
        (
            {"split": "test"},
            "data.split: source digits has no test split; leave it out, or set data.source to idx",
        ),
        ({"partition": "own"}, "set data.source to idx or npz with a data.path, or use partition"),
        (
            {"source": "npz", "path": "{id}.npz", "partition": "pairs"},
            "none can be shared out by pairs; set data.partition to own, or leave {id} out",
        ),
    ],
)
def test_refusals_name_the_key_and_the_remedy(keys, message):
    with pytest.raises(UserError) as caught:
        DataSpec(**keys)
    assert message in str(caught.value)
    assert str(caught.value).startswith("data.")
    assert "\n" not in str(caught.value)


def test_unknown_keys_and_wrong_types_are_pydantics():
    with pytest.raises(ValidationError, match="partitions"):
        DataSpec(partitions="iid")
    with pytest.raises(ValidationError, match="limit"):
        DataSpec(limit=0)


def test_specs_cannot_be_changed():
    spec = DataSpec()
    with pytest.raises(ValidationError, match="frozen"):
        spec.source = "npz"
    with pytest.raises(ValidationError, match="frozen"):
        spec.partition.name = "pairs"


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("pairs", "pairs"),
        ({"name": "pairs"}, "pairs"),
        ({"name": "pairs", "cap": 9}, {"name": "pairs", "cap": 9}),
        ({"labels": [[0, 1], [2]]}, {"name": "labels", "labels": [[0, 1], [2]]}),
    ],
)
def test_written_spec_is_short_and_reads_back(given, written):
    spec = DataSpec(partition=given)
    for mode in ("python", "json"):
        dumped = spec.model_dump(mode=mode)
        assert dumped["partition"] == written
        assert DataSpec.model_validate(dumped) == spec


def test_schema_admits_names_and_mappings():
    schema = DataSpec.model_json_schema()
    sources = ["digits", "idx", "npz", "folder", "cifar10", "hub", "synthetic"]
    assert schema["properties"]["source"]["enum"] == sources
    first, *others = schema["properties"]["partition"]["anyOf"]
    assert first["enum"] == ["iid", "pairs", "own", "all", "halves", "dirichlet", "fegan"]
    named = {other["$ref"].rsplit("/", 1)[1] for other in others}
    assert named == {"Iid", "Pairs", "Labels", "Own", "All", "Halves", "Dirichlet", "Fegan"}


def test_errors_pass_through_an_enclosing_model():
    with pytest.raises(UserError, match="did you mean 'pairs'"):
        TypeAdapter(list[DataSpec]).validate_python([{"partition": "pairz"}])
