"""A page as a browser shows it: headless Chromium, where there is one."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def silent_cards(folder: Path, address: str) -> dict[str, str]:
    """A browser's view of the page: what is said of each peer that is grey, by its heading."""
    shown = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         f"--user-data-dir={folder / 'profile'}", "--timeout=3000", "--dump-dom", address],
        capture_output=True, text=True, timeout=60, check=False,
    ).stdout  # fmt: skip
    cards = re.findall(r'<button type="button" class="(card[^"]*)".*?</button>', shown, re.DOTALL)
    bodies = re.findall(r'<button type="button" class="card[^"]*".*?</button>', shown, re.DOTALL)
    assert cards
    found = {}
    for classes, body in zip(cards, bodies, strict=True):
        if "silent" in classes.split():
            name = re.search(r"<b>(.*?)</b>", body)
            said = re.findall(r"<span>([^<]*)</span>", body)
            assert name is not None
            found[name[1]] = html.unescape(said[-1])
    return found
