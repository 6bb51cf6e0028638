"""How often a training is saved, where the environment asks for it."""

import pytest

from sclamp.core.errors import UserError
from sclamp.train.resume import SECONDS, Resume


def test_the_environment_can_ask_for_more_frequent_saves(tmp_path, monkeypatch):
    monkeypatch.delenv(SECONDS, raising=False)
    assert not Resume(tmp_path / "resume.pt", {}).due(30.0)
    monkeypatch.setenv(SECONDS, "1e-9")
    assert Resume(tmp_path / "resume.pt", {}).due(30.0)
    monkeypatch.setenv(SECONDS, "1000")  # never less frequent than by itself
    assert Resume(tmp_path / "resume.pt", {}).due(0.0)


@pytest.mark.parametrize("text", ["often", "0", "-3", "nan", ""])
def test_a_number_of_seconds_is_expected(tmp_path, monkeypatch, text):
    monkeypatch.setenv(SECONDS, text)
    with pytest.raises(UserError, match=f"{SECONDS}: a number of seconds above 0 is expected, found '{text}'"):
        Resume(tmp_path / "resume.pt", {})
