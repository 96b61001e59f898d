"""The arrows of the house, read off the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ["topology", "peer", "algorithms", "sim"]  # each may import what stands before it
COMPOSERS = {"peer.__main__", "sim.__main__"}
FILES = 14
"""In one folder, at most."""

LINES = 400
"""Of one file, at most."""


def modules() -> dict[str, Path]:
    found = {}
    for package in LAYERS:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()
PURE = ["peer.net.wire", "peer.net.link", "peer.net.endpoint", "peer.data.agreement"]
PURE += ["peer.standby.wire", "peer.standby.election.election"]


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """(module, name) for everything imported, for type checkers alone, too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            assert node.module is not None
            yield from ((node.module, alias.name) for alias in node.names)


def own_imports(name: str) -> set[str]:
    found = set()
    for module, attribute in imports(MODULES[name]):
        inner = f"{module}.{attribute}"
        found.add(inner if inner in MODULES else module)
    return {module for module in found if module in MODULES}


def folders() -> list[str]:
    """Every folder with files in it, by its dotted name; "" is the repository."""
    inner = {name.rpartition(".")[0] for name in MODULES}
    return sorted(inner | {name for name, path in MODULES.items() if path.name == "__init__.py"})


def gathers(name: str) -> bool:
    """Whether a file stands above its folder: what a package offers, or a command."""
    return MODULES[name].name in ("__init__.py", "__main__.py")


@pytest.mark.parametrize("name", MODULES)
def test_arrows_run_one_way(name: str) -> None:
    own = name.split(".")[0]
    allowed = LAYERS[: LAYERS.index(own) + 1]
    if name in COMPOSERS:
        allowed = LAYERS
    for imported in own_imports(name):
        assert imported.split(".")[0] in allowed, f"{name} imports {imported}"
        assert imported not in COMPOSERS, f"{name} imports the command {imported}"


def test_no_circle_between_files() -> None:
    graph = nx.DiGraph([(name, other) for name in MODULES for other in own_imports(name)])
    graph.remove_nodes_from([name for name in list(graph) if name in MODULES and gathers(name)])
    assert list(nx.simple_cycles(graph)) == []


@pytest.mark.parametrize("folder", folders())
def test_arrows_inside_a_folder_run_one_way(folder: str) -> None:
    """What lies side by side, files and sub-packages, has an order: nothing runs back up."""
    prefix = f"{folder}." if folder else ""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for name in MODULES:
        if not name.startswith(prefix) or name in COMPOSERS or name == folder:
            continue
        for other in own_imports(name):
            if other.startswith(prefix):
                here, there = (each.removeprefix(prefix).split(".")[0] for each in (name, other))
                if here != there:
                    graph.add_edge(here, there)
    assert list(nx.simple_cycles(graph)) == []


@pytest.mark.parametrize("folder", folders())
def test_a_folder_can_be_looked_over(folder: str) -> None:
    files = list((ROOT / folder.replace(".", "/")).glob("*.py"))
    assert len(files) <= FILES, f"{folder} holds {len(files)} files"


@pytest.mark.parametrize("name", MODULES)
def test_a_file_can_be_read_in_one_sitting(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= LINES


@pytest.mark.parametrize("name", [n for n in MODULES if n.startswith("algorithms.")])
def test_an_algorithm_touches_nothing_but_its_peer(name: str) -> None:
    forbidden = {"zmq", "time", "random", "asyncio", "threading", "os", "io", "pathlib", "socket"}
    for module, _ in imports(MODULES[name]):
        assert module.split(".")[0] not in forbidden | {"sim"}, f"{name} imports {module}"
        assert not module.startswith("peer.net"), f"{name} imports {module}"
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}


