"""Steps that are not finite: skipped whole, counted, said; then back to before; then the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import algorithms
import sim
from peer.compute.execute import carry_out
from peer.compute.guard import LIMIT
from peer.effects import Effect, Gradient, Step, StepResult, Train
from peer.experiment import from_mapping
from peer.state import PeerState
from peer.state.checkpoint import recalled, save_state
from peer.state.recorder import Recorder
from sim.engines.stacked import Stacked
from sim.engines.vmapped import Task, carry_out_all
from sim.engines.workspace import Workspace
from sim.runs.simulate import drive, make_states
from tests.support.systems import PLAIN
from topology import UserError

RING = PLAIN | {"graph": "ring", "algorithm": {"name": "diffusion", "rounds": 5}}
BATCH_NORM = {
    "gan": {"name": "dcgan28", "width": 4},
    "data": {"source": "synthetic", "images": 40, "size": 28, "partition": "own"},
}
TRAIN = Train("discriminator", "discriminator")
BURSTING = {"loss": "lsgan", "optimizer": {"name": "sgd", "lr": 1e12}}
"""One step, and logits are so large that their squares are infinite."""


def state_of(**keys: Any) -> PeerState:
    state = make_states(from_mapping(RING | keys))[0]
    for _ in range(2):  # moments and statistics of batch-norm are not what they began with
        carry_out(TRAIN, state)
        carry_out(Train("generator", "generator"), state)
    return state


def spoilt(state: PeerState) -> torch.Tensor:
    """Images of which one pixel overflows."""
    assert state.shard is not None
    images = state.shard.pixels[:16].clone()
    images[3, 0, 2, 2] = torch.inf
    return images


def everything(state: PeerState) -> dict[str, bytes]:
    return {
        name: value.numpy().tobytes()
        for name, value in state.dump().tensors.items()
        if "shard" not in name
    }


@pytest.mark.parametrize("keys", [{}, BATCH_NORM], ids=["no buffers", "batch-norm"])
@pytest.mark.parametrize("how", ["train", "gradient and step"])
def test_a_step_that_is_not_finite_leaves_everything_as_it_was(
    how: str, keys: dict[str, Any]
) -> None:
    state = state_of(**keys)
    before = everything(state)
    inputs = {"real": spoilt(state)}
    if how == "train":
        result = carry_out(Train("discriminator", "discriminator", 1, inputs), state)
    else:
        result = carry_out(Gradient("discriminator", "discriminator", inputs), state)
        carry_out(Step("discriminator"), state)
    assert not result.is_finite
    assert everything(state) == before
    assert state.skipped == {"discriminator": 1}
    carry_out(TRAIN, state)
    assert everything(state) != before
    assert state.facts["guard"] == {"in_a_row": {}, "went_back": ""}


def test_a_finite_step_is_what_it_was_without_the_guard() -> None:
    state = state_of()
    assert not state.skipped
    assert "guard" not in state.facts


def test_means_are_over_the_steps_that_were_taken() -> None:
    nan = StepResult(float("nan"), 1.0)
    assert StepResult.mean([StepResult(1.0, 4.0), nan, StepResult(3.0, 8.0)]) == (2.0, 6.0)
    assert not StepResult.mean([nan, nan]).is_finite


@pytest.mark.parametrize("keys", [{}, BATCH_NORM], ids=["no buffers", "batch-norm"])
@pytest.mark.parametrize("how", ["train", "gradient and step"])
def test_a_skipped_row_leaves_its_neighbours_untouched(how: str, keys: dict[str, Any]) -> None:
    experiment = from_mapping(RING | keys)
    together, alone = make_states(experiment), make_states(experiment)
    workspace = Workspace()

    def effects(k: int, step: int) -> list[Effect]:
        given = {"real": spoilt(alone[k]) if (k, step) == (2, 1) else alone[k].draw_real()}
        if how == "train":
            return [Train("discriminator", "discriminator", 1, given)]
        return [Gradient("discriminator", "discriminator", given), Step("discriminator")]

    for step in range(3):
        of_peers = [effects(k, step) for k in alone]
        for same in zip(*of_peers, strict=True):
            for k, effect in enumerate(same):
                carry_out(effect, alone[k])
            tasks = [Task(together[k], effect) for k, effect in enumerate(same)]
            carry_out_all(tasks, workspace)
    for k, state in alone.items():
        assert state.skipped == together[k].skipped == ({"discriminator": 1} if k == 2 else {})
        for name, net in state.nets.items():
            ours = together[k].nets[name].arena
            torch.testing.assert_close(ours.vector, net.arena.vector, rtol=1e-3, atol=1e-4)
            for counter, value in net.arena.counters.items():
                assert torch.equal(value, ours.counters[counter])


def skip(state: PeerState, times: int) -> None:
    effect = Train("discriminator", "discriminator", 1, {"real": spoilt(state)})
    for _ in range(times):
        carry_out(effect, state)


def test_after_ten_in_a_row_it_begins_anew_once_and_then_stops() -> None:
    state = state_of(**BATCH_NORM)
    first = everything(make_states(from_mapping(RING | BATCH_NORM))[0])
    skip(state, LIMIT - 1)
    assert not state.went_back
    carry_out(TRAIN, state)
    skip(state, LIMIT - 1)  # a good step in between: not in a row
    assert not state.went_back
    skip(state, 1)
    assert state.went_back == "its first values"
    assert everything(state) == first  # moments are none
    state.round = 6
    skip(state, LIMIT - 1)
    with pytest.raises(
        UserError, match="peer 0: 10 steps in a row of its discriminator in round 7 "
    ):
        skip(state, 1)


def test_it_goes_back_to_its_newest_checkpoint(tmp_path: Path) -> None:
    state = state_of()
    state.round = 4
    save_state(state, tmp_path)
    saved = everything(state)
    state.recall = lambda: recalled(tmp_path)
    carry_out(TRAIN, state)
    skip(state, LIMIT)
    assert state.went_back == "the checkpoint of round 4"
    assert everything(state) == saved
    assert state.round == 4


def test_a_checkpoint_with_nan_in_it_is_passed_over(tmp_path: Path) -> None:
    state = state_of()
    state.nets["generator"].arena.vector[5] = torch.nan
    save_state(state, tmp_path)
    state.recall = lambda: recalled(tmp_path)
    skip(state, LIMIT)
    assert state.went_back == "its first values"
    assert state.nets["generator"].arena.vector.isfinite().all()


def test_a_burst_is_said_once_and_counted_in_the_records(tmp_path: Path) -> None:
    said: list[str] = []
    plain: dict[str, Any] = {"losses": {}, "missing": []}
    measures = [plain, *[plain | {"skipped": {"generator": 2}}] * 3, plain, plain]
    measures += [plain | {"skipped": {"discriminator": 1}, "went_back": "its first values"}]
    with Recorder(tmp_path / "metrics.jsonl", 3, 7, said.append) as recorder:
        for round, each in enumerate(measures, 1):
            recorder.write(0, round, each, seconds=0, bytes_in=0, bytes_out=0)
            if round == 2:
                assert recorder.totals(0)["skipped"] == {"generator": 2}
    assert [line.split(": ", 2)[:2] for line in said] == [
        ["peer 0", f"round {r}"] for r in (2, 7, 7)
    ]
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {r["round"]: r.get("skipped") for r in records} == {
        1: None, 3: {"generator": 4}, 6: {"generator": 2}, 7: {"discriminator": 1},
    }  # fmt: skip


def test_a_run_that_bursts_ends_with_one_line(tmp_path: Path) -> None:
    keys = RING | BURSTING | {"algorithm": {"name": "diffusion", "rounds": 60}}
    with pytest.raises(UserError, match=r"peer \d: 10 steps in a row of its \w+ in round \d+ have"):
        sim.run(keys, run_dir=tmp_path / "run", report=False)


def test_stacked_skips_what_one_peer_at_a_time_skips() -> None:
    """One peer's own images overflow in every step; it begins anew in both engines."""
    keys = RING | {"optimizer": {"name": "sgd", "lr": 0.01}}
    keys |= {"algorithm": {"name": "diffusion", "rounds": LIMIT + 4}}

    def end(engine: Stacked | None) -> dict[int, PeerState]:
        experiment = from_mapping(keys)
        states = make_states(experiment)
        shard = states[1].shard
        assert shard is not None
        shard.pixels[:, 0, 0, 0] = torch.inf
        drive(experiment, states, algorithms.find(experiment), engine=engine)
        return states

    engine = Stacked()
    stacked, alone = end(engine), end(None)
    assert any(tuner.stacked for tuner in engine.tuners.values())
    assert alone[1].facts["guard"] == {
        "in_a_row": {"discriminator": 4},
        "went_back": "its first values",
    }
    for k, state in alone.items():
        assert state.facts == stacked[k].facts
        for name, net in state.nets.items():
            ours = stacked[k].nets[name].arena.vector
            assert ours.isfinite().all()
            torch.testing.assert_close(ours, net.arena.vector, rtol=1e-4, atol=1e-5)
