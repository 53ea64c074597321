"""`interp search | store`: look into stores of descriptions, export and import them."""

import os
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

from interp.cli.explained import explained
from interp.cli.terminal import say, show_table, table
from interp.errors import UserError, quoted, similar_names

app = typer.Typer(help="What a store holds; export and import.", no_args_is_help=True)
Where = Annotated[
    str, typer.Argument(metavar="STORE", help="A SQLite file, a PostgreSQL URL, or a run's folder.")
]
MOST_LETTERS = 500
"""Most characters of a description or a name on a terminal."""
FORMATS = ("parquet", "neuronpedia")


def search(
    store: Annotated[
        str, typer.Argument(metavar="STORE", help="A SQLite file, a PostgreSQL URL, or a run's folder.")
    ],
    query: Annotated[str, typer.Argument(help="What the descriptions should be about.")],
    k: Annotated[int, typer.Option("-k", "--k", help="How many.")] = 10,
    space: Annotated[
        list[str] | None, typer.Option(help="Only features of this space; may be repeated.")
    ] = None,
    keyword: Annotated[str, typer.Option(help="Only descriptions that contain these words.")] = "",
    min_score: Annotated[
        float | None, typer.Option(help="Only descriptions with this simulation score.")
    ] = None,
    polarity: Annotated[int, typer.Option(help="Only this side of features: 1 or -1; 0 for both.")] = 0,
    embedder: Annotated[
        str, typer.Option(help="tfidf, or the folder of a sentence-transformers model.")
    ] = "tfidf",
    index: Annotated[str, typer.Option(help="auto, exact, annoy, or hnsw in PostgreSQL.")] = "auto",
    recall: Annotated[float, typer.Option(help="What an approximate index is tuned to reach.")] = 0.95,
) -> None:
    """Find features by what their descriptions mean."""
    from interp.embed.sentence import SentenceEmbedder
    from interp.fields import Count, Finite, PositiveFraction, taken
    from interp.store import filters
    from interp.store.search import IndexKind
    from interp.store.search import search as find

    with explained():
        taken(Count, k, "-k")
        taken(PositiveFraction, recall, "--recall")
        taken(Finite | None, min_score, "--min-score")
        taken(Literal[-1, 0, 1], polarity, "--polarity")
        kinds = get_args(IndexKind)
        if index not in kinds:
            raise UserError(f"there is no index {quoted(index)}", "--index", f"use {', '.join(kinds)}")
        only: list[filters.Filter] = []
        if space:
            only.append(filters.InSpace(tuple(space)))
        if keyword:
            only.append(filters.Containing(keyword))
        if min_score is not None:
            only.append(filters.ScoreBetween("simulation", min_score))
        if polarity:
            only.append(filters.OfPolarity(polarity))
        hits = find(
            store, query, k, filters.And(tuple(only)) if only else None,
            embedder=None if embedder == "tfidf" else SentenceEmbedder(embedder),
            index=cast(IndexKind, index), recall=recall,
        )  # fmt: skip
        if not hits:
            say("nothing found; other words or fewer conditions may help")
            return
        rows = [
            (
                f"{hit.similarity:.2f}",
                _cut(hit.key),
                "" if hit.score is None else f"{hit.score:.2f}",
                _cut(hit.text),
            )
            for hit in hits
        ]
        show_table(table(("likeness", "feature", "score", "description"), rows))


@app.command()
def info(where: Where) -> None:
    """Say what a store holds."""
    from interp.store.store import open_store

    with explained(), open_store(where) as store:
        for name, count in store.counts().items():
            say(f"{name:<13} {count:,}")
        for space in store.spaces():
            features = f"{space.n_features:,} features at {space.site or '?'}"
            say(_cut(f"  {space.subject} {space.name}: {features}"))


@app.command()
def export(
    where: Where,
    folder: Annotated[Path, typer.Argument(help="Where to write.")],
    format: Annotated[str, typer.Option(help="parquet, or neuronpedia.")] = "parquet",
    subject: Annotated[str, typer.Option(help="With neuronpedia: the subject; the first if left out.")] = "",
) -> None:
    """Write a store as Parquet files or as Neuronpedia's JSON lines."""
    from interp.store.neuronpedia import export_neuronpedia
    from interp.store.parquet import export_parquet
    from interp.store.store import open_store

    with explained(), open_store(where) as store:
        if format not in FORMATS:
            raise UserError(f"there is no format {quoted(format)}", "--format", f"use {' or '.join(FORMATS)}")
        if format == "parquet":
            counts = export_parquet(store, folder)
        else:
            subjects = [space.subject for space in store.spaces()] or [""]
            if subject and subject not in subjects:
                near = similar_names(subject, subjects) or subjects[:5]
                raise UserError(
                    f"the store has no subject {quoted(subject)}", "--subject", f"use {', '.join(near)}"
                )
            counts = export_neuronpedia(store, subject or subjects[0], folder)
        say(f"{folder}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))


@app.command("import")
def import_(
    where: Where,
    folder: Annotated[Path, typer.Argument(help="What export wrote, or Neuronpedia's own files.")],
) -> None:
    """Read Parquet files or Neuronpedia's JSON lines into a store, which is made if there is none."""
    from interp.store.neuronpedia import read_neuronpedia
    from interp.store.parquet import COLUMNS, read_export
    from interp.store.store import opened

    with explained():
        if not os.path.isdir(folder):  # false also for names that the system refuses
            raise UserError("there is no such folder", str(folder), "give what `interp store export` wrote")
        tables = any((folder / f"{name}.parquet").exists() for name in COLUMNS)
        contents, counts = (read_export if tables else read_neuronpedia)(folder)
        with opened(where) as store:
            store.put_all(contents, replaced=tables)
            said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
            say(f"{store.where}: {said}")


def _cut(text: str) -> str:
    """A text on one line, cut to fit a terminal."""
    return (text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…").replace("\n", " ")
