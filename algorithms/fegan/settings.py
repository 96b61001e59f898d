"""The settings of FeGAN, with the paper's symbols."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from algorithms.fegan.load import Capability, Loads
from algorithms.fegan.sampling import Scheme
from algorithms.settings import FederatedSettings
from peer.training import Order


class FeGanConfig(FederatedSettings):
    """Settings of ``algorithm: {name: fegan, ...}``; the paper's: E = 30, C = 0.025, B = 50."""

    fraction: float = Field(0.1, gt=0, le=1, description="C: share of devices in a round.")
    local_steps: int = Field(30, ge=1, description="E: iterations of a full device.")
    order: Order = Field("G_first", description="As in the released code: G, then D on its fakes.")
    balanced: bool = Field(True, description="s: balanced sampling; otherwise, at random.")
    kl: bool = Field(True, description="w: KL weighting; otherwise, a plain mean.")
    scheme: Scheme = Field("exp", description="How scores become weights.")
    histogram: Literal["labels", "clusters"] = Field(
        "labels", description="Of the data's labels, or of a local clustering."
    )
    clusters: int = Field(10, ge=2, description="Of a local clustering.")
    capabilities: dict[int, Capability] = Field(
        default_factory=dict, description="Declared, by device; the others are full devices."
    )
    probe: bool = Field(False, description="Measure what is not declared, in seconds.")
    loads: Loads = Field(default_factory=Loads)
    load_factor: Literal["steps", "batch", "none"] = Field(
        "steps", description="l_k = B_k E_k / (B E), B_k / B, or 1."
    )
    count: Literal["all", "processed"] = Field(
        "all", description="What a device adds to taken: its histogram, or what it processes of it."
    )
    on_missing: Literal["complete", "abort"] = Field(
        "complete", description="A round lacks a device: complete it with a quorum, or abort it."
    )
    quorum: float = Field(0.5, ge=0, le=1, description="q: share that must come to complete.")
