"""Reading of command-line values."""

import pytest

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
