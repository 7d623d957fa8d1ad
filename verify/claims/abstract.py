"""The abstract of the paper, sentence by sentence, and the claims that each is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """A sentence of the paper's abstract, in our words, and the claims that it is made of.

    compared: two claims about the largest eigenvalue, without and with what the sentence is about.
    """

    text: str
    claims: tuple[str, ...]
    compared: tuple[str, str] | None = None


SENTENCES = (
    Sentence(
        "The Fisher information of a wide random network has eigenvalues that grow with its width",
        ("plain.lambda_max", "plain.alignment", "growth.plain"),
    ),
    Sentence(
        "Batch normalization in the last layer drastically decreases this sharpness if T and M are in proportion",
        (
            "last_batch.lambda_max",
            "growth.last_mean_lower",
            "growth.last_mean_upper",
            "growth.last_batch_lower",
            "growth.last_batch_upper",
        ),
        ("growth.plain", "growth.last_mean_lower"),
    ),
    Sentence(
        "Batch normalization in the hidden layers does not, unless E phi = 0",
        ("hidden_batch.lambda_1", "growth.hidden_batch", "growth.hidden_batch_centered"),
    ),
    Sentence(
        "Layer normalization does not",
        ("hidden_layer.lambda_max", "growth.hidden_layer", "last_layer.lambda_max"),
    ),
    Sentence(
        "So gradient descent is stable up to the learning rate 2 / lambda_max, which normalization may enlarge",
        (
            *("plain.stable_rate", "last_batch.stable_rate", "hidden_batch.stable_rate"),
            *("plain.lambda_max", "last_batch.lambda_max", "hidden_batch.lambda_max"),
        ),
    ),
)
