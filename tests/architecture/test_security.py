"""SECURITY.md claims nothing that no test tries."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
UNTRIED = ("**Libraries**",)
"""What is said of others."""


def claims() -> list[str]:
    return re.findall(r"^- (.+?)(?=^- |^$)", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: re.sub(r"\W+", "-", claim[:30]))
def test_every_claim_names_its_tests(claim):
    named = re.findall(r"`(tests/\w+/\w+\.py)`", claim)
    assert named or claim.startswith(UNTRIED)


def test_the_tests_are_there():
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", TEXT))
    assert len(named) > 8
    for name in named:
        assert "def test_" in (ROOT / name).read_text(encoding="utf-8"), name
