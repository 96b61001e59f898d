"""The report's texts: headline, key numbers, notes, captions and explanations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import topology
from sim.metrics.quality import Quality
from sim.records.reader import RecordedRun
from sim.reporting.tables import format_bytes, format_distance, format_time, plural

Item = tuple[str, str]
"""A number or a word, and its meaning."""


_MEASURES = {
    "rfd": (
        "RFD",
        "Fréchet distance on 256 features of a fixed net with random weights, to the images of all "
        "peers, and to the peer's own alone: the difference is what the network taught it. It is "
        "no FID, and compares only with others of the same images.",
    ),
    "fid": (
        "FID",
        "Fréchet distance on 2,048 features of the Inception net, to the images of all peers, and "
        "to the peer's own alone; of few samples it is too large, so compare equal numbers.",
    ),
    "cfid": (
        "all, own",
        "The CFID to all images, and to the peer's own alone: the difference is what the network "
        "taught it.",
    ),
}
"""What the distances that peers log mean, by measure."""


def headline(summary: Mapping[str, Any], quality: Quality | None) -> str:
    """The run's result in one sentence."""
    if quality is None:
        return f"{plural(summary['peers'], 'peer')} after {plural(summary['rounds'], 'round')}"
    low, high = min(quality.coverage.values()), max(quality.coverage.values())
    if low == high:
        return f"Every peer draws {low} of {quality.classes} classes"
    return f"Peers draw {low} to {high} of {quality.classes} classes"


def subtitle(run: RecordedRun, summary: Mapping[str, Any]) -> str:
    """What was run."""
    return (
        f"{summary['algorithm']}, {summary['peers']} peers ({run.experiment.graph_family}), "
        f"{summary['rounds']:,} rounds, data: {run.experiment.data.source} "
        f"({run.experiment.data.partition.name}), seed {run.experiment.seed}"
    )


def tiles(summary: Mapping[str, Any], quality: Quality | None) -> Iterable[Item]:
    """The key numbers, each with what it measures."""
    if quality:
        yield (
            f"{min(quality.coverage.values())} of {quality.classes}",
            "classes covered by the peer that covers fewest",
        )
        finite = [x for x in quality.cfid.values() if math.isfinite(x)]
        if finite:
            low, high = format_distance(min(finite)), format_distance(max(finite))
            yield (low if low == high else f"{low} to {high}", "CFID of the peers' samples")
    yield from _scores(summary)
    if quality and quality.absent_share:
        share = sum(quality.absent_share.values()) / len(quality.absent_share)
        yield (f"{share:.0%}", "of samples show a class absent from the peer's own data")
    for net, value in summary["disagreement"].items():
        if value is not None:
            error = summary["disagreement_relative_error"].get(net)
            about = "" if error is None else f" ± {error:.0%}"
            yield (f"{value:.3g}{about}", f"final disagreement of the {net}s")
    sent = sum(summary["bytes_out"].values())
    if sent:
        yield (format_bytes(sent / len(summary["bytes_out"])), "sent by each peer, on average")
    if quality and quality.as_asked:
        mean = sum(quality.as_asked.values()) / len(quality.as_asked)
        yield (f"{mean:.0%}", "of the samples are seen as the class that was asked for")
    run_metrics = summary.get("run", {})
    if "updates_per_second" in run_metrics:
        clock = "virtual second" if run_metrics["virtual"] else "second"
        yield (f"{run_metrics['updates_per_second']:.3g}", f"rounds of peers in a {clock}")
    if summary.get("predicted"):
        predicted = format_time(summary["virtual_seconds"])
        yield (predicted, "predicted for the devices and links of the experiment (virtual time)")
        if "time_to_target" in summary:
            target = summary["time_to_target"]
            reached = "never" if target["seconds"] is None else format_time(target["seconds"])
            distance = f"{target['measure'].upper()} {format_distance(target['distance'])}"
            yield (reached, f"until {distance}, in virtual time")
        yield (_duration(summary["seconds"]), "of simulation on this machine")
    else:
        yield (_duration(summary["seconds"]), "of training")


def _scores(summary: Mapping[str, Any]) -> Iterable[Item]:
    """The distances that peers logged themselves, medians."""
    scores = summary.get("quality")
    if not scores:
        return
    for which, meaning in (("network", "all peers' images"), ("own", "the peer's own images")):
        known = [x for x in scores[which].values() if x is not None]
        if known:
            shown = format_distance(statistics.median(known))
            yield (shown, f"{scores['measure'].upper()} of samples to {meaning} (median)")


