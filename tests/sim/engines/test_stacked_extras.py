"""What makes GANs work on real images: stacked as one peer at a time, and rebuilt in between."""

from __future__ import annotations

from typing import Any

import pytest

from sim.engines.stacked import Stacked
from tests.sim.engines.test_stacked import SGD, assert_close, end
from tests.support.extras import EXTRAS


@pytest.mark.parametrize("name", EXTRAS)
def test_stacked_equals_one_peer_at_a_time(name: str) -> None:
    keys: dict[str, Any] = EXTRAS[name] | SGD
    engine = Stacked()
    assert_close(end(keys, engine), end(keys, None))
    # FeGAN's devices, of which few are chosen, train one after another
    assert any(tuner.stacked for tuner in engine.tuners.values()) == ("fegan" not in name)
