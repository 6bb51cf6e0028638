"""Make envs/sclamp.yaml from envs/requirements.txt, so that versions are pinned in one place.

python envs/make_conda.py            write it
python envs/make_conda.py --check    fail when it is out of date
"""

import sys
from pathlib import Path

ENVS = Path(__file__).parent


def conda_file() -> str:
    """Text of the conda environment: Python from conda, everything else by pip with the same pins."""
    lines = (ENVS / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("#")[0].strip() for line in lines]
    head = ["# Made by envs/make_conda.py from requirements.txt; edit that one.", "channels:", "  - conda-forge"]
    head += ["dependencies:", "  - python=3.12", "  - pip", "  - pip:"]
    return "\n".join(head + [f"      - {pin}" for pin in pins if pin]) + "\n"


if __name__ == "__main__":
    target = ENVS / "sclamp.yaml"
    if "--check" in sys.argv:
        if target.read_text(encoding="utf-8") != conda_file():
            sys.exit("envs/sclamp.yaml is out of date: run `python envs/make_conda.py`.")
    else:
        target.write_text(conda_file(), encoding="utf-8")
