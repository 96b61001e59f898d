"""Which keys a folder's pictures ask for: two small tables, each row with its why.

`NETS` says which net: the first row whose pictures are large and many enough. `KEYS` says the rest,
a row for each key of the file, in the order in which they are written. The rules, for a GAN on the
processor of a laptop or a Pi (`docs/how-to/first-experiment.md` has them as a table):

- **Net and size** by the median shorter side: from 64 pixels and 5,000 pictures on `dcgan64`, from
  30 pixels on `dcgan-diffusion32`, from 17 on `dcgan28`, and below fully connected nets at the
  pictures' own size. Fewer than 5,000 do not fill the 6 million parameters of a 64x64 pair, and a
  step of it takes three times as long. Widths are half of the papers'.
- **Grey or colour** by what is there: one channel takes less work than three.
- **Batch** by the smallest share: the largest power of two up to it, from 8 to 64, so that no
  picture is twice in a batch.
- **Rounds** by the count: 900 below 1,000 pictures, as the discriminator soon knows each of them by
  heart; 1,500 below 10,000; 4,000 above.
- **Loss and optimizer**: non-saturating with Adam at 0.001 and 0.5. Radford et al. 2016
  (arXiv:1511.06434) take 0.0002, for runs a hundred times as long.
- **Moving average** of the generator over a tenth of the rounds: seen side by side, its pictures
  have calmer colours and less of a chequered pattern than the last generator's.
- **Augmentation** below 1,000 pictures a peer, of convolutional nets: of 140 digits each at 28x28,
  two peers' RFD after 250 rounds is 6 with it and 30 without. Of digits at 8x8 and fully connected
  nets it is 30 with it and 13 without, after 500.
- **Partition**: everyone's own where each peer has a folder, random equal shares otherwise.
- **Classes**: all peers', where their folders are all here; then nobody waits to agree on them.
- **Scores** ten times a run, unless every peer keeps its pictures and has too few to tell their
  moments. A judge that peers train together from 500 pictures in classes on: of fewer it is not
  right often enough to be believed.

To switch on another key, add a row to `KEYS`; another net, a row to `NETS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peer.experiment.parts import MetricsSpec
from peer.starter.survey import Survey
from topology.errors import UserError

FEWEST = 10
"""Pictures that a peer needs, at least."""


@dataclass(frozen=True)
class Net:
    """A net, and the pictures that it is for.

    Attributes:
        gan: the file's `gan`.
        side: the pictures' side that it draws; None for their own.
        from_side: the median shorter side from which on it is chosen.
        from_count: pictures in all from which on it is chosen.
    """

    gan: str | dict[str, Any]
    side: int | None
    from_side: int
    from_count: int


NETS = (
    Net({"name": "dcgan64", "width": 32}, 64, from_side=64, from_count=5000),
    Net({"name": "dcgan-diffusion32", "width": 32}, 32, from_side=30, from_count=0),
    Net({"name": "dcgan28", "width": 32}, 28, from_side=17, from_count=0),
    Net("mlp-digits", None, from_side=0, from_count=0),
)

ROUNDS = ((1000, 900), (10_000, 1500))
"""(below so many pictures, so many rounds)."""

MOST_ROUNDS = 4000

FEW = 1000
"""Pictures of a peer below which they are augmented."""

JUDGED = 500
"""Pictures of all peers, in classes, from which on they train a judge together."""

MOST_CLASSES = 50
"""That are written into the file."""

TELLING: int = MetricsSpec.model_fields["least"].default
"""Pictures from which on a peer tells their moments."""


@dataclass(frozen=True)
class Key:
    """A key of the file: a name with dots, its value (None: it is left out) and why."""

    name: str
    value: Callable[[Survey], Any]
    why: Callable[[Survey], str]


def net_of(found: Survey) -> Net:
    """The first net that the pictures are large and many enough for."""
    return next(
        net for net in NETS if found.side >= net.from_side and found.expected >= net.from_count
    )


def side_of(found: Survey) -> int:
    """The side of the square that pictures become."""
    return net_of(found).side or found.side


def batch_of(found: Survey) -> int:
    """A power of two from 8 to 64, the smallest share at most where that is more than 8."""
    share = max(found.fewest, 8)
    return int(min(64, 1 << (share.bit_length() - 1)))


def rounds_of(found: Survey) -> int:
    """By how many pictures there are."""
    return next((rounds for below, rounds in ROUNDS if found.expected < below), MOST_ROUNDS)


def _augment(found: Survey) -> list[str] | None:
    """None for fully connected nets, and where there are pictures enough."""
    if net_of(found).side is None or found.fewest >= FEW:
        return None
    return ["translation", "cutout", *(["colour"] if found.colour else [])]


def _size(found: Survey) -> int | None:
    """Said for folders, where only some pictures were looked at; else where it changes anything."""
    side = side_of(found)
    return None if found.source != "folder" and found.uniform == (side, side) else side


def _channels(found: Survey) -> int | None:
    return (3 if found.colour else 1) if found.source == "folder" else None


def _shares(found: Survey) -> str:
    if found.elsewhere:
        return f"how many machines there are; this one has {found.fewest} pictures"
    if found.own:
        return f"each has its own pictures, {found.fewest} at least"
    return f"each holds about {found.fewest} of the {found.total:,} pictures"


def _path_says(found: Survey) -> str:
    if found.elsewhere:
        return "each machine's own pictures; the path may differ from machine to machine"
    return "relative paths start at this file's folder"


def _classes(found: Survey) -> list[str] | None:
    known = found.own and not found.elsewhere and 0 < len(found.classes) <= MOST_CLASSES
    return list(found.classes) if known else None


def _quality_every(found: Survey) -> int | None:
    """None where every peer keeps its pictures, and none has enough to tell their moments."""
    return None if found.own and max(found.counts) < TELLING else rounds_of(found) // 10


def _judge(found: Survey) -> bool | None:
    worth = found.own and found.classes and found.expected >= JUDGED
    return True if worth and _quality_every(found) else None


def _why_partition(found: Survey) -> str:
    if found.elsewhere:
        return "every machine keeps its pictures; they never leave"
    if found.own:
        return "each peer reads its own path, {id} is its number; pictures never leave"
    if len(found.classes) > 1:
        return (
            "equal shares at random; {name: dirichlet, alpha: 0.1} gives each peer few of the "
            "classes"
        )
    return "equal shares at random"


def _why_net(found: Survey) -> str:
    net = net_of(found)
    if net.side is None:
        return f"pictures of {found.side} pixels are too small for convolutions"
    if net.side == 32 and found.side >= 64:
        return (
            "half the paper's width; for 64x64 pictures say dcgan64 and data.size: 64, which "
            "takes three times as long and more pictures"
        )
    return "a small convolutional pair, half the paper's width, for a processor without a GPU"


KEYS = (
    Key("peers", lambda found: found.peers, _shares),
    Key(
        "graph",
        lambda found: "ring" if found.peers > 2 else "complete",
        lambda found: (
            "who talks to whom; a ring: two neighbours each"
            if found.peers > 2
            else "everybody talks to everybody"
        ),
    ),
    Key(
        "algorithm",
        lambda found: {"name": "diffusion", "rounds": rounds_of(found)},
        lambda found: (
            f"train, then average with neighbours; rounds by the {found.expected:,} "
            "pictures, raise them while samples still get better"
        ),
    ),
    Key("gan", lambda found: net_of(found).gan, _why_net),
    Key("loss", lambda found: "bce_ns", lambda found: "what DCGANs are trained with"),
    Key(
        "optimizer",
        lambda found: {"name": "adam", "lr": 0.001, "betas": [0.5, 0.999]},
        lambda found: "as DCGANs' but for lr, which is 0.0002 there, for far longer runs",
    ),
    Key(
        "ema",
        lambda found: round(1 - 10 / rounds_of(found), 3),
        lambda found: (
            "pictures are drawn by an average of the generator, over a tenth of the rounds"
        ),
    ),
    Key(
        "batch",
        batch_of,
        lambda found: f"pictures a step, no more than a share of {found.fewest}",
    ),
    Key(
        "augment",
        _augment,
        lambda found: (
            f"of {found.fewest} pictures D soon knows each by heart, unless it sees them changed; "
            "add flip where a mirror image is as good"
        ),
    ),
    Key("seed", lambda found: 0, lambda found: "everything random follows from it"),
    Key("data.source", lambda found: found.source, lambda found: "what lies at the path"),
    Key("data.path", lambda found: found.path, _path_says),
    Key(
        "data.size",
        _size,
        lambda found: f"the middle square, scaled: pictures' shorter sides are {found.side} pixels",
    ),
    Key(
        "data.channels",
        _channels,
        lambda found: "there is colour in them" if found.colour else "they are grey",
    ),
    Key("data.partition", lambda found: "own" if found.own else "iid", _why_partition),
    Key(
        "data.classes",
        _classes,
        lambda found: "all peers' classes, in one order, so that nobody waits to agree on them",
    ),
    Key("metrics.every", lambda found: 10, lambda found: "rounds between two lines of the log"),
    Key(
        "metrics.quality_every",
        _quality_every,
        lambda found: (
            "rounds between two scores: the distance to everybody's pictures, which should fall"
        ),
    ),
    Key(
        "metrics.judge",
        _judge,
        lambda found: "peers first train a judge together, which says what classes are drawn",
    ),
    Key(
        "metrics.pictures_every",
        lambda found: rounds_of(found) // 10,
        lambda found: "rounds between two pictures of what each peer draws",
    ),
)


def after(found: Survey) -> list[str]:
    """Lines behind the keys: what several machines need, and how to have classes drawn by name."""
    lines = []
    if found.elsewhere:
        lines += [
            "",
            "# where each peer is reached: your machines' names or numbers; a list may stand here",
            'addresses: "tcp://pi-{id}.local:{port}"',
            "# where each listens: at every address of its machine",
            'listen: "tcp://*:{port}"',
            "# in place of {}, below this line: what 'peer keys --id K' prints on each machine",
            "keys: {}",
        ]
    elif found.own:
        lines += ["# on several machines: where each peer is reached"]
        lines += ['# addresses: "tcp://pi-{id}.local:{port}"']
    if found.classes and (found.elsewhere or len(found.classes) > 1):
        names = "; data.classes must then name the classes of all machines"
        lines += [
            "# for pictures of a class by its name ('sim sample RUN --class NAME')"
            f"{names if found.elsewhere else ''}",
            "# conditional: true",
        ]
    return lines


def check_count(found: Survey, given: str) -> None:
    """Refuse a folder with too few pictures to learn from.

    Raises:
        UserError: a peer would hold fewer than `FEWEST`.
    """
    if found.fewest >= FEWEST:
        return
    if found.elsewhere:
        raise UserError(
            f"{given}: holds {found.fewest} pictures, and a peer needs {FEWEST} at least; add some"
        )
    if found.own:
        poor = found.counts.index(found.fewest)
        raise UserError(
            f"{given}: peer {poor} has {found.fewest} pictures, and a peer needs {FEWEST} at "
            "least; add some"
        )
    enough = found.total // FEWEST
    fewer = f"say --peers {enough}, or add some" if enough else "add some"
    raise UserError(
        f"{given}: holds {found.total} pictures, and {found.peers} peers need "
        f"{FEWEST * found.peers} at least, {FEWEST} each; {fewer}"
    )
