"""What a training is told to have come to."""

from __future__ import annotations

from rasa_ft_ext.conversation import Record


class TrainSummary(Record):
    """What came out of a training, as the command line shows it.

    Accuracies are shares of examples whose answer has just the expected commands; None where there was nothing to
    measure on. `tokens` are those of an epoch, `computed_tokens` those that were left after prefix sharing.
    """

    base_model: str
    method: str
    examples: int
    validation_examples: int
    tokens: int
    computed_tokens: int
    steps: int
    best_step: int | None
    train_accuracy: str
    validation_accuracy: str
    merged_model: str
    verdict: tuple[str, ...] = ()
    what_to_try: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
