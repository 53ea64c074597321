"""`interp serve`: the Monitor in a browser, and an OpenAI-compatible door to the same model."""

import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer
from platformdirs import user_data_path

from interp.cli.explained import explained
from interp.cli.shipped import SHIPPED_CONFIGS
from interp.cli.terminal import say
from interp.errors import UserError, escaped, quoted
from interp.yaml_text import read_yaml

if TYPE_CHECKING:
    from fastapi import FastAPI

    from interp.corpus.source import CorpusSource
    from interp.embed.source import EmbedderSource
    from interp.llm.endpoint import Endpoint
    from interp.monitor.bench import Bench
    from interp.monitor.steering import Card
    from interp.subject.folder import SubjectInfo

NEUTRAL_TEXTS, WORLD_DOCUMENTS, PYDOC_DOCUMENTS = 20, 3000, 400
TOKEN_VARIABLE = "INTERP_SERVE_TOKEN"


def serve(
    stores: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUNS_OR_STORES]...",
            help="Runs or stores with descriptions; `world`: those in the package.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--subject", "-m", help="A bundled name, gemma-3-270m, a folder, a GGUF file or a hub name."
        ),
    ] = "world",
    host: Annotated[
        str, typer.Option(help="The address; others than this machine's own need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8787,
    sae: Annotated[
        list[str] | None, typer.Option(metavar="FOLDER", help="An SAE to read and steer; may be repeated.")
    ] = None,
    vectors: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A folder whose vectors cards may name; may be repeated."),
    ] = None,
    chat: Annotated[
        bool | None, typer.Option("--chat/--no-chat", help="What a new session is; a chat where it can be.")
    ] = None,
    embedder: Annotated[
        str, typer.Option(help="tfidf, or the folder of a sentence-transformers model.")
    ] = "tfidf",
    steer: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A session's export, whose steering set is the model SUBJECT:NAME; may be repeated.",
        ),
    ] = None,
    endpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML of the endpoint that names and grades groups of features."),
    ] = None,
    notes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The store of descriptions and ratings by people; in the user's data folder if left out.",
        ),
    ] = None,
    runs_dir: Annotated[
        Path, typer.Option(envvar="INTERP_RUNS_DIR", help="The folder of runs that the page Runs lists.")
    ] = Path("runs"),
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Another name of this server; may be repeated.")
    ] = None,
) -> None:
    """Open the app: ask a model why it said that, steer it by meaning, look at features and runs."""
    with explained():
        _check_installed()
        from interp.subject.folder import subject_info

        info = subject_info(model)
        for folder in vectors or []:
            if not folder.is_dir():
                raise UserError(f"no folder {folder}", "--vectors", "give a folder of .safetensors files")
        with _bound(host, port) as listening:
            named = {file.stem: _cards(file) for file in steer or []}
            bench = _bench(info, model, stores or [], sae or [], embedder, endpoint)
            notes = notes or user_data_path("interp") / "notes.sqlite"
            app = partial(_app, bench, chat, vectors or [], runs_dir, named, notes)
            _serve(app, bench.subject.name, listening, host, allow_host or [])


def _check_installed() -> None:
    for package in ("fastapi", "uvicorn"):
        if find_spec(package) is None:
            fix = "run pip install 'interp[serve]'"
            raise UserError(f"the package {package} is not installed", "interp serve", fix)


