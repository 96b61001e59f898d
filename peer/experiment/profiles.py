"""Profiles of devices and links: built-in ones, and measured ones in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peer.experiment import Experiment
from peer.experiment.cost_models import (
    DEVICES,
    LINKS,
    Cost,
    DeviceSpec,
    LinkProfile,
    Profile,
    Seconds,
    is_file,
    over,
)
from peer.experiment.validation import validated
from peer.experiment.yaml_file import read_mapping
from topology.errors import UserError


def read_profile(path: Path, key: str) -> Profile:
    """The profile in a YAML file, which the experiment's ``key`` names.

    Raises:
        UserError: the file is missing, or is no profile.
    """
    try:
        what = "`peer profile` writes profiles, with seconds: {..}"
        raw = read_mapping(path, f"{key}: {path}", what)
    except FileNotFoundError:
        raise UserError(f"{key}: there is no profile {path}; `peer profile` writes one") from None
    if "seconds" not in raw:
        raise UserError(f"{key}: {path} is not a profile; `peer profile` writes one")
    try:
        profile: Profile = validated(Profile, raw)
    except UserError as problem:
        raise UserError(f"{key}: {path}: {problem}") from None
    return profile


def seconds_on(device: DeviceSpec, folder: Path, key: str = "devices") -> Seconds:
    """The cost of every kind of work on ``device``; none is None.

    Costs that were not measured are estimated from the cost of a step by counting passes: a step
    makes about six (of D: two forward, four backward), a forward pass is one, a vector-Jacobian
    product two or three.

    Raises:
        UserError: the file that it names is missing, or is no profile.
    """
    measured = Seconds()
    if device.profile is not None and is_file(device.profile):
        measured = read_profile(folder / Path(device.profile).expanduser(), key).seconds
    elif device.profile is not None:
        measured = DEVICES[device.profile]
    given = Seconds.model_validate(over(device.seconds, measured))
    d, g = given.discriminator, given.generator
    if d is None or g is None:
        raise UserError(f"{key}: {device.profile} lacks seconds of discriminator or generator")
    derived = Seconds(
        regularised=d,
        draw=g.times(1 / 6),
        judge=d.times(1 / 6),
        descend=g.times(1 / 2),
        feedback=d.times(1 / 2),
    )
    complete = Seconds.model_validate(over(given, derived))
    return Seconds(
        **{
            name: Cost.model_validate(cost).times(1 / device.speed)
            for name, cost in complete.model_dump().items()
        }
    )


def link_of(name: str, folder: Path, key: str = "network.link") -> LinkProfile:
    """The link profile of that name, or in that file.

    Raises:
        UserError: the file is missing, is no profile, or says nothing of a link.
    """
    if not is_file(name):
        return LINKS[name]
    found = read_profile(folder / Path(name).expanduser(), key).link
    if found is None:
        raise UserError(f"{key}: {name} says nothing of a link; measure one with `peer profile`")
    return found


def with_profiles(experiment: Experiment) -> Experiment:
    """The experiment with the content of its profile files in place of their names.

    Raises:
        UserError: a file is missing, or is no profile.
    """
    folder, network = experiment.folder, experiment.network
    names = [device.profile for device in experiment.devices.values()]
    names += [network.link, *(link.link for link in network.links)]
    if not any(name is not None and is_file(name) for name in names):
        return experiment
    devices = {
        str(k): {"seconds": seconds_on(device, folder, f"devices.{k}").model_dump()}
        if device.profile is not None and is_file(device.profile)
        else device.model_dump()
        for k, device in experiment.devices.items()
    }
    resolved = _inline(network.model_dump(), folder, "network.link")
    resolved["links"] = [
        _inline(link, folder, f"network.links.{i}.link") for i, link in enumerate(resolved["links"])
    ]
    return experiment.varied(devices=devices, network=resolved)


def _inline(keys: dict[str, Any], folder: Path, key: str) -> dict[str, Any]:
    """A link's settings, completed by those of the file that ``link`` names."""
    if keys["link"] is None or not is_file(keys["link"]):
        return keys
    profile = link_of(keys["link"], folder, key).model_dump()
    own = {name: value for name, value in keys.items() if value is not None}
    return keys | profile | own | {"link": None}