@pytest.mark.parametrize("name", [n for n in MODULES if n.startswith("algorithms")])
def test_an_algorithm_sees_the_facade_and_not_the_state_behind_it(name: str) -> None:
    """A driver may carry out effects at any time: a state changed around an await is a race."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    reached = [
        n.lineno for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "state"
    ]
    assert not reached, f"{name} reaches through Peer.state in lines {reached}"


@pytest.mark.parametrize("name", [n for n in MODULES if n.startswith("algorithms.")])
def test_an_algorithm_fits_on_two_screens(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 120


def test_only_the_sockets_import_zmq() -> None:
    users = {
        name
        for name, path in MODULES.items()
        if any(m.split(".")[0] == "zmq" for m, _ in imports(path))
    }
    # the I/O threads poll, keys are made and derived by libzmq's own functions
    threads = {"peer.net.io_thread", "peer.standby.election_thread"}
    # a socket of theirs is bound to an address of this machine
    threads |= {"peer.machine.listening"}
    assert users == {"peer.net.sockets", "peer.net.keys"} | threads


@pytest.mark.parametrize("name", PURE)
def test_the_protocol_is_pure(name: str) -> None:
    """Bytes and the time go in, bytes and events come out: no thread, socket, clock or file."""
    forbidden = {
        "zmq",
        "socket",
        "threading",
        "queue",
        "select",
        "time",
        "asyncio",
        "os",
        "pathlib",
    }
    reached = {name}
    while (
        waiting := {
            m
            for n in reached
            for m in own_imports(n)
            if m.startswith(("peer.net", "peer.standby.election"))
        }
        - reached
    ):
        reached |= waiting
    for reached_name in reached:
        assert not {m.split(".")[0] for m, _ in imports(MODULES[reached_name])} & forbidden


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_unpickled(name: str) -> None:
    text = MODULES[name].read_text(encoding="utf-8")
    assert not {m.split(".")[0] for m, _ in imports(MODULES[name])} & {
        "pickle",
        "dill",
        "cloudpickle",
    }
    assert "torch.load(" not in text
    assert "allow_pickle=True" not in text


@pytest.mark.parametrize("name", MODULES)
def test_no_clock_outside_drivers_and_commands(name: str) -> None:
    clocks = {m for m, _ in imports(MODULES[name])} & {"time", "datetime"}
    drivers = {
        "sim.api",  # how long a simulation took
        "peer.net.zmq_driver",
        "peer.net.io_thread",
        "peer.runtime.process",
        "peer.runtime.launcher",
        "sim.runs.simulate",
        "sim.torture.command",  # how much was simulated in how much of a processor's time
    }
    drivers |= {"sim.runs.simulate_sharded"}  # sim.run's twin for several processes
    drivers |= {"sim.engines.stacked"}  # which times two ways of computing, and takes the faster
    drivers |= {"sim.sharding.collectives"}  # a timedelta: how long to wait
    # names and answers that are waited for, by threads of their own
    drivers |= {"peer.net.reach.resolver", "peer.net.reach.probe"}
    drivers |= {"peer.profiler"}  # peer profile: a measurement
    drivers |= {"peer.runtime.signals"}  # whether a second signal is another one
    drivers |= {"peer.runtime.output"}  # the time of day before a line
    drivers |= {"peer.runtime.progress"}  # rounds a second
    drivers |= {"peer.standby.election_thread", "peer.standby.host", "peer.standby.voter"}
    drivers |= {"peer.standby.command"}  # progress of a host
    drivers |= {"peer.machine.likeness", "peer.doctor.neighbour"}  # whether clocks agree
    drivers |= {"peer.invite.reception", "peer.invite.join", "peer.net.reach.asking"}  # codes end
    assert not clocks or name in drivers


@pytest.mark.parametrize("name", MODULES)
def test_no_global_random_state(name: str) -> None:
    """Draws come from streams; torch's generator is set in one place, inside a fork."""
    assert "random" not in {m for m, _ in imports(MODULES[name])}
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert not called.startswith("np.random.seed")
            assert called not in {"torch.randn", "torch.rand", "torch.randint", "torch.randperm"}
            assert called != "torch.manual_seed" or name == "peer.streams"