def notes(run: RecordedRun, summary: Mapping[str, Any]) -> Iterable[str]:
    """What a reader must know before trusting the rest."""
    if summary["quality_absent"] and summary.get("quality"):
        measure = summary["quality"]["measure"].upper()
        yield (
            f"No classifier judged the samples ({summary['quality_absent']}); the {measure} is the "
            "one that the peers measured themselves."
        )
    elif summary["quality_absent"]:
        yield (
            "Samples were not judged: there is no coverage and no CFID. "
            f"{summary['quality_absent']}. With metrics.quality_every, peers measure their "
            "distance to each other's images without seeing them."
        )
    if run.unfinished:
        who = ", ".join(map(str, run.unfinished))
        yield (
            f"Left no result (killed, never started, or not gathered): peer {who}. "
            "What follows is of the others."
        )
    if run.generators and run.without_generator:
        who = ", ".join(map(str, run.without_generator))
        several = len(run.without_generator) > 1
        yield (
            f"By design, peer{'s' * several} {who} hold{'' if several else 's'} no generator: "
            "no samples, and a dash in the table."
        )
    if run.unreadable:
        yield f"{run.unreadable} lines of the logs could not be read and were left out."
    if summary["missing"]:
        worst = sum(sum(of.values()) for of in summary["missing"].values())
        yield f"Neighbours missed {worst:,} exchanges in all; the table says where."


def captions(
    run: RecordedRun, summary: Mapping[str, Any], quality: Quality | None
) -> dict[str, str]:
    """The caption of each figure, by the figure's name."""
    exact = "Exact: the simulator sees every peer."
    estimated = (
        "Estimated from the 256 numbers that each peer logs of each net in place of the net; the "
        "band is two standard errors either side. The sketch is the same in every round, so that a "
        "whole curve may lie a little high or low."
    )
    beside = " Beside it: the same measure without cooperation, or before training." * bool(
        summary.get("baselines")
    )
    judged = f"{quality.samples:,} samples a peer" if quality else ""
    samples = "Every peer's generator starts from the same random numbers, column by column."
    if quality:
        samples += (
            " A frame marks a sample that the judge takes, with confidence 0.9 or more, for a "
            "class that the peer's own data do not hold."
        )
    return {
        "samples": samples,
        "coverage": f"A class is covered if 1 % or more of {judged} are confidently of it."
        + beside,
        "cfid": "Fréchet distance between the samples and the whole source on the features of the "
        "judge. Not an FID, and not to be compared with one." + beside,
        "disagreement": (estimated if summary["disagreement_estimated"] else exact)
        + _bound_caption(run, summary),
        "quality": "Distances, and classes covered where a judge can tell: means over the "
        "generators that the system is for.",
        "quality_time": "The same over the time that the run would have taken on the devices and "
        "links of the experiment.",
        "losses": "Running means; every record lies faintly beneath where peers are few.",
        "delta_loss": "Running mean of the discriminator's loss less the generator's, as Oasis "
        "follows it. The nearer it stays to that of a GAN trained alone, the better the balance.",
        "graph": "Links of the network, and the classes in each peer's own data.",
    }


def _bound_caption(run: RecordedRun, summary: Mapping[str, Any]) -> str:
    bounds = summary["disagreement_bound"]
    if not bounds:
        return ""
    lambda_2 = summary["lambda_2"]
    mu = float(run.experiment.optimizer_for("discriminator").settings.get("lr", 1e-3))
    after = topology.transient_rounds(mu, lambda_2) if mu > 0 else math.inf
    text = f" λ₂ = {lambda_2:.4g} is the second eigenvalue of the combination weights"
    if math.isfinite(after):
        text += f"; the bound is for the time after about {math.ceil(after)} combinations"
    if any(bound["surrogate"] for bound in bounds.values()):
        return text + (
            ". Theorem 1 is about plain SGD. What is drawn dashed is a surrogate for it: the "
            "largest step that this optimizer takes, in place of step size times gradient."
        )
    return text + (
        ". The theorem holds the other net fixed; with both nets learning in turn, its bound is a "
        "diagnostic. B² + σ² is the largest squared gradient norm that was logged."
    )


def glossary(summary: Mapping[str, Any], quality: Quality | None) -> Iterable[Item]:
    """What each number means, in one sentence."""
    if quality:
        yield (
            "covers",
            f"How many of the {quality.classes} classes make up 1 % or more of the peer's "
            f"{quality.samples:,} samples, counting only samples of which the judge is at least "
            "90 % sure.",
        )
        yield (
            "CFID",
            "How far the samples are from the real images, as the Fréchet distance between the "
            "judge's 128 features of both; 0 would be perfect, and values compare only under the "
            "same judge.",
        )
        yield (
            "unseen",
            "The share of all the peer's samples that are confidently of a class that its own data "
            "do not hold (orange in the bars): what it can only have heard from others.",
        )
        yield (
            "judge",
            "A small convolutional classifier trained on the labelled source; it is right on "
            f"{quality.judge_accuracy:.2%} of images that it was not trained on.",
        )
    if summary.get("quality"):
        yield _MEASURES[summary["quality"]["measure"]]
    yield (
        "disagreement",
        "The mean over peers of the squared distance between a peer's parameters and the average "
        "of all peers; 0 means that all are equal.",
    )
    if summary["lambda_2"] is not None:
        yield (
            "λ₂",
            "The second largest eigenvalue of the combination weights, here "
            f"{summary['lambda_2']:.4g}: 0 would average all in one exchange, 1 never.",
        )
    yield (
        "missed",
        "Exchanges in which a neighbour was down, late or unreachable, so that its weight stayed "
        "on the peer itself.",
    )
    yield (
        "parameters",
        "The start of the digest of the final parameters: equal runs have equal ones.",
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
