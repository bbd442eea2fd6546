"""The systems that the paper compares with, each under the name it has in `METHODS`.

Modules: `systems` (the table of names and of the paper's figures), `rcva`, `kmeans`, and for the supervised systems of
Kerner et al. 2019 `representations`, `contrast`, `inception`, `inception_weights`, `autoencoder`, `training` and
`supervised`. Only the table is imported here, so that reading the table costs nothing.
"""

from planetcd_jax.baselines.systems import METHODS, Method, method

__all__ = ["METHODS", "Method", "method"]
