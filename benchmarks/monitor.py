"""`interp bench monitor`: what a click in the Monitor costs, on `world` and on Gemma 3 270M if it is there.

A text of 60 tokens, every neuron of every layer, a store that describes a fifth of them (made-up words).
Medians of some rounds after one that is thrown away, in seconds of the wall clock; generation as a ratio in
one process, in turn:

- click: from a token to its 50 ranked features with their descriptions, and the same grouped by meaning;
- first: until the first new token of an answer is there, with nothing kept of the text, and with all but its
  last token kept (a fork, a new answer);
- steered: 30 tokens with 50 features held at half their quantile, over 30 plain ones;
- over HTTP: the same click asked of a server on loopback, and each page's bytes (all that it loads) and
  seconds (the page itself);
- memory: the process's resident set after a thousand clicks on `world`, ten sessions in turn, over that after
  a hundred.
"""

import itertools
import json
import re
import resource
import socket
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial

import torch
import uvicorn

import interp
from interp.corpus.source import PydocSource, WorldSource
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.monitor.bench import Bench
from interp.monitor.conversation import Conversation
from interp.monitor.knowledge import Knowledge
from interp.monitor.session import Session, Settings, State
from interp.monitor.steering import FeatureCard
from interp.store.rows import DescriptionRow, FeatureRow, ScoreRow, SpaceRow
from interp.store.store import Store
from interp.subject import Subject
from interp.subject.stream import KeptPrefix
from interp.web.app import make_app
from interp.web.pages import PAGES

LENGTH = 60
NEW = 30
ROUNDS = 7
WORDS = ("names", "dates", "verbs", "cities", "digits", "rivers", "months", "animals", "colours", "brackets")


def _bench(subject: Subject) -> Bench:
    """Describes every fifth neuron with made-up words."""
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    store = Store(":memory:")
    scored = (ScoreRow("simulation", "made up", "report", 0.5, 0.4, 0.6, 0.0, -0.1, 0.1, 40, 0),)
    for space in neurons:
        store.put_space(
            SpaceRow(subject.name, space.name, str(space.site), space.site.layer, space.n_features, True)
        )
        rows = []
        for i in range(0, space.n_features, 5):
            text = f"{WORDS[i % len(WORDS)]} of {WORDS[(i // 7) % len(WORDS)]}"
            described = (DescriptionRow(text, "made up", 0, text, scores=scored),)
            rows.append(FeatureRow(space.name, i, 1, 0.1, {"0.99999": 2.0}, described))
        store.put(subject.name, rows)
    return Bench(subject, Knowledge(subject.name, [store]), neurons)


def _median(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    work()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _first(subject: Subject, ids: list[int], kept: KeptPrefix | None) -> None:
    """Streams until the first new token."""
    for _ in itertools.islice(subject.stream(ids, 2, kept=kept), len(ids) + 1):
        pass


def _ratio(session: Session, steered: Session, ids: list[int]) -> float:
    """Seconds of steered generation over plain, the median of rounds in turn."""
    subject, edits = session.subject, steered.steering().edits
    tokens, mask = subject.pad([ids], prepend_bos=False)

    def written() -> float:
        began = time.perf_counter()
        subject.generate_ids(tokens, mask, NEW)
        return time.perf_counter() - began

    ratios = []
    for _ in range(ROUNDS + 1):
        plain = written()
        with subject.intervene(*edits):
            ratios.append(written() / plain)
    return statistics.median(ratios[1:])


def measure(subject: Subject, source: WorldSource | PydocSource) -> Session:
    """Prints the figures of one model."""
    bench = _bench(subject)
    corpus = source.open(subject)
    documents = (corpus[place].tokens for place in range(len(corpus)))
    text = next(tokens.tolist() for tokens in documents if len(tokens) >= LENGTH)
    state = State(
        conversation=Conversation().written([int(i) for i in text[: LENGTH - 1]]),
        settings=Settings(max_new_tokens=NEW),
    )
    session = Session(bench, state)
    ids = session.state.conversation.tokens(subject)
    place = len(ids) - 1

    def click() -> None:
        session.table(session.why(place))

    ranking = session.why(place)
    kept = KeptPrefix()
    _first(subject, ids, kept)
    forked = [*ids[:-1], ids[-2]]
    card = FeatureCard(
        features=tuple(f"mlp.{i % subject.n_layers}/{5 * i}+" for i in range(50)), strength=0.5
    )
    steered = Session(bench, state.model_copy(update={"cards": (card,)}))
    print(
        f"{subject.name}: {len(ids)} tokens, {sum(space.n_features for space in bench.all_spaces):,} neurons"
    )
    print(f"  click, ranked and described     {_median(click):.3f} s")
    print(f"  grouped by meaning              {_median(lambda: session.groups(ranking)):.3f} s")
    print(f"  first token, nothing kept       {_median(lambda: _first(subject, ids, None)):.3f} s")
    print(f"  first token, the text kept      {_median(lambda: _first(subject, forked, kept)):.3f} s")
    print(f"  steered generation over plain   {_ratio(session, steered, ids):.3f}")
    _over_http(session, place)
    return session


def _over_http(session: Session, place: int) -> None:
    """Prints what a click costs through a server on loopback, and what each page weighs."""
    app = make_app(session.bench)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        new = _asked(f"{address}/api/sessions", {"state": session.state.model_dump(mode="json")})
        why = f"{address}/api/sessions/{json.loads(new)['session']}/why"
        print(f"  the click over HTTP             {_median(lambda: _asked(why, {'place': place})):.3f} s")
        for name, label in PAGES:
            seconds = _median(partial(_asked, f"{address}/{name}"))
            print(f"  page {label:<26} {_weight(address, name) / 1000:.0f} kB, {seconds:.3f} s")
        server.should_exit = True
        thread.join()


def _asked(address: str, body: object = None) -> bytes:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        found: bytes = answer.read()
    return found


def _weight(address: str, name: str) -> int:
    """Bytes of a page with its styles and scripts, those that scripts import included."""
    seen: dict[str, int] = {}
    waiting = [f"/{name}"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        text = _asked(address + path).decode()
        seen[path] = len(text.encode())
        waiting += re.findall(r'(?:href|src)="(/static/[^"]+)"', text) if path == f"/{name}" else []
        waiting += [f"/static/{one}" for one in re.findall(r'from "\./([^"]+)"', text)]
    return sum(seen.values())


def _clicks(session: Session, n: int) -> int:
    """Clicks on tokens in ten sessions in turn; returns the largest resident set so far, in MiB."""
    sessions = [Session(session.bench, session.state) for _ in range(10)]
    for number in range(n):
        one = sessions[number % 10]
        one.table(one.why(1 + number % (LENGTH - 2), k=20))
        one.change(one.state)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Prints all figures."""
    print(f"{torch.get_num_threads()} threads")
    session = measure(interp.load("world", device="cpu"), WorldSource(documents=2000))
    before, after = _clicks(session, 100), _clicks(session, 1000)
    print(f"  resident set after 100 and 1,100 clicks: {before:,} and {after:,} MiB")
    try:
        gemma = interp.load("gemma-3-270m", device="cpu")
    except UserError as error:
        print(f"gemma-3-270m: {error}")
        return
    measure(gemma, PydocSource(kind="pydoc", part="all", documents=60))


if __name__ == "__main__":
    main()
