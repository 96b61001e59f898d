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


def modules() -> dict[str, Path]:
    found = {}
    for package in LAYERS:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """(module, name) for everything imported at run time, so not for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
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
    # a package's __init__ gathers its own files, which may name the package's siblings
    graph.remove_nodes_from([n for n in list(graph) if MODULES[n].name == "__init__.py"])
    assert list(nx.simple_cycles(graph)) == []


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


@pytest.mark.parametrize("name", [n for n in MODULES if n.startswith("algorithms.")])
def test_an_algorithm_fits_on_two_screens(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 120


def test_only_the_sockets_import_zmq() -> None:
    users = {
        name
        for name, path in MODULES.items()
        if any(m.split(".")[0] == "zmq" for m, _ in imports(path))
    }
    # the network thread polls, keys are made and derived by libzmq's own functions
    assert users == {"peer.net.sockets", "peer.net.network", "peer.net.keys"}


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
    drivers = {"peer.net.driver", "peer.net.network", "peer.process", "peer.up", "sim.run"}
    drivers |= {"sim.ranks"}  # sim.run's twin for several processes
    drivers |= {"sim.stacked"}  # which times two ways of computing, and takes the faster
    drivers |= {"sim.mesh"}  # a timedelta: how long to wait
    drivers |= {"peer.stopwatch"}  # peer profile: a measurement
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
