"""What describing and scoring costs: windows read, text written, calls to endpoints, rows stored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, exp

from interp.cost import (
    Amount,
    Calls,
    DiskPart,
    MemoryPart,
    RateName,
    SpaceSize,
    Stage,
    SubjectShape,
    TextSize,
    deepest,
    forward_flops,
    pass_part,
    subject_part,
)
from interp.descriptions.explainers.prompted import FROM_TOP
from interp.descriptions.prompt_size import (
    CallSize,
    WindowText,
    contrast_call,
    explain_call,
    judge_call,
    logprobs_call,
    simulate_call,
    summarise_call,
)
from interp.descriptions.scorers.intervention import PROMPT_TOKENS
from interp.descriptions.scorers.judge_endpoint import TEXTS_PER_CALL
from interp.descriptions.scorers.texts import NEIGHBOURS, WINDOWS_A_NEIGHBOUR
from interp.descriptions.simulators.structured import EXCERPTS_PER_CALL
from interp.descriptions.sources import (
    AnyJudgeSource,
    ExplainerSource,
    KnownSource,
    PatternsSource,
    SimulatedSource,
    SimulatorSource,
    TextsConfig,
)
from interp.descriptions.summary import AT_ONCE as SUMMARIES
from interp.document import SHARES, Split
from interp.llm.endpoint import Endpoint
from interp.mining.config import MiningConfig
from interp.mining.exemplars import N_BANDS, N_SILENT, ROWS_PER_BAND

KNOWN = KnownSource()
BANDS = N_BANDS * ROWS_PER_BAND
SHARED = 96
"""Random windows that all features' evidence has (`gather_evidence`)."""
PATTERN_TOKENS = 250
"""Tokens through the subject for a description by patterns: 240 for `world`, 212 for `pydoc`, 296 for Gemma
(benchmarks/RESULTS.md, 2026-11-29)."""
ROW_BYTES = {"feature": 900, "description": 500, "score": 190, "exemplar": 85}
"""Bytes of each row of a store in SQLite, its indices included; held to a real store by a test."""
CALL_BYTES = 900
"""Bytes that a run keeps of each call, beside its answer: in the cache of answers, and in the ledger."""
WINDOW_BYTES = 28
"""Bytes of JSON of a token in a window that is kept with a description: its id and its activation."""
EMPTY_STORE = 57_344
"""Bytes of a store without rows: a page of each table and index."""
KEPT_BYTES = {"description": 320, "score": 420}
"""Bytes of JSON that a run's steps keep of each, measured on a run of `describe` by an endpoint."""


@dataclass(frozen=True)
class Describing:
    """What is described, and how; as in a config of `describe`.

    `features` counts both polarities of a feature. `spaces` are what they are drawn from, `labelled` says
    whether the text has labels to be scored against.
    """

    features: int
    spaces: Sequence[SpaceSize]
    mining: MiningConfig
    scoring: TextsConfig
    nulls: int
    explainers: Sequence[ExplainerSource] = (PatternsSource(),)
    samples: int = 1
    simulator: SimulatorSource = KNOWN
    judges: Sequence[AnyJudgeSource] = (SimulatedSource(),)
    choose_by: str = "simulation"
    summarise_by: str = ""
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    at_once: int = 32
    labelled: bool = False

    @property
    def asking(self) -> list[ExplainerSource]:
        """The explainers that ask an endpoint."""
        return [one for one in self.explainers if one.kind in ("prompted", "contrastive")]

    @property
    def descriptions(self) -> int:
        """Descriptions that are written."""
        return self.features * len(self.explainers) * self.samples


def describing_stages(shape: SubjectShape, dtype: str, plan: Describing, text: TextSize) -> list[Stage]:
    """Returns the stages explain, choose (where there are several samples), score and store."""
    stages = [_explain(shape, dtype, plan, text)]
    if plan.samples > 1:
        stages.append(_choose(shape, dtype, plan, text))
    return [*stages, _score(shape, dtype, plan, text), _store(plan)]


