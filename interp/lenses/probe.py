"""A logistic probe of every layer: what a linear classifier reads off activations."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.lenses.residual_stream import Vectors

LEAST_TRAINED = 2  # classes of a probe


def probe_accuracy(
    vectors: Vectors, labels: Sequence[str], train: Sequence[int], test: Sequence[int], seed: int = 0
) -> pd.DataFrame:
    """Fits a logistic probe at every layer: layer, right (accuracy on `test`), n, and seen.

    A probe cannot name a label that none of its training samples has, so such test samples count as wrong;
    `seen` counts the others. The frame is empty where the training samples have fewer than two labels.
    """
    wanted = np.array(labels)
    if len(set(wanted[list(train)])) < LEAST_TRAINED:
        return pd.DataFrame(columns=["layer", "right", "n", "seen"])
    seen = int(np.isin(wanted[list(test)], wanted[list(train)]).sum())
    rows = []
    for layer, own in vectors.items():
        activations = own.double().numpy()
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, random_state=seed))
        with warnings.catch_warnings():
            # scikit-learn warns that many classes with few samples look like regression
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            probe.fit(activations[list(train)], wanted[list(train)])
        right = int((probe.predict(activations[list(test)]) == wanted[list(test)]).sum())
        rows.append((layer, right, len(test), seen))
    return pd.DataFrame(rows, columns=["layer", "right", "n", "seen"])
