"""What compressed combines save in bytes, and what they cost in quality.

    python -m benchmarks.compression [--rounds 1000] [--seeds 0,1,2,3,4] [--codecs "none;int8"]
                                     [--processes 2]

The ring of examples/ring.yaml in simulation (the bytes and, on one engine, the bits of real peers),
once a codec and seed. Bytes are those of the encoded values, against float32 with the same seed;
CFID is the mean over the five generators, and what it costs is the mean over seeds of the
difference to full precision with the same seed. The seeds' noise is the standard deviation of full
precision's own CFID. The target is int8's: 0.27 of the bytes, and a CFID within that noise.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import algorithms
from benchmarks.record import write
from peer.compute.execute import prepare_compute_thread
from peer.experiment import load
from sim.engines.stacked import Stacked
from sim.metrics.quality import evaluate_generators
from sim.runs.simulate import drive, make_states

CODECS: dict[str, Any] = {
    "none": "none",
    "bf16": "bf16",
    "int8": "int8",
    "int8 stochastic": {"name": "int8", "rounding": "stochastic"},
    "int4": "int4",
    "top-k 10 %": {"name": "top-k", "share": 0.1},
    "choco, top-k 10 %": {"name": "choco", "share": 0.1},
    "choco, int4": {"name": "choco", "of": "int4"},
}
TARGET = 0.27
"""Of float32's bytes, for int8."""


def one(codec: str, seed: int, rounds: int) -> tuple[int, float]:
    """Bytes sent by all peers, and their generators' mean CFID."""
    prepare_compute_thread(1)
    overrides = [f"algorithm.rounds={rounds}", f"seed={seed}"]
    overrides.append(f"compression={json.dumps(CODECS[codec])}")
    experiment = load("examples/ring.yaml", overrides)
    states = make_states(experiment)
    driver = drive(experiment, states, algorithms.find(experiment), engine=Stacked())
    sent = sum(peer.bytes_out for peer in driver.peers.values())
    generators = {k: state.nets["generator"].module for k, state in states.items()}
    return sent, statistics.fmean(evaluate_generators(experiment, generators).cfid.values())


def row(ended: dict[tuple[str, int], tuple[int, float]], codec: str, seeds: list[int]) -> Any:
    """A codec's figures over all seeds, against ``none`` with the same seed."""
    mine, plain = ([ended[name, seed] for seed in seeds] for name in (codec, "none"))
    shares = [a[0] / b[0] for a, b in zip(mine, plain, strict=True)]
    differences = [a[1] - b[1] for a, b in zip(mine, plain, strict=True)]
    several = len(seeds) > 1
    return {
        "bytes": mine[0][0],
        "share_of_bytes": max(shares),
        "cfid": [cfid for _, cfid in mine],
        "cfid_mean": statistics.fmean(cfid for _, cfid in mine),
        "cfid_deviation": statistics.stdev(cfid for _, cfid in mine) if several else None,
        "cfid_difference": statistics.fmean(differences),
        "difference_deviation": statistics.stdev(differences) if several else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--codecs", default=";".join(CODECS), help="names, with ; between them")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--record", type=Path, default=Path("benchmarks/compression.json"))
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    codecs = [name.strip() for name in arguments.codecs.split(";")]
    for name in codecs:
        if name not in CODECS:
            parser.error(f"--codecs: there is no '{name}'; known are {'; '.join(CODECS)}")
    codecs = ["none", *(name for name in codecs if name != "none")]
    jobs = [(codec, seed) for seed in seeds for codec in codecs]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, context) as pool:
        futures = {job: pool.submit(one, *job, arguments.rounds) for job in jobs}
        ended = {job: future.result() for job, future in futures.items()}
    rows = {codec: row(ended, codec, seeds) for codec in codecs}
    noise = rows["none"]["cfid_deviation"]
    print(f"{arguments.rounds} rounds on examples/ring.yaml, seeds {arguments.seeds}")
    heads = f"{'bytes':>13} {'share':>6} {'CFID':>7} {'+-':>6} {'difference':>10} {'+-':>6}"
    print(f"{'codec':18} {heads}")
    for codec, of in rows.items():
        figures = [of["cfid_deviation"], of["difference_deviation"]]
        own, apart = ("" if figure is None else f"{figure:.2f}" for figure in figures)
        print(
            f"{codec:18} {of['bytes']:13,} {of['share_of_bytes']:6.3f} {of['cfid_mean']:7.2f} "
            f"{own:>6} {of['cfid_difference']:+10.2f} {apart:>6}"
        )
    record: dict[str, Any] = {"rounds": arguments.rounds, "seeds": seeds, "codecs": rows}
    if "int8" in rows and noise is not None:
        met = {
            "bytes": rows["int8"]["share_of_bytes"] <= TARGET,
            "cfid": rows["int8"]["cfid_difference"] <= noise,
        }
        words = {True: "met", False: "missed"}
        print(f"int8: bytes {words[met['bytes']]}, CFID {words[met['cfid']]} (noise {noise:.2f})")
        record |= {"target": {"share_of_bytes": TARGET, "noise": noise, "met": met}}
    write(arguments.record, record)


if __name__ == "__main__":
    main()
