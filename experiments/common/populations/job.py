"""Steps that experiments share: mine spaces, describe features from patterns, score the descriptions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from interp.corpus.activations import KeptActivations
from interp.descriptions.description import Description
from interp.descriptions.population import describe_features, score_descriptions
from interp.descriptions.reader import WindowPasses
from interp.descriptions.record import description_of, feature_of, write_record
from interp.descriptions.scorers.simulation import SimulationScore
from interp.descriptions.windows import gather_evidence, gather_report
from interp.document import SPLITS, Corpus
from interp.engine.engine import Engine
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.mining.config import MiningConfig
from interp.mining.mined import MinedSpaces, mine
from interp.mining.store import load_mined, save_mined
from interp.subject import Subject
from interp.track.files import write_json
from interp.track.records import read_written
from interp.track.step import Step


def mine_spaces(
    step: Step,
    subject: Subject,
    spaces: Sequence[ReadableFeatures],
    corpus: Corpus,
    config: MiningConfig,
    prefix: str,
    engine: Engine,
    kept: KeptActivations | None = None,
) -> None:
    """Mines exemplars and token samples of every space in one pass; metrics are named PREFIX/...

    Activations that `kept` has are read from there, and the others at its sites are kept.
    """
    mined = mine(
        subject, spaces, corpus, config,
        progress=step.progress, kept=kept, engine=engine, folder=step.scratch / "shards",
    )  # fmt: skip
    save_mined(mined, step.folder / "exemplars")
    for split in SPLITS:
        step.metric(f"{prefix}/{split}_tokens", mined.tokens(split))
        step.metric(f"{prefix}/{split}_documents", mined.documents[split])


def mined_by_space(folder: Path) -> MinedSpaces:
    """Loads what `mine_spaces` wrote to the step's `folder`, by the name of the space."""
    return load_mined(folder / "exemplars")


def describe_chosen(
    step: Step,
    subject: Subject,
    corpus: Corpus,
    features: Sequence[FeatureRef],
    mined: MinedSpaces,
    context_size: int,
) -> None:
    """Describes the features from the explain split, and writes descriptions and windows in that order."""
    explain = {name: found.exemplars["explain"] for name, found in mined.items()}
    gathered = gather_evidence(subject, corpus, features, explain, context_size, step.progress)
    spent = WindowPasses()
    described = describe_features(
        subject, features, [evidence for evidence, _ in gathered], progress=step.progress, spent=spent
    )
    step.metric("describe/window_passes", spent.passes / len(features))
    write_json(
        step.folder / "described.json",
        [
            write_record(feature, one, evidence, windows)
            for feature, one, (evidence, windows) in zip(features, described, gathered, strict=True)
        ],
    )


def described_in(
    folder: Path, spaces: Mapping[str, ReadableFeatures]
) -> tuple[list[FeatureRef], list[Description]]:
    """Loads what `describe_chosen` wrote to the step's `folder`."""
    records = read_written(folder / "described.json", "list")
    return [feature_of(saved, spaces) for saved in records], [description_of(saved) for saved in records]


def score_described(
    step: Step,
    subject: Subject,
    corpus: Corpus,
    features: Sequence[FeatureRef],
    descriptions: Sequence[Description],
    mined: MinedSpaces,
    *,
    random_windows: int,
    nulls: int,
    context_size: int,
    seed: int,
) -> list[SimulationScore]:
    """Scores the descriptions on report windows: each feature's strongest, and random ones that all share."""
    report = {name: found.exemplars["report"] for name, found in mined.items()}
    top, random = gather_report(
        subject, corpus, features, report, random_windows, context_size, step.progress
    )
    return score_descriptions(descriptions, top, random, nulls, seed, step.progress)
