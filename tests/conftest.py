"""What all tests share: threads, strict determinism of Hypothesis, and where real data may be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Read by torch, numpy and scikit-learn when they load. The suite runs in a process a core: more
# threads than that spin while they wait for each other. What computes in threads says so itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

settings.register_profile("hearsay", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("hearsay")

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Notes on a user's files are no errors of the tests'.

    Said in pyproject.toml, that would import ``topology`` before coverage begins to look.
    """
    config.addinivalue_line("filterwarnings", "ignore::topology.errors.InputNote")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; the test is skipped, saying so, where there is none."""
    folder = Path(os.environ.get("HEARSAY_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder} (set HEARSAY_DATA)")
    return folder


def cache_of_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of a session share, in place of the user's cache folder."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cache"


@pytest.fixture(scope="session")
def judge_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of judges for all workers of the session: the digits' judge is trained once."""
    return cache_of_session(tmp_path_factory) / "hearsay"


@pytest.fixture(autouse=True, scope="session")
def _no_trace_in_the_users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_of_session(tmp_path_factory)))
        yield


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """A run flushes denormals in its thread; the next test's floats are not to notice."""
    yield
    torch.set_flush_denormal(False)
