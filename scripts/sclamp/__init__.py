"""The library that the scripts share: data, gene priors, models, training, evaluation, figures."""
