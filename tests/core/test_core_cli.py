"""Reading of command-line values."""

import os
import signal

import pytest

from sclamp.core import cli
from sclamp.core.cli import name_and_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name=there", ("name", "there")),
        ("vae.latent_dim=5=there", ("vae.latent_dim=5", "there")),
        ("text=vae.latent_dim=5/there", ("text", "vae.latent_dim=5/there")),
        ("vae.latent_dim=5=vae.latent_dim=5/there", ("vae.latent_dim=5", "vae.latent_dim=5/there")),
        ("text=missing=path", ("text", "missing=path")),
        ("name=", ("name", "")),
        ("nothing", ("", "")),
    ],
)
def test_names_and_paths_may_hold_the_sign_between_them(tmp_path, monkeypatch, text, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vae.latent_dim=5").mkdir()
    for path in ("there", "vae.latent_dim=5/there"):
        (tmp_path / path).touch()
    assert name_and_path(text) == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_ends_a_script_in_the_orderly_way(number, capfd):
    cleaned = []

    def main():
        try:
            os.kill(os.getpid(), number)
        finally:
            cleaned.append(True)

    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)  # in the background of a shell SIGINT is ignored
    with pytest.raises(SystemExit) as ended:
        cli.run(main)
    assert ended.value.code == 128 + number
    assert cleaned
    assert f"stopped by {number.name}" in capfd.readouterr().err
    assert signal.signal(number, before) == usual


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        cli.run(lambda: os.kill(os.getpid(), signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
