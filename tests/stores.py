"""Stores with known content."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from interp.cli import app
from interp.embed.tfidf import TfidfEmbedder
from interp.store.neuronpedia import export_neuronpedia
from interp.store.parquet import export_parquet
from interp.store.rows import DescriptionRow, ExemplarRow, FeatureRow, ScoreRow, SpaceRow
from interp.store.search import Searcher
from interp.store.store import Store

WORDS = (
    "names of cities in France",
    "the digit nine in a date",
    "verbs in the past tense",
    "weather, rain and storms",
)


def rows_of(n: int = 4, **options: Any) -> list[FeatureRow]:
    return [
        FeatureRow(
            "mlp.3", i, 1 if i % 2 == 0 else -1, 0.01 * i, {"0.99": float(i), "0.9999": float(i) + 1},
            (
                DescriptionRow(
                    WORDS[i % len(WORDS)], "patterns", 0, "short", True, i % 2 == 0, "why", {"run": "r"},
                    (ScoreRow("simulation", "known", "report", i / 10, 0.0, 0.5, 0.01, -0.1, 0.1, 40, 1),
                     ScoreRow("detection", "judge", "report", None, n=3)),
                ),
                DescriptionRow("another one", "patterns", 1, chosen=False),
            ),
            (ExemplarRow("world(1)", "explain", 17, 3, 2.5, "top"),
             ExemplarRow("world(1)", "explain", 18, 0, 1.5, "quantile", 0.3)),
        )
        for i in range(n)
    ]  # fmt: skip


def filled(store: Store, n: int = 4) -> Store:
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, 320, True, {"mined": "x"}))
    store.put_space(SpaceRow("world", "sae.resid_post.4", "resid_post.4", 4, 1024, False))
    store.put("world", rows_of(n))
    store.put(
        "world", [FeatureRow("sae.resid_post.4", 7, 1, descriptions=(DescriptionRow("rain", "prompted"),))]
    )
    return store


def exported_store(folder: Path) -> Path:
    """The folder, with a store that was searched (store.sqlite) and its exports (parquet, neuronpedia)."""
    store = filled(Store(folder / "store.sqlite"))
    export_parquet(store, folder / "parquet")
    export_neuronpedia(store, "world", folder / "neuronpedia")
    Searcher(store, TfidfEmbedder.fit(list(WORDS)))
    store.close()
    return folder


def run(*arguments: object) -> tuple[int, str]:
    """Run `interp` with arguments; its exit code and what it says. A traceback fails."""
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def refused(*arguments: object) -> str:
    """Run what must be refused with one message, which is returned."""
    code, said = run(*arguments)
    assert code == 2, said
    assert said.count("error: ") == 1
    return said
