"""The section `engine` of a config, and its text form `engine: ray`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from interp.fields import Bytes, Count, CountOrZero, Line, Section

RAY_SHARDS = 16


class EngineConfig(Section):
    """Where the parts of the work are computed. Results depend on `shards` and `threads` alone."""

    kind: Literal["local", "ray"] = "local"
    """local: in this process. ray: by workers on a Ray cluster (extra `ray`)."""
    address: Line = ""
    """The cluster's HOST:PORT, or `auto` for the one that this machine belongs to; empty starts one here."""
    workers: Count | None = None
    """Most workers of the cluster; null: as many as its processors or GPUs allow."""
    shards: Count | None = None
    """Parts that a corpus is cut into, each done again by itself if its worker is lost; null: 1 locally, 16
    on Ray. More than there are workers, so that none waits long for the last."""
    threads: Count | None = None
    """Threads that each worker computes with, and processors that it reserves; null: all here, 1 on Ray."""
    gpus: CountOrZero | None = Field(None, le=16)
    """GPUs that each worker reserves; null: 1 if the subject's device is a GPU."""
    attempts: Count = Field(3, le=100)
    """How often a part is tried before the run ends without it; a wrong config is not tried again."""
    object_store: Bytes = 1_000_000_000
    """Memory of a cluster that is started here for what is on its way between processes; what is more is
    written to the disk until it is taken."""

    @property
    def n_shards(self) -> int:
        """Parts that a corpus is cut into."""
        return self.shards or (1 if self.kind == "local" else RAY_SHARDS)


def _section(value: Any) -> Any:
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, dict) and value.get("address") and "kind" not in value:
        return {"kind": "ray", **value}
    return value


EngineOptions = Annotated[EngineConfig, BeforeValidator(_section)]
"""`engine: ray` is short for `engine: {kind: ray}`; a section with an address means Ray as well."""