def described_by_patterns(shape: SubjectShape, dtype: str, plan: Describing, text: TextSize) -> list[Stage]:
    """Returns the stages of describing by patterns, all features at once, and scoring by these."""
    explain = _explain(shape, dtype, plan, text)
    k, n = plan.mining.top_windows.report, plan.scoring.random_windows
    work, held = _reading(shape, dtype, plan, text, "report", k, n)
    others = min(plan.nulls, max(0, plan.features - 1))
    features = float(plan.features)
    work += [("tried", features * ((1 + others) * k + n)), ("scored", features * (1 + others))]
    record = DiskPart("descriptions in the run", plan.features * _record_bytes(plan, text))
    return [replace(explain, disk=(record,)), _stage("score", held, work, [], [])]


def _record_bytes(plan: Describing, text: TextSize) -> int:
    """Bytes of JSON of a feature with its windows: the ids and activations of their tokens."""
    own = plan.mining.top_windows.explain + BANDS
    tokens = own * text.row_tokens(plan.mining.context_size, strong=True)
    tokens += N_SILENT * text.row_tokens(plan.mining.context_size)
    return round(WINDOW_BYTES * tokens)


def _windows(plan: Describing, text: TextSize) -> WindowText:
    size = plan.mining.context_size
    return WindowText(text.row_tokens(size, strong=True), text.row_tokens(size), text.token_bytes)


def _reading(
    shape: SubjectShape, dtype: str, plan: Describing, text: TextSize, split: Split, own: int, shared: int
) -> tuple[list[tuple[RateName, Amount]], list[MemoryPart]]:
    """Work and memory of reading each feature's `own` windows and the `shared` ones, a batch at a time."""
    size, batches = plan.mining.context_size, ceil(plan.features / plan.at_once)
    rows = max(1.0, SHARES[split] * text.n_rows(size))
    once = min(plan.features, plan.at_once) * own + shared
    distinct = rows * (1 - exp(-once / rows))  # of windows drawn with replacement
    positions = batches * distinct * (1 + text.row_tokens(size, strong=True))
    pairs = float(plan.features * (own + shared))
    documents = batches * distinct * sum(text.lengths) / len(text.lengths)
    work: list[tuple[RateName, Amount]] = [
        *text.making(documents),
        ("forward", positions * forward_flops(shape, deepest(plan.spaces))),
        ("read", pairs),
    ]
    held = [
        subject_part(shape, dtype),
        pass_part(shape, dtype, 4096, size, "mining.context_size"),
    ]
    return work, held


def _explain(shape: SubjectShape, dtype: str, plan: Describing, text: TextSize) -> Stage:
    own = plan.mining.top_windows.explain + BANDS
    work, held = _reading(shape, dtype, plan, text, "explain", own, SHARED + N_SILENT)
    work = [(rate, amount * len(plan.explainers)) for rate, amount in work]
    windows, asked = _windows(plan, text), []
    exemplars = min(FROM_TOP, plan.mining.top_windows.explain)
    for source in plan.explainers:
        if source.kind == "patterns":
            written = float(plan.features * plan.samples)
            work += [("patterns", written), ("forward", PATTERN_TOKENS * written * _whole(shape))]
        elif source.kind in ("prompted", "contrastive"):
            make = explain_call if source.kind == "prompted" else contrast_call
            size = make(windows, exemplars, source.few_shot)
            asked.append(_calls(plan, source.endpoint, "explain", plan.features * plan.samples, size))
    kept = DiskPart("descriptions in the run", plan.descriptions * KEPT_BYTES["description"])
    return _stage("explain", held, work, asked, [kept])


def _choose(shape: SubjectShape, dtype: str, plan: Describing, text: TextSize) -> Stage:
    work, held = _texts(shape, dtype, plan, text, "select")
    n = float(plan.descriptions)
    asked: list[Calls] = []
    if plan.choose_by == "simulation":
        _simulated(plan, text, "select", n, n, work, asked)
    else:
        _judged(plan, text, n, 1, 1, work, asked)
    kept = DiskPart("descriptions in the run", plan.descriptions * KEPT_BYTES["description"])
    return _stage("choose", held, work, asked, [kept])


