"""Claim: `beta_vae` trains at least 3 times the cells per second of the published sciLaMA code.

[900, 400], latent 50, 3000 genes, batches of 128 cells, float32, one CPU thread; the loops as they run in practice (see
steps.py). The ratio against the reference without its per-step correlations is printed beside it.

python tests/performance/beta_vae_step.py --reference PATH
"""

import sys

import measure
import steps

GOAL = 3.0


def main() -> None:
    """Alternate epochs of both."""
    options = steps.arguments(__doc__)
    print(f"beta_vae, one thread, {measure.hardware()}")
    inputs = steps.make_inputs(options.steps * steps.BATCH)
    ours, published = steps.ours(inputs), steps.reference(options.reference, inputs)
    steps.check_same_size(ours, published)
    contenders = {
        "ours": ours.run,
        "ours in bf16": steps.ours(inputs, precision="bf16").run,
        "ours, our default settings": steps.ours(inputs, published=False).run,
        "reference": published.run,
        "reference without correlations": steps.without_correlations(published),
    }
    rates = measure.alternate(contenders, options.rounds)
    bare = measure.ratio(rates["ours"], rates["reference without correlations"])
    print(f"  against the reference without correlations: {bare:.2f}")
    print(f"  bf16 against float32, ours: {measure.ratio(rates['ours in bf16'], rates['ours']):.2f}")
    sys.exit(not measure.verdict("beta_vae_step", measure.ratio(rates["ours"], rates["reference"]), GOAL))


if __name__ == "__main__":
    main()
