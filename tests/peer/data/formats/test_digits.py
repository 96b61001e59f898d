"""scikit-learn's digits without scikit-learn: the same bits, or a line that says what is wrong."""

from __future__ import annotations

import gzip
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from peer.data.formats import digits
from topology.errors import UserError


def test_they_are_what_scikit_learn_reads() -> None:
    expected = load_digits()
    images, labels = digits.read_digits()
    assert images.dtype == expected.images.dtype
    assert np.array_equal(images, expected.images)
    assert labels.dtype == expected.target.dtype
    assert np.array_equal(labels, expected.target)


@pytest.mark.parametrize("content", [None, b"", b"not gzip", gzip.compress(b"1,two,3\n", mtime=0)])
def test_a_damaged_package_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    spec = ModuleSpec("sklearn", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(digits, "find_spec", lambda name: spec)
    file = tmp_path / digits.FILE
    if content is not None:
        file.parent.mkdir(parents=True)
        file.write_bytes(content)

    with pytest.raises(UserError, match=r"install scikit-learn again") as caught:
        digits.read_digits()
    assert str(file) in str(caught.value)


def test_no_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"install scikit-learn again"):
        digits.read_digits()
