"""Run every speed claim and sum up: held, failed, or not run for want of its anchor.

python tests/performance/run_all.py [--reference PATH] [--folder PATH]

Exit status: 0 when all hold, 1 when one fails, 3 when none fails but some were not run.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import measure


def main() -> None:
    """One process per claim, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", help="checkout of the published sciLaMA code, for the training steps")
    parser.add_argument("--folder", help="where the data of random_rows and streaming_stats may stay (4.9 GB)")
    options = parser.parse_args()
    reference = ["--reference", options.reference] if options.reference else []
    folder = ["--folder", options.folder] if options.folder else []
    claims: dict[str, list[str]] = {"beta_vae_step": reference, "direct_step": reference, "random_rows": folder}
    claims["streaming_stats"] = folder
    claims |= {claim: [] for claim in ("scvi_step", "parse_time", "scib_panel", "leiden_scan", "panel_memory")}
    outcome: dict[str, list[str]] = {"held": [], "failed": [], "not run": []}
    for claim, arguments in claims.items():
        script = str(Path(__file__).with_name(f"{claim}.py"))
        status = subprocess.run([sys.executable, script, *arguments], check=False).returncode
        outcome[{0: "held", measure.NOT_RUN: "not run"}.get(status, "failed")].append(claim)
    print("; ".join(f"{what}: {', '.join(names)}" for what, names in outcome.items() if names))
    sys.exit(1 if outcome["failed"] else measure.NOT_RUN if outcome["not run"] else 0)


if __name__ == "__main__":
    main()
