"""What is made from the settings is up to date, and agrees with them."""

import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_schema_and_reference_page_are_up_to_date():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/make_schema.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_conda_environment_has_the_pins_of_requirements():
    done = subprocess.run(
        [sys.executable, ROOT / "envs/make_conda.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_shipped_config_passes_the_editors_schema_and_a_typo_does_not():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(config)
    config["models"]["pca"]["latent_dimm"] = 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(config)
