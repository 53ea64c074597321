import numpy as np
import torch

import interp
from interp.descriptions.windows import Place, gather_report, read_windows
from interp.document import split_of
from interp.features.directions import random_directions
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.mining.config import MiningConfig
from interp.mining.mined import mine
from interp.subject import Site
from tests.subjects import world_subject


def test_windows_hold_each_features_own_activations_in_the_order_asked() -> None:
    subject, corpus = world_subject(), interp.WorldCorpus(seed=3, n_documents=40)
    spaces = [
        MlpNeurons(subject, 1),
        MlpNeurons(subject, 6),
        random_directions(subject, Site("resid_post", 4), 5, 0),
    ]
    places = [
        Place(FeatureRef(spaces[n % 3], n % 5, 1 if n % 2 else -1), document=n % 7, start=0)
        for n in range(30)
    ]
    windows = read_windows(subject, corpus, places, context_size=64, tokens_per_batch=256)
    for place, window in zip(places, windows, strict=True):
        document, space = corpus[place.document], place.feature.space
        tokens = document.tokens[:63]
        np.testing.assert_array_equal(window.tokens, tokens)
        assert document.template is not None
        np.testing.assert_array_equal(window.counts, ~document.template[:63])
        row = torch.tensor([[subject.bos_id, *tokens.tolist()]])
        true = space.encode(subject.read(row, [space.site])[space.site])[0, 1:, place.feature.feature_id]
        np.testing.assert_allclose(window.values, place.feature.polarity * true.numpy(), atol=2e-5)


def test_report_windows_are_of_the_report_split_and_random_ones_are_shared() -> None:
    subject, corpus = world_subject(), interp.WorldCorpus(seed=4, n_documents=150)
    space = MlpNeurons(subject, 3)
    mined = mine(subject, [space], corpus, MiningConfig(context_size=64, sampled_rows=20))
    features = [FeatureRef(space, 2, 1), FeatureRef(space, 9, -1)]
    report = {space.name: mined[space.name].exemplars["report"]}
    top, random = gather_report(subject, corpus, features, report, n_random=6, context_size=64)
    assert [w.document for w in random[0]] == [w.document for w in random[1]]
    for windows in (*top, *random):
        assert windows
        for window in windows:
            assert split_of(corpus[window.document].hash) == "report"
    for windows in top:
        peaks = [float(w.values[w.counts].max()) for w in windows]
        assert (np.diff(peaks) < 1e-4).all() and peaks[-1] > 0
