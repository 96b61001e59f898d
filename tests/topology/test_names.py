import pytest

from topology import plain, suggestion


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("ring", "ring"),
        ("Watts_Strogatz", "watts-strogatz"),
        (" random  REGULAR ", "random-regular"),
    ],
)
def test_plain(typed, expected):
    assert plain(typed) == expected


def test_suggestion():
    known = ("ring", "star", "watts-strogatz")
    assert suggestion("rings", known) == "; did you mean 'ring'?"
    assert suggestion("WATTS_STROGATS", known) == "; did you mean 'watts-strogatz'?"
    assert suggestion("hypercube", known) == ""
    assert suggestion("ring", ()) == ""
    assert suggestion("local-step", ("local_steps", "n_d")) == "; did you mean 'local_steps'?"
    assert suggestion("nd", ("local_steps", "n_d")) == "; did you mean 'n_d'?"