def _bound(host: str, port: int) -> socket.socket:
    """A socket at the address.

    Raises:
        UserError: it is taken, or not one of this machine's.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind)
    except (OSError, UnicodeError):
        raise UserError(f"{quoted(host)} is no address", "--host", "use 127.0.0.1") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen()
    except OSError as error:
        made.close()
        said = f"{host}, port {port}, cannot be used ({error.strerror or error})"
        raise UserError(said, "--host and --port", "use another port, or 0 for a free one") from None
    return made


def _bench(
    info: "SubjectInfo",
    model: str,
    stores: Sequence[str],
    saes: Sequence[str],
    embedder: str,
    endpoint: Path | None,
) -> "Bench":
    """Checks everything, then opens the model and what is known of it.

    Raises:
        UserError: something is not there, or is of another model.
    """
    from interp.corpus.source import PydocSource, WorldSource
    from interp.monitor.bench import Sources
    from interp.monitor.knowledge import Knowledge
    from interp.store.bundled import is_described
    from interp.store.store import open_store
    from interp.subject import load
    from saes.source import SaeConfig
    from saes.spaces import SpacesConfig

    if not stores and is_described(info.name):
        stores = [info.name]
    trained = {run: sae for run in stores if (sae := _own_sae(run))}
    own = list(trained.values())
    stores = [
        one for one in stores if one not in trained or os.path.exists(os.path.join(one, "store.sqlite"))
    ]
    folders = list(
        {os.path.realpath(one) if os.path.isdir(one) else one: one for one in [*own, *saes]}.values()
    )
    sources = Sources(
        spaces=SpacesConfig(saes=tuple(SaeConfig(folder=one) for one in folders)),
        stores=tuple(stores),
        embedder=_embedder(embedder),
        neutral=WorldSource(documents=WORLD_DOCUMENTS)
        if info.speaks_world
        else PydocSource(documents=PYDOC_DOCUMENTS),
        neutral_texts=NEUTRAL_TEXTS,
        corpora=_corpora(stores),
        endpoint=None if endpoint is None else _endpoint(endpoint),
    )
    sources.check(info)
    opened = [open_store(where) for where in stores]
    Knowledge(info.name, opened)  # says before the model is loaded if one is of another model
    for store in opened:
        store.close()
    say(f"loading {info.name}", err=True)
    bench = sources.open(load(model))
    if bench.knowledge.n_described:
        say(f"reading {bench.knowledge.n_described:,} descriptions", err=True)
    bench.knowledge.prepare()
    return bench


def _own_sae(run: str) -> str | None:
    """The folder of the SAE that a run trained, as `quickstart` and `describe` keep it; None without one."""
    folders = (os.path.join(run, *parts) for parts in (("sae",), ("steps", "train_sae", "sae")))
    return next((folder for folder in folders if os.path.isdir(folder)), None)


def _corpora(runs: Sequence[str]) -> "tuple[CorpusSource, ...]":
    """The texts that runs were made from, as their configs name them."""
    from pydantic import BaseModel, ConfigDict

    from interp.corpus.source import CorpusSource
    from interp.store.bundled import is_described

    class WithCorpus(BaseModel):
        model_config = ConfigDict(extra="ignore")
        corpus: CorpusSource

    files = [
        SHIPPED_CONFIGS / f"describe_{run}.yaml" if is_described(run) else Path(run) / "config.yaml"
        for run in runs
        if is_described(run) or os.path.isdir(run)
    ]
    fix = "give a run's folder as `interp run` left it"
    configs = [read_yaml(file, fix) for file in files if file.is_file()]
    read = [WithCorpus.model_validate(one).corpus for one in configs if "corpus" in one]
    return tuple({repr(one): one for one in read}.values())


def _embedder(name: str) -> "EmbedderSource":
    from interp.embed.source import SentenceSource, TfidfSource

    if name == "tfidf":
        return TfidfSource()
    if not os.path.isdir(name):
        fix = "use tfidf, or give the folder of a sentence-transformers model"
        raise UserError(f"no folder {quoted(name)}", "--embedder", fix)
    return SentenceSource(kind="sentence", model=name)


def _endpoint(file: Path) -> "Endpoint":
    from interp.llm.endpoint import Endpoint
    from interp.web.safety import valid

    return valid(
        Endpoint, read_yaml(file, "give model, base_url and the name of the key's variable"), str(file)
    )


def _cards(file: Path) -> "Sequence[Card]":
    """The steering set of a session's export."""
    from interp.monitor.session import State
    from interp.web.safety import valid

    values = read_yaml(file, "give what the Monitor exports")
    if not isinstance(state := values.get("state"), dict):
        raise UserError("it is no export of a session", str(file), "give what the Monitor exports")
    return valid(State, state, str(file)).cards


def _app(
    bench: "Bench",
    chat: bool | None,
    vectors: Sequence[Path],
    runs_dir: Path,
    named: "Mapping[str, Sequence[Card]]",
    notes: Path,
    token: str | None,
    hosts: Sequence[str],
) -> "FastAPI":
    from interp.web.app import make_app

    if chat and not bench.subject.tokenizer.chat_template:
        raise UserError(f"{bench.subject.name} has no chat template", "--chat", "leave it out")
    return make_app(
        bench,
        token=token,
        hosts=hosts,
        chat=chat,
        vectors=vectors,
        runs_dir=runs_dir,
        named=named,
        notes=notes,
    )


def _serve(
    make: "Callable[[str | None, Sequence[str]], FastAPI]",
    subject: str,
    listening: socket.socket,
    host: str,
    names: Sequence[str],
) -> None:
    """Answers until it is stopped; `make` makes the app for a token and the names it answers under."""
    import uvicorn

    from interp.web.safety import LOOPBACK

    local = _is_local(host)
    token = None if local else os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(24)
    app = make(token, [*LOOPBACK, _shown(host), *names, *([] if local else _names())])
    port = listening.getsockname()[1]
    where, ask, key = f"http://{_shown(host)}:{port}", "", ""
    if token is not None:
        ask, key = f"?token={quote(token, safe='')}", ", with the token as the key"
    # `say` would hide the token, and who started the server needs it
    typer.echo(escaped(f"the app of {subject}: {where}/monitor{ask}"))
    say(f"for programs that speak OpenAI's protocol: {where}/v1{key}")
    say("stop it with Ctrl-C")
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, server_header=False
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        say("stopped", err=True)


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _names() -> list[str]:
    """The names and addresses that this machine knows of itself."""
    own = socket.gethostname()
    try:
        addresses = {_shown(str(one[4][0])) for one in socket.getaddrinfo(own, None)}
    except OSError:
        addresses = set()
    return sorted({own, socket.getfqdn(), *addresses})
