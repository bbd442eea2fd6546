"""Settings of the supervised systems' training, and their presets."""

import dataclasses
from typing import NamedTuple

from planetcd_jax.baselines.inception import BLOCKS, LAST_STAGE
from planetcd_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of one training.

    The article of Kerner et al. 2019 could not be read here, so all of these are assumed, except the learning rate of
    the autoencoder (0.001, from its first author's code).

    Attributes:
        learning_rate: Of Adam.
        batch_size: Pairs in a step (fewer if there are fewer).
        max_epochs: Passes over the training pairs at most.
        patience: Epochs without a better validation loss after which training stops.
        width: Multiplier of Inception-v3's feature counts; pretrained weights need 1.
        last_stage: Stage at which Inception-v3 ends, "mixed0" to "mixed10" (the whole).
        dropout: Share of the pooled features that is dropped in training.
        augment: Whether pairs are flipped and turned by multiples of 90 degrees in training, both dates alike.
        contrast: Whether patches are brought to local contrast first.
        max_pairs: None for all training pairs, or how many of them are drawn; a quarter as many are drawn for
            validation.
        image_size: None for the size of the training patches, or rows = columns to which patches are resampled.
        autoencoder_epochs: Passes of the autoencoder at most.
        autoencoder_rate: Learning rate of the autoencoder.
        checkpoint_steps: Steps between checkpoints; one is written at the end of each epoch anyhow.
        seed: Decides initial weights, order, augmentation and dropout.
    """

    learning_rate: float = 1e-4
    batch_size: int = 32
    max_epochs: int = 60
    patience: int = 10
    width: float = 1.0
    last_stage: str = LAST_STAGE
    dropout: float = 0.2
    augment: bool = True
    contrast: bool = False
    max_pairs: int | None = None
    image_size: int | None = None
    autoencoder_epochs: int = 30
    autoencoder_rate: float = 1e-3
    checkpoint_steps: int = 500
    seed: int = 0

    def __post_init__(self):
        for name in ("learning_rate", "autoencoder_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give a rate above 0.")
        for name in ("batch_size", "max_epochs", "patience", "autoencoder_epochs", "checkpoint_steps"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give a whole number, 1 or more.")
        if self.max_pairs is not None and (not isinstance(self.max_pairs, int) or self.max_pairs < 4):
            raise ConfigError(f"max_pairs is {self.max_pairs!r}; give None or a whole number, 4 or more.")
        if not 0 < self.width <= 1:
            raise ConfigError(f"width is {self.width!r}; give a multiplier in (0, 1].")
        if self.last_stage not in BLOCKS:
            raise ConfigError(f"last_stage is {self.last_stage!r}; choose one of {', '.join(BLOCKS)}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout!r}; give a share in [0, 1).")

    def classifier_schedule(self) -> "Schedule":
        """Schedule of Inception-v3."""
        return Schedule(
            self.learning_rate, self.batch_size, self.max_epochs, self.patience, self.checkpoint_steps, self.seed
        )

    def autoencoder_schedule(self) -> "Schedule":
        """Schedule of the autoencoder."""
        return self.classifier_schedule()._replace(
            learning_rate=self.autoencoder_rate, max_epochs=self.autoencoder_epochs
        )


class Schedule(NamedTuple):
    """What one training takes of a `TrainConfig`, by the same names."""

    learning_rate: float
    batch_size: int
    max_epochs: int
    patience: int
    checkpoint_steps: int
    seed: int


FULL = TrainConfig()
"""The published network, for a GPU or a long evening."""

SMALL = TrainConfig(
    learning_rate=1e-3,
    batch_size=16,
    max_epochs=12,
    patience=12,
    width=0.25,
    max_pairs=480,
    image_size=75,
    autoencoder_epochs=3,
)
"""A quarter of the features at 75x75 px and at most 480 pairs, for two CPU cores in minutes. Tables say so.

Batch and patience are what a set of 150 pairs needs: batches of 32 and a patience of 4 stopped it after 25 steps,
before the running statistics of batch normalisation had settled.
"""

PRESETS = {"full": FULL, "small": SMALL}
