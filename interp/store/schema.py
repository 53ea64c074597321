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
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

VERSION = 1

metadata = MetaData()


class Vector(TypeDecorator[np.ndarray]):
    """A float32 vector: pgvector's type in PostgreSQL, bytes in SQLite."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The type of the database."""
        if dialect.name == "postgresql":
            from pgvector.sqlalchemy import Vector as PostgresVector

            return dialect.type_descriptor(PostgresVector())
        return dialect.type_descriptor(LargeBinary())

    def process_bind_param(self, value: np.ndarray | None, dialect: Dialect) -> Any:
        """Before it is written."""
        if value is None or dialect.name == "postgresql":
            return value
        return np.ascontiguousarray(value, dtype="<f4").tobytes()

    def process_result_value(self, value: Any | None, dialect: Dialect) -> np.ndarray | None:
        """After it is read."""
        if value is None:
            return None
        if isinstance(value, bytes):
            return np.frombuffer(value, dtype="<f4")
        return np.asarray(value, dtype=np.float32)


meta = Table(
    "meta", metadata, Column("name", String, primary_key=True), Column("value", Text, nullable=False)
)
spaces = Table(
    "spaces", metadata,
    Column("id", Integer, primary_key=True),
    Column("subject", String, nullable=False),
    Column("name", String, nullable=False),
    Column("site", String, nullable=False),
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
    Column("explainer", String, nullable=False),
    Column("sample", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("chosen", Boolean, nullable=False),
    Column("interesting", Boolean),
    Column("reason", Text, nullable=False),
    Column("provenance", JSON, nullable=False),
    UniqueConstraint("feature", "explainer", "sample"),
)  # fmt: skip
scores = Table(
    "scores", metadata,
    Column("id", Integer, primary_key=True),
    Column("description", ForeignKey("descriptions.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String, nullable=False),
    Column("scorer", String, nullable=False),
    Column("split", String, nullable=False),
    *(Column(name, Float) for name in ("value", "low", "high", "null_mean", "null_low", "null_high")),
    Column("n", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    UniqueConstraint("description", "kind", "scorer", "split"),
)  # fmt: skip
exemplars = Table(
    "exemplars", metadata,
    Column("id", Integer, primary_key=True),
    Column("feature", ForeignKey("features.id", ondelete="CASCADE"), nullable=False),
    Column("corpus", String, nullable=False),
    Column("split", String, nullable=False),
    Column("document", Integer, nullable=False),
    Column("start", Integer, nullable=False),
    Column("value", Float, nullable=False),
    Column("band", String, nullable=False),
    Column("quantile", Float),
    Index("exemplars_of_feature", "feature"),
)  # fmt: skip
embeddings = Table(
    "embeddings", metadata,
    Column("description", ForeignKey("descriptions.id", ondelete="CASCADE"), primary_key=True),
    Column("embedder", String, primary_key=True),
    Column("vector", Vector, nullable=False),
)  # fmt: skip
