"""Features easily mistaken for one: those that fire together with it, and those that write like it."""

import numpy as np
import torch

from interp.features.ref import FeatureRef
from interp.mining.exemplars import TokenSample


def neighbours(feature: FeatureRef, sample: TokenSample | None, n: int) -> list[FeatureRef]:
    """Up to `n` features of the same space, half of them by co-occurrence, half by decoder.

    Co-occurrence is the correlation of the activations over a sample of tokens (None: only the decoder is
    looked at), likeness of decoders their cosine. Of signed spaces the side is meant that goes with it.
    """
    chosen: list[FeatureRef] = []
    likenesses = [_decoder_cosine(feature)]
    if sample is not None:
        likenesses.insert(0, _correlation(feature, sample))
    for place, likeness in enumerate(likenesses):
        likeness[feature.feature_id] = 0.0
        signed = likeness * feature.polarity
        strength = signed.abs() if feature.space.signed else signed
        most = n * (place + 1) // len(likenesses)
        for other in strength.argsort(descending=True)[: 2 * n].tolist():
            side = 1 if signed[other] > 0 else -1
            ref = FeatureRef(feature.space, other, side)
            if len(chosen) < most and strength[other] > 0 and ref not in chosen:
                chosen.append(ref)
    return chosen


def _correlation(feature: FeatureRef, sample: TokenSample) -> torch.Tensor:
    values = sample.value.float()
    centred = values - values.mean(0)
    own = centred[:, feature.feature_id]
    norms = centred.norm(dim=0) * own.norm()
    return torch.where(norms > 0, own @ centred / norms.clamp(min=1e-12), 0.0)


def _decoder_cosine(feature: FeatureRef) -> torch.Tensor:
    everything = torch.from_numpy(np.arange(feature.space.n_features))
    vectors = torch.nn.functional.normalize(feature.space.decoder(everything).float(), dim=-1).cpu()
    return vectors @ vectors[feature.feature_id]