def _score(shape: SubjectShape, dtype: str, plan: Describing, text: TextSize) -> Stage:
    work, held = _texts(shape, dtype, plan, text, "report")
    chosen = float(plan.features * len(plan.explainers))
    others = min(plan.nulls, max(0, plan.features - 1))
    asked: list[Calls] = []
    first = 1 - 1 / plan.samples  # the first description is another one than the chosen
    own = 1 + others + (first if plan.choose_by == "simulation" else 0)
    _simulated(plan, text, "report", chosen * own, chosen * (1 + first), work, asked)
    prompts = plan.scoring.prompts
    for _ in range(1 if plan.judges else 0):
        _judged(plan, text, chosen, 1 + others, 2, work, asked)
    if plan.choose_by == "detection":
        _judged(plan, text, chosen * first, 1, 1, work, asked)
    if prompts and plan.judges:
        length = PROMPT_TOKENS + plan.scoring.new_tokens
        steps = plan.features * 2 * plan.scoring.new_tokens
        work += [
            ("decoded", float(steps * shape.n_layers)),
            ("forward", plan.features * 2 * prompts * length * _whole(shape)),
        ]
        if plan.judges[0].kind == "endpoint":
            shown = WindowText(plan.scoring.new_tokens, plan.scoring.new_tokens, text.token_bytes)
            size = judge_call(shown, TEXTS_PER_CALL, True)
            calls = chosen * (2 + others) * ceil(2 * prompts / TEXTS_PER_CALL)
            asked.append(_calls(plan, plan.judges[0].endpoint, "judge", calls, size))
    if plan.labelled:
        work.append(("scored", chosen * (1 + others)))
    kept = DiskPart("scores in the run", int(chosen * _n_scores(plan) * KEPT_BYTES["score"]))
    return _stage("score", held, work, asked, [kept])


def _store(plan: Describing) -> Stage:
    windows = plan.mining.top_windows
    exemplars = windows.explain + windows.select + windows.report + 3 * (BANDS + N_SILENT)
    scores = len(plan.explainers) * _n_scores(plan)
    size = ROW_BYTES["feature"] + exemplars * ROW_BYTES["exemplar"] + scores * ROW_BYTES["score"]
    size += len(plan.explainers) * plan.samples * ROW_BYTES["description"]
    asked = []
    if plan.summarise_by:
        calls = ceil(plan.descriptions / SUMMARIES)
        asked.append(_calls(plan, plan.summarise_by, "summarise", calls, summarise_call()))
    kept = DiskPart("store", EMPTY_STORE + plan.features * size)
    work: list[tuple[RateName, Amount]] = [("stored", float(plan.features)), ("disk", float(kept.bytes))]
    rows = MemoryPart("rows of the store", 4 * plan.features * size, "sample", "host")
    return _stage("store", [rows], work, asked, [kept], shards=False)


def _texts(
    shape: SubjectShape, dtype: str, plan: Describing, text: TextSize, split: Split
) -> tuple[list[tuple[RateName, Amount]], list[MemoryPart]]:
    """Reading the text of a split: strong and random windows, then those that judges see."""
    k, texts = plan.mining.top_windows.of(split), plan.scoring.texts
    work, held = _reading(shape, dtype, plan, text, split, k, plan.scoring.random_windows)
    rivals = NEIGHBOURS * min(WINDOWS_A_NEIGHBOUR, k)
    more, _ = _reading(shape, dtype, plan, text, split, k + BANDS + rivals, 3 * texts)
    # features that are easily mistaken: samples are normalised for each batch, and compared for each feature
    widths = [
        one.n_features * (min(plan.mining.sampled_tokens, SHARES[split] * text.tokens) + shape.d_model)
        for one in plan.spaces
    ]
    batches = ceil(plan.features / plan.at_once)
    spaces = min(plan.features, batches + len(plan.spaces))
    mean = sum(widths) / len(widths)
    near = 40.0 * spaces * mean + 4.0 * plan.features * mean
    at_once = min(plan.features, plan.at_once, len(plan.spaces)) if batches < len(plan.spaces) else 2
    tables = MemoryPart(
        "samples of a batch's spaces", int(8 * at_once * mean), "mining.sampled_tokens", "host"
    )
    return [*work, *more, ("host_memory", near)], [*held, tables]


