"""How much virtual time the devices and links of a simulation take, in the experiment file.

Real peers ignore it, and in a simulation it does not change what peers compute or combine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from peer.settings import Settings
from topology.names import suggestion

# --- devices --------------------------------------------------------------------------------------


class Cost(Settings):
    """Seconds that something takes on a mini-batch: ``fixed + per_image * images``.

    A plain number in the file is ``fixed``.
    """

    fixed: float = Field(0.0, ge=0, description="Seconds, whatever the batch.")
    per_image: float = Field(0.0, ge=0, description="Seconds more for each image of the batch.")

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping | Cost) else {"fixed": value}

    def of(self, images: int) -> float:
        """Seconds for so many images."""
        return self.fixed + self.per_image * images

    def times(self, factor: float) -> Cost:
        """A cost ``factor`` times as high."""
        return Cost(fixed=self.fixed * factor, per_image=self.per_image * factor)


class Seconds(Settings):
    """What each kind of work takes on a device; what is absent is estimated from the steps."""

    discriminator: Cost | None = Field(None, description="One step of D.")
    generator: Cost | None = Field(None, description="One step of G.")
    regularised: Cost | None = Field(None, description="One regularised step of D; as any other.")
    draw: Cost | None = Field(None, description="A forward pass of G; 1/6 of its step.")
    judge: Cost | None = Field(None, description="A forward pass of D; 1/6 of its step.")
    descend: Cost | None = Field(None, description="A vector-Jacobian product of G; 1/2 of a step.")
    feedback: Cost | None = Field(None, description="The same of D, by its images; 1/2 of a step.")


def is_file(name: str) -> bool:
    """Whether a profile's name is that of a YAML file, and not of a profile that is built in."""
    return name.endswith((".yaml", ".yml")) or "/" in name


def _known(kind: str, names: Iterable[str]) -> Any:
    """A validator: one of ``names``, or a file's name."""
    names = tuple(names)

    def check(name: str) -> str:
        if is_file(name) or name in names:
            return name
        raise ValueError(
            f"there is no {kind} profile of that name{suggestion(name, names)} "
            f"(built in: {', '.join(names)}; or name a .yaml file that `peer profile` wrote)"
        )

    return AfterValidator(check)


DEVICES: dict[str, Seconds] = {
    # Oasis (Hu et al. 2024), section 6: 30.38 s a local step of MLPGAN, which is one step of D and
    # one of G; how they share it is not said, and halves add up to it for n_d = 1.
    "raspberry-pi-4": Seconds(discriminator=Cost(fixed=15.19), generator=Cost(fixed=15.19)),
}
"""The built-in profiles of devices, by name."""


class DeviceSpec(Settings):
    """A device: a profile, by name or file, and what differs from it; a bare string: a profile."""

    profile: Annotated[str, _known("device", DEVICES)] | None = Field(
        None, description="Built in (raspberry-pi-4), or a YAML file that `peer profile` wrote."
    )
    speed: float = Field(1.0, gt=0, description="Times as fast as the profile says.")
    seconds: Seconds = Field(
        default_factory=Seconds, description="Seconds by kind of work, in place of the profile's."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"profile": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_enough(self) -> DeviceSpec:
        own = self.seconds
        if self.profile is None and (own.discriminator is None or own.generator is None):
            raise ValueError("a device needs a profile, or seconds of discriminator and generator")
        return self


def _by_peer(value: Any) -> Any:
    """Whatever form ``devices:`` has in the file, as a mapping of ids and ``default``."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if not isinstance(value, Mapping):
        raise ValueError("say a device's profile, a list of them, or {default: .., 3: ..}")
    if set(value) & set(DeviceSpec.model_fields):
        return {"default": value}
    found: dict[int | str, Any] = {}
    for key, of in value.items():
        if key != "default" and not str(key).isdecimal():
            raise ValueError(f"keys are peers' ids and 'default', not '{key}'")
        found["default" if key == "default" else int(key)] = of
    return found


_One = str | DeviceSpec
Devices = Annotated[
    dict[int | str, DeviceSpec],
    BeforeValidator(
        _by_peer, json_schema_input_type=str | list[_One] | dict[int | str, _One] | DeviceSpec
    ),
]
"""By peer's id, its device; under ``default``, that of all other peers."""


# --- links ----------------------------------------------------------------------------------------


class LinkProfile(Settings):
    """Properties of a link; None where the profile does not set one."""

    delay: float | None = Field(None, ge=0, description="Seconds from one end to the other.")
    jitter: float | None = Field(None, ge=0, description="Up to so many seconds more, uniformly.")
    loss: float | None = Field(None, ge=0, le=1, description="Share of exchanges lost.")
    bandwidth: float | None = Field(
        None, gt=0, description="Mbit/s (10^6 bits a second) each way; without, no limit."
    )
    duplex: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of every bandwidth that is left each way where two values cross on the "
        "link, as neighbours' do that combine: acknowledgements wait behind values. By default 1.",
    )


