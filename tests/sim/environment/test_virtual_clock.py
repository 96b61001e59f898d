"""The virtual clock: seconds of devices and links, by hand; nothing else changes with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import algorithms
import sim
from peer.experiment import Experiment, from_mapping, load
from peer.experiment.cost_models import DEVICES, Cost, DeviceSpec, LinkProfile, Profile, Seconds
from peer.experiment.profiles import read_profile, seconds_on, with_profiles
from peer.profiler import line, write_profile
from peer.state.recorder import arena_digest
from sim.environment.channels import Channel
from sim.events.driver import EventDriver
from sim.runs.simulate import drive, make_states
from sim.studies.compare import Outcome, read_comparison
from sim.studies.comparison_table import comparison_table
from topology.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
KEYS: dict[str, Any] = {
    "peers": 4,
    "graph": "ring",
    "algorithm": {"name": "diffusion", "rounds": 1, "n_g": 0},  # one step of D, one exchange
    "optimizer": {"name": "sgd", "lr": 0.05},
    "gan": "mlp-digits",
    "data": {"source": "digits", "partition": "iid"},
    "batch": 8,
}
STAR: dict[str, Any] = {
    "graph": "star",
    "algorithm": {"name": "fedavg", "rounds": 1, "local_steps": 2},
}
STEPS = {"discriminator": 2.0, "generator": 3.0}  # seconds, of a device of ours


def driven(experiment: Experiment) -> tuple[EventDriver, list[str]]:
    states = make_states(experiment)
    driver = drive(experiment, states, algorithms.find(experiment))
    return driver, [arena_digest(state) for state in states.values()]


def times(**changes: Any) -> list[float]:
    driver, _ = driven(from_mapping(KEYS | changes))
    return [peer.now for _, peer in sorted(driver.peers.items())]


# --- channels -------------------------------------------------------------------------------------


def test_a_channel_carries_transfers_one_after_another() -> None:
    channel = Channel(8.0)  # a million bytes a second
    assert channel.carry(0.0, 2_000_000) == 2.0
    assert channel.carry(1.0, 1_000_000) == 3.0  # waits for the first
    assert channel.carry(10.0, 500_000) == 10.5
    assert channel.carry(10.0, 0) == 10.0


def test_a_transfer_registered_late_for_an_earlier_time_gets_what_is_free() -> None:
    channel = Channel(8.0)
    assert channel.carry(5.0, 1_000_000) == 6.0
    assert channel.carry(1.0, 2_000_000) == 3.0  # before it
    assert channel.carry(2.0, 3_000_000) == 7.0  # 3 to 5, then 6 to 7: never idle, never twice
    assert channel.carry(1.0, 1_000_000) == 8.0  # all of 1 to 7 is taken
    assert channel.carry(0.0, 1_000_000) == 1.0
    assert channel.carry(0.0, 1_000_000) == 9.0


# --- devices --------------------------------------------------------------------------------------


def test_a_step_takes_what_the_peer_s_device_says() -> None:
    devices = {"default": {"seconds": STEPS}, 2: {"seconds": STEPS, "speed": 0.5}}
    # peers 1 and 3 are peer 2's neighbours on the ring, and wait for its step of 4 s
    assert times(devices=devices) == pytest.approx([2, 4, 4, 4])
    both = {"name": "diffusion", "rounds": 2}
    # D: 2 4 4 4; G: 7 10 10 10 (0 waits for 1 and 3, they for 2); D: 12 14 14 14; then G again
    assert times(devices=devices, algorithm=both) == pytest.approx([17, 20, 20, 20])


def test_one_for_all_and_a_list_are_devices_too() -> None:
    assert times(devices="raspberry-pi-4") == pytest.approx([15.19] * 4)
    listed = [{"seconds": STEPS}] * 3 + [{"seconds": STEPS, "speed": 4}]
    assert times(devices=listed, graph="complete") == pytest.approx([2] * 4)


def test_a_peer_without_a_device_takes_the_network_s_step() -> None:
    assert times(devices={1: {"seconds": STEPS}}, network={"step": 0.5}) == pytest.approx(
        [2, 2, 2, 0.5]
    )


def test_seconds_may_hang_on_the_batch() -> None:
    line = {"fixed": 1.0, "per_image": 0.25}
    devices = {"seconds": {"discriminator": line, "generator": 1}}
    assert times(devices={"default": devices}) == pytest.approx([3] * 4)  # 1 + 8 / 4


def test_what_is_not_measured_follows_from_the_steps() -> None:
    device = DeviceSpec(seconds=Seconds(discriminator=6, generator=12, judge=0.5), speed=2)
    found = seconds_on(device, Path())
    assert found.regularised == Cost(fixed=3)
    assert found.draw == Cost(fixed=1)
    assert found.judge == Cost(fixed=0.25)
    assert found.descend == Cost(fixed=3)
    assert found.feedback == Cost(fixed=1.5)


def test_mdgan_s_server_takes_time_to_draw_and_to_learn() -> None:
    keys = {"graph": "star", "algorithm": {"name": "mdgan", "rounds": 1, "k": 2, "swap": False}}
    costs = {"discriminator": 1, "generator": 0, "draw": 10, "descend": 100, "feedback": 1000}
    device = {"seconds": costs | {"judge": 10000}}
    # the server draws two batches and learns from both; a worker steps once, judges, feeds back
    server = times(**keys, devices={"default": device})[0]
    assert server == pytest.approx(2 * 10 + 1 + 10000 + 1000 + 2 * 100)


def test_the_oasis_paper_s_raspberry_pi() -> None:
    pi = DEVICES["raspberry-pi-4"]
    assert pi.discriminator is not None
    assert pi.generator is not None
    assert pi.discriminator.of(64) + pi.generator.of(64) == pytest.approx(30.38)


# --- links ----------------------------------------------------------------------------------------


def arena_bytes() -> int:
    state = make_states(from_mapping(KEYS))[0]
    return int(state.nets["discriminator"].arena.vector.nbytes)


def test_bandwidth_is_of_each_direction_of_each_link() -> None:
    way = 8 * arena_bytes() / 2e6
    network = {"step": 1.0, "delay": 0.5, "bandwidth": 2.0}
    assert times(network=network) == pytest.approx([1.5 + way] * 4)
    links = [{"between": [1, 2], "bandwidth": 1.0}]
    slow = [1.5 + way, 1.5 + 2 * way, 1.5 + 2 * way, 1.5 + way]
    assert times(network=network | {"links": links}) == pytest.approx(slow)


def test_where_values_cross_on_a_link_each_has_a_share() -> None:
    way = 8 * arena_bytes() / 2e6
    for limit in ({"bandwidth": 2.0}, {"uplink": 4.0}):
        found = times(network={"step": 1.0, "duplex": 0.8, **limit})
        assert found == pytest.approx([1 + way / 0.8] * 4)
    experiment = from_mapping(KEYS | STAR | {"devices": [{"seconds": STEPS}] * 4})
    driver, _ = driven(experiment.varied(network={"bandwidth": 2.0, "duplex": 0.5}))
    letters = [driver.peers[k].bytes_out for k in range(4)]
    there, back = 8 * letters[0] / 3 / 2e6, 8 * letters[1] / 2e6
    assert driver.peers[0].now == pytest.approx(10 + there + back)  # nothing crosses


def test_an_uplink_is_shared_by_all_that_a_peer_sends() -> None:
    way = 8 * arena_bytes() / 2e6
    # each sends to its two neighbours side by side: both take twice as long
    assert times(network={"step": 1.0, "uplink": 2.0}) == pytest.approx([1 + 2 * way] * 4)
    ends = [{"peer": 0, "uplink": 1.0}]
    found = times(network={"step": 1.0, "uplink": 2.0, "ends": ends})
    assert found == pytest.approx([1 + 2 * way, 1 + 4 * way, 1 + 2 * way, 1 + 4 * way])


def test_a_downlink_is_shared_by_all_that_a_peer_takes() -> None:
    way = 8 * arena_bytes() / 2e6
    ends = [{"peer": 0, "downlink": 2.0}]
    found = times(network={"step": 1.0, "ends": ends})
    assert found == pytest.approx([1 + 2 * way, 1, 1, 1])


def test_a_channel_is_shared_by_all() -> None:
    way = 8 * arena_bytes() / 2e6
    assert max(times(network={"step": 1.0, "channel": 2.0})) == pytest.approx(1 + 8 * way)


def test_the_slowest_part_of_the_way_decides() -> None:
    way = 8 * arena_bytes() / 1e6
    # two values of one link's rate each: an uplink of three times that is no limit
    assert times(network={"step": 1.0, "bandwidth": 1.0, "uplink": 3.0}) == pytest.approx(
        [1 + way] * 4
    )


def test_a_server_that_shares_its_uplink_serves_all_at_once_and_more_slowly() -> None:
    experiment = from_mapping(KEYS | STAR | {"devices": [{"seconds": STEPS}] * 4})
    driver, _ = driven(experiment)
    assert driver.peers[0].now == pytest.approx(10)  # two iterations of 2 + 3 s, at once
    letter = driver.peers[0].bytes_out / 3
    way = 8 * letter / 2e6
    shared = experiment.varied(network={"ends": [{"peer": 0, "uplink": 2.0}]})
    driver, _ = driven(shared)
    assert [driver.peers[k].now for k in range(4)] == pytest.approx([10 + 3 * way] * 4)
    limited = [{"peer": 0, "uplink": 2.0, "downlink": 4.0}]  # and takes updates (almost as large)
    driver, _ = driven(experiment.varied(network={"ends": limited}))
    assert driver.peers[0].now == pytest.approx(10 + 4.5 * way, rel=1e-4)


def test_a_link_s_own_keys_come_before_its_profile_and_that_before_the_network_s() -> None:
    network = {
        "link": "raspberry-pi-4",
        "jitter": 0.0,
        "links": [
            {"between": [0, 1], "delay": 1.0},
            {"between": [2, 3], "link": "wifi"},
            {"between": [1, 2], "link": "raspberry-pi-4", "delay": 2.0},
        ],
    }
    from sim.environment.network import NetworkModel

    built = NetworkModel(from_mapping(KEYS | {"network": network}))
    assert built._profile(3, 0) == LinkProfile(delay=3.75, jitter=0.0)
    assert built._profile(1, 0) == LinkProfile(delay=1.0, jitter=0.0)
    assert built._profile(2, 3) == LinkProfile(delay=3.75, jitter=0.0, bandwidth=25.14)
    assert built._profile(1, 2) == LinkProfile(delay=2.0, jitter=0.0)


def test_a_line_through_two_batch_sizes() -> None:
    assert line({8: 3.0, 32: 9.0}) == Cost(fixed=1.0, per_image=0.25)
    assert line({8: 3.0, 32: 2.0}) == Cost(fixed=2.0)  # noise: more images are not less work
    assert line({8: 1.0, 32: 9.0}) == Cost(per_image=9 / 32)  # nor is nothing less than nothing
    assert line({2: 3.0}) == Cost(fixed=3.0)


# --- what must not change -------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [KEYS["algorithm"], STAR["algorithm"]])
def test_the_clock_changes_nothing_that_peers_combine(algorithm: dict[str, Any]) -> None:
    graph = "star" if algorithm["name"] == "fedavg" else "ring"
    plain = from_mapping(KEYS | {"graph": graph, "algorithm": algorithm | {"rounds": 3}})
    timed = plain.varied(
        devices={"default": "raspberry-pi-4", "1": {"seconds": STEPS}},
        network={"bandwidth": 1.0, "uplink": 3.0, "channel": 2.0, "delay": 0.1},
    )
    (before, digests), (after, timed_digests) = driven(plain), driven(timed)
    assert digests == timed_digests
    assert after.peers[0].now > before.peers[0].now
    assert driven(timed)[0].peers[0].now == after.peers[0].now


def test_peers_need_not_agree_on_the_clock() -> None:
    plain = from_mapping(KEYS)
    timed = plain.varied(devices={"default": "raspberry-pi-4"}, network={"bandwidth": 1.0})
    assert plain.fingerprint() == timed.fingerprint()


# --- profiles -------------------------------------------------------------------------------------


def profile_in(folder: Path) -> Path:
    path = folder / "pi.yaml"
    link = LinkProfile(delay=0.25, bandwidth=4.0)
    seconds = Seconds(discriminator=Cost(fixed=2.0), generator=Cost(fixed=3.0, per_image=0.5))
    write_profile(Profile(of={"gan": "mlp-digits"}, seconds=seconds, link=link), path)
    return path


def test_a_profile_file_is_a_device_and_a_link(tmp_path: Path) -> None:
    path = profile_in(tmp_path)
    assert read_profile(path, "devices").of == {"gan": "mlp-digits"}
    way = 8 * arena_bytes() / 4e6
    keys = {"devices": str(path), "network": {"link": str(path)}}
    assert times(**keys) == pytest.approx([2.25 + way] * 4)
    # beside the experiment, and with the run: the run needs the file no more
    file = tmp_path / "experiment.yaml"
    local = {"devices": {"default": "raspberry-pi-4", 1: "pi.yaml"}, "network": {"link": "pi.yaml"}}
    file.write_text(yaml.safe_dump(KEYS | local))
    done = sim.run(file, run_dir=tmp_path / "run", report=False)
    path.unlink()
    again = load(done.path / "experiment.yaml")
    assert driven(again)[0].peers[1].now == done.virtual_seconds == pytest.approx(15.44 + way)


def test_devices_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = KEYS | {"devices": "raspberry-pi-4"}
    found = from_mapping(keys, ["devices.3=pi.yaml", "network.link=pi.yaml"], ROOT)
    here = str(tmp_path / "pi.yaml")  # typed here, so meant from here
    profiles = {k: device.profile for k, device in found.devices.items()}
    assert profiles == {"default": "raspberry-pi-4", 3: here}
    assert found.network.link == here


def test_a_profile_s_file_is_read_before_anything_runs(tmp_path: Path) -> None:
    experiment = from_mapping(KEYS | {"devices": {3: "none.yaml"}}, folder=tmp_path)
    with pytest.raises(UserError, match=r"devices.3: there is no profile .*none.yaml"):
        with_profiles(experiment)
    (tmp_path / "none.yaml").write_text("seconds: {discriminator: -1}\n")
    with pytest.raises(UserError, match=r"none.yaml: seconds.discriminator.fixed: input should"):
        with_profiles(experiment)
    (tmp_path / "none.yaml").write_text("seconds: {discriminator: 1}\n")
    with pytest.raises(UserError, match="lacks seconds of discriminator or generator"):
        with_profiles(experiment)
    linked = from_mapping(KEYS | {"network": {"link": "none.yaml"}}, folder=tmp_path)
    with pytest.raises(UserError, match=r"network.link: none.yaml says nothing of a link"):
        with_profiles(linked)


# --- table 2 of the Oasis paper -------------------------------------------------------------------


def test_table_2_of_the_oasis_paper() -> None:
    comparison = read_comparison([ROOT / "examples" / "papers" / "oasis-table2.yaml"])
    hours = {}
    for (system, _), experiment in comparison.experiments.items():
        settings = experiment.algorithm.model_dump()
        assert settings["rounds"] == 500
        few = experiment.varied(algorithm=settings | {"rounds": 3})
        driver, _ = driven(few)
        hours[system] = 500 / 3 * max(p.now for p in driver.peers.values()) / 3600
    assert hours["FedAvg"] == hours["FedProx"] == pytest.approx(22.14, abs=0.01)
    assert hours["Oasis"] == pytest.approx(22.14, rel=0.02)  # and its representations, once
    assert hours["Ditto"] == pytest.approx(43.24, abs=0.01)


def test_a_comparison_shows_the_prediction() -> None:
    def outcome(virtual: float | None, reached: float | None) -> Outcome:
        return Outcome(
            "FedAvg", 0, 500, 1, 10, "cfid", 50.0, 10**6, 3.0, virtual, None, 60.0, reached
        )

    table = comparison_table([outcome(79700.0, 7200.0)])
    cells = {str(column.header): next(iter(column.cells)) for column in table.columns}
    assert cells["predicted"] == "22.14 h"
    assert cells["to CFID 60"] == "2.00 h"
    plain = comparison_table([outcome(None, None)])
    assert "predicted" not in [column.header for column in plain.columns]


# --- what a run says of it ------------------------------------------------------------------------


def test_a_run_says_how_long_it_would_have_taken(tmp_path: Path, judge_cache: Path) -> None:
    keys = KEYS | {
        "algorithm": {"name": "diffusion", "rounds": 4},
        "devices": "raspberry-pi-4",
        "metrics": {"quality_every": 2, "target": 1e9, "samples": 50},
    }
    done = sim.run(keys, run_dir=tmp_path / "run")
    assert done.summary["virtual_seconds"] == pytest.approx(4 * 30.38)
    assert done.summary["predicted"] is True
    assert done.summary["quality_curve"]["seconds"] == pytest.approx([2 * 30.38, 4 * 30.38])
    reached = done.summary["time_to_target"]
    assert reached == {
        "measure": "cfid",
        "distance": 1e9,
        "seconds": pytest.approx(2 * 30.38),
    }
    page = (done.path / "report.html").read_text()
    assert "<b>2.03 min</b><span>predicted" in page
    assert (done.path / "figures" / "quality_time.png").is_file()
