"""Loading bundled models."""

from sleepkit.errors import CheckpointError
from sleepkit.model import HybridLM
from sleepkit.training import TrainSettings
from sleepkit.zoo.card import Card
from sleepkit.zoo.folder import folder_of, weights_digest
from sleepkit.zoo.record import read_facts, whole_card


def load(name: str) -> tuple[HybridLM, Card]:
    """Load a bundled model and its card.

    Args:
        name: one of ``names()``, or the path of a folder written by ``publish``.

    Raises:
        InvalidInputError: for an unknown name.
        CheckpointError: if the folder is damaged.
    """
    folder = folder_of(name)
    model = HybridLM.load(folder)
    card = load_card(name)
    digest = weights_digest(folder)
    if card.provenance.get("weights_digest") != digest:
        raise CheckpointError(f"model: weights must have the digest on the card, got {digest!r} for {name!r}")
    return model.eval(), card


def load_card(name: str) -> Card:
    """Load only the card: no weights are read.

    Raises:
        InvalidInputError: for an unknown name.
        CheckpointError: if the card is damaged.
    """
    folder = folder_of(name)
    with whole_card(folder) as card:
        known, settings = read_facts(folder.name, card), TrainSettings.from_dict(card["settings"])
        return Card(
            name=known.name,
            summary=known.summary,
            accuracy=known.accuracy,
            provenance=known.provenance,
            task=settings.task.create(),
            sleep=settings.sleep,
            settings=settings,
        )
