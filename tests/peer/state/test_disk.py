"""What is written elsewhere in the house goes through the disk in the same order."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch

from peer.net.keys import make_keys, read_secret
from peer.quality import classifier
from peer.state.disk import RealDisk, make_folders, replacing


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done on the real disk: ``sync NAME`` of a file, ``folder NAME``, ``rename NAME``."""
    done: list[str] = []
    sync, sync_folder, rename = RealDisk.sync, RealDisk.sync_folder, RealDisk.rename

    def noted_sync(disk: RealDisk, file: IO[bytes]) -> None:
        sync(disk, file)
        name = Path(os.readlink(f"/proc/self/fd/{file.fileno()}"))
        done.append(f"sync {name.name.lstrip('.').split('.')[0]}")
        assert name.stat().st_size

    def noted_folder(disk: RealDisk, folder: Path) -> None:
        sync_folder(disk, folder)
        done.append(f"folder {folder.name}")

    def noted_rename(disk: RealDisk, path: Path, to: Path) -> None:
        rename(disk, path, to)
        done.append(f"rename {to.name}")

    monkeypatch.setattr(RealDisk, "sync", noted_sync)
    monkeypatch.setattr(RealDisk, "sync_folder", noted_folder)
    monkeypatch.setattr(RealDisk, "rename", noted_rename)
    return done


def test_a_file_is_synced_then_renamed_then_its_folder_synced(
    tmp_path: Path, done: list[str]
) -> None:
    path = tmp_path / "new" / "newer" / "file"
    with replacing(path) as file:
        file.write(b"x")
    assert done == [
        f"folder {tmp_path.name}",
        "folder new",
        "sync file",
        "rename file",
        "folder newer",
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    done.clear()
    make_folders(path.parent)
    with replacing(path, durable=False) as file:
        file.write(b"y")
    assert done == ["rename file"]
    assert path.read_bytes() == b"y"


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_secret_key_is_on_the_disk_before_its_public_key_is_told(
    tmp_path: Path, done: list[str]
) -> None:
    make_keys(3, tmp_path / "keys")
    assert done == [f"folder {tmp_path.name}", "sync peer-3", "folder keys"]
    assert len(read_secret(3, tmp_path / "keys")) == 40


def test_a_judge_is_kept_whole_or_not_at_all(tmp_path: Path, done: list[str]) -> None:
    judge = classifier.Judge(classifier._architecture((1, 8, 8), 2), 2)
    judge.accuracy, judge.reference = 0.75, (np.zeros(3), np.eye(3))
    path = tmp_path / "judge.safetensors"
    classifier._save(judge, path)
    assert done == ["sync judge", "rename judge.safetensors", f"folder {tmp_path.name}"]
    found = classifier._load(path, (1, 8, 8), 2)
    assert found is not None
    assert found.accuracy == 0.75
    for name, value in judge._net.state_dict().items():
        assert torch.equal(found._net.state_dict()[name], value)
