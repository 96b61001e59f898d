"""What Prometheus is told, and that the dashboard asks for the same names."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networkx as nx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from peer.live.metrics import told_by
from peer.net.status.account import Account
from peer.net.status.flood import Entry, Flood
from peer.net.status.shown import Shown
from peer.telling.overview import overview
from tests.support.network_in_memory import identity, make_endpoint

DASHBOARD = Path(__file__).resolve().parents[3] / "examples" / "deploy" / "grafana.json"


def process(**told: Any) -> Any:
    """As much of a peer's process as is asked for numbers: peer 0 of three in a ring."""
    endpoint = make_endpoint(identity(0), [1, 2])
    endpoint.roster.base = nx.cycle_graph(3)
    flood = Flood(endpoint.roster, endpoint.links)
    said = Account(**({"round": 7, "phases": {1: "up", 2: "down"}} | told))
    flood.known = {
        (0, "account"): Entry(1, 100.0, said, b""),
        (1, "account"): Entry(1, 90.0, Account(), b""),
    }
    status = Shown(8, {1: "up", 2: "down"}, {"generator": 0.5, "discriminator": 0.25})
    sockets = SimpleNamespace(sent=Counter({1: 1000}))
    return SimpleNamespace(
        overview=lambda: overview(flood, 100, 103.0),
        status=status,
        io=SimpleNamespace(status=status, sockets=sockets, received=Counter({1: 10, None: 3})),
        teller=SimpleNamespace(missed=Counter({2: 4})),
    )


def samples(of: Any) -> dict[str, float]:
    told = told_by(of, True, "x")
    assert told.metrics is not None
    found = {}
    for family in text_string_to_metric_families(told.metrics().decode()):
        assert family.documentation.endswith(".")
        for each in family.samples:
            labels = ",".join(each.labels[name] for name in sorted(each.labels))
            found[f"{each.name}({labels})" if labels else each.name] = each.value
    return found


FULL: dict[str, Any] = {
    "pace": 0.25, "measure": "rfd", "score": 3.5, "own": 5.0, "covered": 9, "pending": 1,
    "saved": 5, "saved_ago": 2.0, "memory": 190_000_000,
}  # fmt: skip


def test_numbers_of_a_peer() -> None:
    found = samples(process(**FULL))
    assert found["hearsay_round"] == 8
    assert found["hearsay_rounds"] == 100
    assert found["hearsay_round_duration_seconds"] == 0.25
    assert found["hearsay_loss(generator)"] == 0.5
    assert (found["hearsay_score(network,rfd)"], found["hearsay_score(own,rfd)"]) == (3.5, 5.0)
    assert found["hearsay_link_sent_bytes_total(1)"] == 1000
    assert found["hearsay_link_received_bytes_total(1)"] == 10
    assert found["hearsay_link_missed_rounds_total(2)"] == 4
    assert (found["hearsay_link_phase(1,up)"], found["hearsay_link_phase(1,down)"]) == (1, 0)
    assert (found["hearsay_link_phase(2,up)"], found["hearsay_link_phase(2,down)"]) == (0, 1)
    assert found["hearsay_checkpoint_age_seconds"] == 5.0  # it was told three seconds ago
    assert found["hearsay_resident_memory_bytes"] == 190_000_000
    assert found["hearsay_heard_age_seconds(1)"] == 13.0
    assert "hearsay_heard_age_seconds(2)" not in found  # it has told nothing


def test_what_is_not_known_is_left_out() -> None:
    found = samples(process())
    for name in ("hearsay_checkpoint_age_seconds", "hearsay_resident_memory_bytes",
                 "hearsay_round_duration_seconds", "hearsay_covered_classes"):  # fmt: skip
        assert name not in found
    assert not any(name.startswith("hearsay_score") for name in found)


def test_the_dashboard_asks_for_these_names_and_no_others() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = set(re.findall(r"hearsay_\w+", " ".join(asked)))
    assert used == {name.partition("(")[0] for name in samples(process(**FULL))}


@pytest.mark.parametrize("name", sorted(samples(process(**FULL))))
def test_names_are_as_prometheus_wants_them(name: str) -> None:
    name = name.partition("(")[0]
    assert re.fullmatch(r"hearsay_[a-z_]+", name)
    assert not name.endswith(("_count", "_sum", "_bucket", "_ms", "_kb", "_mb"))
    if "bytes" in name or "seconds" in name:
        assert name.removesuffix("_total").endswith(("_bytes", "_seconds"))
