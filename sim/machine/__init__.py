"""The machine that a simulation runs on: its processors and its memory."""
