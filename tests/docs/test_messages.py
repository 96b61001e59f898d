"""The page *When it does not work* quotes messages that the program has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from messages import Message, messages

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "when-it-does-not-work.md"
TERM = re.compile(r"^\*\*(.+)\*\*\n: ", re.MULTILINE)
SAID = messages()


def quoted() -> list[str]:
    return TERM.findall(PAGE.read_text(encoding="utf-8"))


def test_the_page_quotes_messages() -> None:
    assert len(quoted()) >= 7


@pytest.mark.parametrize("words", quoted())
def test_what_is_quoted_is_said(words: str) -> None:
    assert any(each.text.strip().startswith(words) for each in SAID), words


def test_messages_are_read_off_the_code() -> None:
    texts = [each.text for each in SAID]
    refusals = [each for each in SAID if each.is_refusal]
    assert len(refusals) > 200
    assert any(text.startswith("addresses: ‹listen› is in use; stop the program") for text in texts)
    assert any(each.module == "peer.net.endpoint" and not each.is_refusal for each in SAID)


REFUSALS = [each for each in SAID if each.is_refusal]


@pytest.mark.parametrize("message", REFUSALS, ids=lambda each: f"{each.module}:{each.line}")
def test_a_refusal_is_one_line_without_a_full_stop(message: Message) -> None:
    assert "\n" not in message.text.strip()
    assert message.text.strip()[-1] not in ".!"