def _simulated(
    plan: Describing, text: TextSize, split: Split, strong: Amount, random: Amount,
    work: list[tuple[RateName, Amount]], asked: list[Calls],
) -> None:  # fmt: skip
    """Adds simulations: of `strong` descriptions on a feature's own windows, of `random` on shared ones.

    Random windows are the same for all features, so that a description of one, which is the null of others,
    is asked about on them once.
    """
    source, windows = plan.simulator, _windows(plan, text)
    k, n = plan.mining.top_windows.of(split), plan.scoring.random_windows
    work.append(("scored", strong))
    if source.kind == "known":
        work.append(("tried", strong * k + random * n))  # the same windows are tried once
    elif source.kind == "structured":
        once = k % EXCERPTS_PER_CALL == 0  # otherwise strong and random windows share a call
        of_random = random if once else strong
        for many, calls, is_strong in ((k, strong, True), (n, of_random, False)):
            size = simulate_call(windows, min(EXCERPTS_PER_CALL, many), source.few_shot, is_strong)
            number = calls * ceil(many / EXCERPTS_PER_CALL)
            asked.append(_calls(plan, source.endpoint, "simulate", number, size))
    elif source.kind == "prompt_logprobs":
        for many, calls, is_strong in ((k, strong, True), (n, random, False)):
            size = logprobs_call(windows, is_strong)
            asked.append(_calls(plan, source.endpoint, "simulate", calls * many, size))


def _judged(
    plan: Describing, text: TextSize, descriptions: Amount, each: int, ways: int,
    work: list[tuple[RateName, Amount]], asked: list[Calls],
) -> None:  # fmt: skip
    """Adds judgements of `each` descriptions on a feature's texts, plain and (of two `ways`) marked."""
    windows, texts = _windows(plan, text), 2 * plan.scoring.texts
    for judge in plan.judges:
        work.append(("scored", descriptions * each * ways))
        if judge.kind == "simulated" and plan.simulator.kind == "known":
            work.append(("tried", descriptions * each * texts))
        elif judge.kind == "endpoint":
            for way in range(ways):
                size = judge_call(windows, TEXTS_PER_CALL, judge.few_shot, way == 1)
                number = descriptions * each * ceil(texts / TEXTS_PER_CALL)
                asked.append(_calls(plan, judge.endpoint, "judge", number, size))


def _n_scores(plan: Describing) -> int:
    ways = 4 + (2 if plan.scoring.prompts else 0)
    return 3 + ways * len(plan.judges) + (1 if plan.labelled else 0)


def _whole(shape: SubjectShape) -> Amount:
    return forward_flops(shape, shape.n_layers, logits=True)


def _calls(plan: Describing, name: str, purpose: str, calls: Amount, size: CallSize) -> Calls:
    endpoint = plan.endpoints.get(name)
    sent, answered = calls * size.prompt, calls * size.answer
    usd = None if endpoint is None else endpoint.usd(round(sent), round(answered))
    return Calls(purpose, calls, sent, answered, usd)


def _stage(
    name: str,
    held: Sequence[MemoryPart],
    work: Sequence[tuple[RateName, Amount]],
    asked: Sequence[Calls],
    disk: Sequence[DiskPart],
    shards: bool = True,
) -> Stage:
    calls = sum(one.calls for one in asked)
    sent, answered = (
        _sum(asked, lambda one: one.prompt_tokens),
        _sum(asked, lambda one: one.completion_tokens),
    )
    if calls:
        work = [*work, ("asked", calls), ("prompt_tokens", sent), ("completion_tokens", answered)]
        disk = [*disk, DiskPart("answers and ledger", int(calls * CALL_BYTES + 4 * answered))]
    return Stage(name, tuple(held), tuple(work), tuple(disk), tuple(asked), shards)


def _sum(asked: Sequence[Calls], of: Callable[[Calls], Amount]) -> Amount:
    return sum(of(one) for one in asked)
