"""What every part of the experiment file that a user writes has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings under one key: immutable, and a key that they do not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
