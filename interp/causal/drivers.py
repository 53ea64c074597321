"""What kind of input drives a feature: its activation by concept label."""

import numpy as np
import torch
from jaxtyping import Float

from interp.compare.concepts import labels_at
from interp.document import Corpus
from interp.features.ref import FeatureRef
from interp.mining.mined import MinedSpaces
from interp.statistics.auroc import auroc_table

LEAST_TOKENS = 10


def drivers(
    corpus: Corpus, mined: MinedSpaces, feature: FeatureRef, most: int = 6
) -> list[tuple[str, Float[np.ndarray, " token"]]]:
    """Activations on sampled report tokens, by the labels that the feature tells best; all other tokens last.

    Labels are ranked by the AUROC of the feature's side on the select split; those that fewer than
    `LEAST_TOKENS` sampled tokens of either split carry are left out. Activations are signed as they are.
    """
    select, report = (mined[feature.space.name].samples[split] for split in ("select", "report"))
    tells, labels = labels_at(corpus, select), labels_at(corpus, report)
    side = select.value[:, [feature.feature_id]].float() * feature.polarity
    auroc = auroc_table(side, tells)[0]
    enough = (tells.sum(0) >= LEAST_TOKENS) & (labels.sum(0) >= LEAST_TOKENS)
    ranked = auroc.masked_fill(~enough, -1).nan_to_num(-1).argsort(descending=True)[:most].tolist()
    values = report.value[:, feature.feature_id].double().numpy()
    shown = [number for number in ranked if bool(enough[number])]
    groups = [(corpus.label_names[number], values[labels[:, number].numpy()]) for number in shown]
    none = ~labels[:, shown].any(1) if shown else torch.ones(len(values), dtype=torch.bool)
    return [*groups, ("all other tokens", values[none.numpy()])]
