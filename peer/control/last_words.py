"""What a peer says at its end."""

from __future__ import annotations

from peer.runtime.options import Ending
from peer.runtime.process import PeerProcess


def last_line(ending: Ending, process: PeerProcess, command: str) -> str:
    """What has become of the peer, and of what it learned."""
    if ending.completed:
        if ending.problem:
            how = how_to_go_on(ending.saved, command)
            return (
                f"finished after round {ending.round}, but what it made could not be written "
                f"({ending.problem}); {how}"
            )
        done = "left" if ending.has_left else "finished"
        return f"{done} after round {ending.round}; its generator is in {process.folder}"
    if ending.saved == ending.round:
        return f"stopped after round {ending.round}; go on with: {command}"
    if ending.round == 0:
        again = command.removesuffix(" --resume")
        return f"stopped before its first round was complete; begin again with: {again}"
    lost = f" ({ending.problem})" if ending.problem else ""
    how = how_to_go_on(ending.saved, command)
    return f"stopped after round {ending.round}, which could not be saved{lost}; {how}"


def how_to_go_on(saved: int | None, command: str) -> str:
    """What is saved, and the command that goes on from there."""
    if saved is None:
        return f"nothing is saved yet; begin again with: {command.removesuffix(' --resume')}"
    return f"round {saved} is saved; go on with: {command}"
