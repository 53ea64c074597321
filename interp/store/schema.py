"""The tables of a store, the same in SQLite and PostgreSQL."""

from typing import Any

import numpy as np
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy import Text as SqlText
from sqlalchemy.types import TypeDecorator, TypeEngine

from interp.store.rows import kept

VERSION = 1

metadata = MetaData()


class DamagedCell(ValueError):
    """A cell of a table is not of its column's type."""


class KeptText(TypeDecorator[str]):
    """Text that is changed as by `kept`, both when written and in queries."""

    impl: Any = SqlText
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Convert a value for the database."""
        return kept(value)


class Name(KeptText):
    """A short text."""

    impl = String
    cache_ok = True


class EmbeddingColumn(TypeDecorator[np.ndarray]):
    """A float32 vector: pgvector's type in PostgreSQL, bytes in SQLite."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the database."""
        if dialect.name == "postgresql":
            from pgvector.sqlalchemy import Vector as PostgresVector

            return dialect.type_descriptor(PostgresVector())
        return dialect.type_descriptor(LargeBinary())

    def process_bind_param(self, value: np.ndarray | None, dialect: Dialect) -> Any:
        """Convert a value for the database."""
        if value is None or dialect.name == "postgresql":
            return value
        return np.ascontiguousarray(value, dtype="<f4").tobytes()

    def process_result_value(self, value: Any | None, dialect: Dialect) -> np.ndarray | None:
        """Convert a value from the database."""
        if value is None:
            return None
        if isinstance(value, bytes) and len(value) % 4 == 0:
            return np.frombuffer(value, dtype="<f4")
        if isinstance(value, bytes | str | int | float):
            raise DamagedCell("a vector is none")
        return np.asarray(value, dtype=np.float32)


meta = Table(
    "meta", metadata, Column("name", Name, primary_key=True), Column("value", KeptText, nullable=False)
)
spaces = Table(
    "spaces", metadata,
    Column("id", Integer, primary_key=True),
    Column("subject", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("site", Name, nullable=False),
    Column("layer", Integer),
    Column("n_features", Integer, nullable=False),
    Column("signed", Boolean, nullable=False),
    Column("provenance", JSON, nullable=False),
    UniqueConstraint("subject", "name"),
)  # fmt: skip
features = Table(
    "features", metadata,
    Column("id", Integer, primary_key=True),
    Column("space", ForeignKey("spaces.id", ondelete="CASCADE"), nullable=False),
    Column("feature_id", Integer, nullable=False),
    Column("polarity", Integer, nullable=False),
    Column("rate", Float),
    Column("quantiles", JSON, nullable=False),
    UniqueConstraint("space", "feature_id", "polarity"),
)  # fmt: skip
descriptions = Table(
    "descriptions", metadata,
    Column("id", Integer, primary_key=True),
    Column("feature", ForeignKey("features.id", ondelete="CASCADE"), nullable=False),
    Column("explainer", Name, nullable=False),
    Column("sample", Integer, nullable=False),
    Column("text", KeptText, nullable=False),
    Column("summary", KeptText, nullable=False),
    Column("chosen", Boolean, nullable=False),
    Column("interesting", Boolean),
    Column("reason", KeptText, nullable=False),
    Column("provenance", JSON, nullable=False),
    UniqueConstraint("feature", "explainer", "sample"),
)  # fmt: skip
scores = Table(
    "scores", metadata,
    Column("id", Integer, primary_key=True),
    Column("description", ForeignKey("descriptions.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Name, nullable=False),
    Column("scorer", Name, nullable=False),
    Column("split", Name, nullable=False),
    *(Column(name, Float) for name in ("value", "low", "high", "null_mean", "null_low", "null_high")),
    Column("n", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    UniqueConstraint("description", "kind", "scorer", "split"),
)  # fmt: skip
exemplars = Table(
    "exemplars", metadata,
    Column("id", Integer, primary_key=True),
    Column("feature", ForeignKey("features.id", ondelete="CASCADE"), nullable=False),
    Column("corpus", Name, nullable=False),
    Column("split", Name, nullable=False),
    Column("document", Integer, nullable=False),
    Column("start", Integer, nullable=False),
    Column("value", Float, nullable=False),
    Column("band", Name, nullable=False),
    Column("quantile", Float),
    Index("exemplars_of_feature", "feature"),
)  # fmt: skip
embeddings = Table(
    "embeddings", metadata,
    Column("description", ForeignKey("descriptions.id", ondelete="CASCADE"), primary_key=True),
    Column("embedder", Name, primary_key=True),
    Column("vector", EmbeddingColumn, nullable=False),
)  # fmt: skip
