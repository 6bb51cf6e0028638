"""Claim: `direct` with a gene prior of width 1536 trains at least 1.4 times the cells per second of the published code.

[900, 400], latent 50, 3000 genes, batches of 128 cells, float32, one CPU thread; the loops as they run in practice (see
steps.py). Both compute the whole gene side at every step, so larger batches of cells share its cost: their rates, and
that of bf16, are printed beside it.

python tests/performance/direct_step.py --reference PATH
"""

import sys

import measure
import numpy as np
import steps

GOAL, WIDTH = 1.4, 1536


def main() -> None:
    """Alternate epochs of both."""
    options = steps.arguments(__doc__)
    print(f"direct, one thread, {measure.hardware()}")
    inputs = steps.make_inputs(options.steps * steps.BATCH)
    prior = np.random.default_rng(0).normal(0, WIDTH**-0.5, (steps.N_GENES, WIDTH)).astype(np.float32)
    ours, published = steps.ours(inputs, prior), steps.reference(options.reference, inputs, prior)
    steps.check_same_size(ours, published)
    contenders = {
        "ours": ours.run,
        "ours, batches of 256": steps.ours(inputs, prior, batch_size=256).run,
        "ours, batches of 512": steps.ours(inputs, prior, batch_size=512).run,
        "ours in bf16": steps.ours(inputs, prior, precision="bf16").run,
        "ours, our default settings": steps.ours(inputs, prior, published=False).run,
        "reference": published.run,
        "reference without correlations": steps.without_correlations(published),
    }
    rates = measure.alternate(contenders, options.rounds)
    bare = measure.ratio(rates["ours"], rates["reference without correlations"])
    print(f"  against the reference without correlations: {bare:.2f}")
    for name in ("ours, batches of 256", "ours, batches of 512", "ours in bf16"):
        print(f"  {name} against ours: {measure.ratio(rates[name], rates['ours']):.2f}")
    print("  updating the gene side less often: not offered")
    sys.exit(not measure.verdict("direct_step", measure.ratio(rates["ours"], rates["reference"]), GOAL))


if __name__ == "__main__":
    main()