LINKS: dict[str, LinkProfile] = {
    # Oasis (Hu et al. 2024), section 6: 3.75 s from server to client or back, whatever the net that
    # stands in for the paper's MLPGAN here; its 11.24 MiB in that time are 25.14 Mbit/s.
    "raspberry-pi-4": LinkProfile(delay=3.75),
    "wifi": LinkProfile(bandwidth=25.14),
    "ethernet-100": LinkProfile(bandwidth=100),  # the nominal rates of the standards
    "ethernet-1000": LinkProfile(bandwidth=1000),
}
"""The built-in profiles of links, by name."""

LinkName = Annotated[str, _known("link", LINKS)]


class LinkSpec(LinkProfile):
    """One link of the simulated network that differs from the rest."""

    between: tuple[int, int] = Field(description="The ids of its two ends.")
    link: LinkName | None = Field(None, description="A profile, as for the whole network.")


class EndSpec(Settings):
    """What one peer can send and take in, to and from all its neighbours together."""

    peer: int = Field(description="Whose end.")
    uplink: float | None = Field(None, gt=0, description="Mbit/s, in place of the network's.")
    downlink: float | None = Field(None, gt=0, description="Mbit/s, in place of the network's.")


class NetworkSpec(LinkProfile):
    """The simulated network; real peers have the real one.

    By default only ``delay`` counts, and links do not share bandwidth.

    - ``bandwidth`` limits one direction of one link: a server sends to many as fast as to one.
    - ``uplink`` and ``downlink`` limit all links of a peer together, as one network card does; what
      it sends in one exchange is sent in parallel, and all of it arrives at the same time.
    - ``channel`` limits all peers together, as one Wi-Fi channel does; values take turns on it.

    A value arrives when the slowest of these limits allows it, plus ``delay``.
    """

    link: LinkName | None = Field(
        None, description=f"A profile: {', '.join(LINKS)}, or a file that `peer profile` wrote."
    )
    uplink: float | None = Field(None, gt=0, description="Mbit/s that a peer sends with, in all.")
    downlink: float | None = Field(None, gt=0, description="Mbit/s that a peer takes in, in all.")
    channel: float | None = Field(None, gt=0, description="Mbit/s of all peers together.")
    step: float = Field(
        0.001, gt=0, description="Virtual seconds a local step takes where no device is given."
    )
    links: tuple[LinkSpec, ...] = Field((), description="Links that differ from the rest.")
    ends: tuple[EndSpec, ...] = Field((), description="Peers that differ from the rest.")


# --- measured profiles ----------------------------------------------------------------------------


class Profile(Settings):
    """What `peer profile` writes: a device, and the link that it measured."""

    of: dict[str, Any] = Field(default_factory=dict, description="What was measured; for readers.")
    seconds: Seconds
    link: LinkProfile | None = None


P = TypeVar("P", bound=BaseModel)


def over(own: P, fallback: P) -> dict[str, Any]:
    """The fields of ``own``, else those of ``fallback``; what both leave at None is omitted."""
    return fallback.model_dump(exclude_none=True) | own.model_dump(exclude_none=True)
