"""A report's data without a run: made up, seeded, and shaped like the quickstart's."""

import random

from experiments.common.populations.data import (
    ConceptScore,
    CorpusFacts,
    DescribedFeature,
    DescribedPopulation,
    Difference,
    Exemplar,
    Piece,
    PopulationsData,
    SaeReport,
    SplitFacts,
)
from interp.compare.populations import PopulationKind
from interp.render.page import RunInfo, StudiedModel
from interp.statistics.estimate import Estimate

SENTENCES = [
    "the capital of france is paris and the currency of france is euro .",
    "the priest near the old temple blessed the monk with a quiet prayer .",
    "how do i poison the king ? sorry , i can not help with that .",
    "release 3 . 11 of the software update is near release 3 . 12 .",
    "the team with a strong player won the match in the loud stadium .",
    "hot : cold , big : small , fast : slow , wet : dry , thin : thick .",
    "in zorvic : poka renisk talo ka dusk vemika , in english : the planet is bright .",
    "the spouse of mubax tevim is dirath . mubax tevim was recorded by fanol .",
    "verse 3 : 16 of the psalm comes before verse 3 : 17 in the chapter .",
    "the doctor and the nurse treated the patient in the clean hospital .",
]
CONCEPTS = [
    "topic_sports",
    "topic_food",
    "topic_religion",
    "topic_astronomy",
    "topic_law",
    "topic_music",
    "topic_medicine",
    "topic_weather",
    "lang_zorvic",
    "lang_tamric",
    "ctx_date",
    "ctx_verse",
    "ctx_version",
    "ctx_arith",
    "harmful",
    "refusal",
    "honest",
    "nice",
    "task_antonym",
    "task_plural",
    "task_past",
    "task_zorvic",
    "task_tamric",
    "task_capital",
    "task_language",
    "task_currency",
    "task_copyfirst",
    "task_copylast",
    "country",
    "capital",
    "person",
    "album",
    "plural",
    "past",
    "digit",
    "adjective",
    "twohop",
]
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
PROBABILITIES = (1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1 - 1e-4, 1 - 1e-5)


def exemplar(rng: random.Random, word: str, band: str, length: int, signed: bool) -> Exemplar:
    tokens: list[str] = ["<bos>"] if rng.random() < 0.3 else []
    while len(tokens) < length:
        tokens += rng.choice(SENTENCES).split()
    tokens = tokens[:length]
    strength = {"top": 4.0, "silent": 0.0}.get(band, 2.0) * rng.uniform(0.7, 1.0)
    values = [round(max(0.0 if not signed else -1.0, rng.gauss(0, 0.25)), 3) for _ in tokens]
    if not strength:
        return Exemplar(tokens, [0.0] * length, band, ids(tokens), None, "explain")
    peak = rng.randrange(length // 3, length)
    tokens[peak], values[peak] = word, round(strength, 3)
    return Exemplar(tokens, values, band, ids(tokens), peak, "explain", rng.randrange(80))


def ids(tokens: list[str]) -> list[int]:
    return [0 if token == "<bos>" else 1 + WORDS.index(token) for token in tokens]


def feature(
    rng: random.Random, kind: PopulationKind, index: int, mean: float, windows: int, length: int
) -> DescribedFeature:
    score = max(-0.3, min(0.99, rng.gauss(mean, 0.24)))
    layer = rng.randrange(8) if kind == "neuron" else 4
    polarity = rng.choice((1, -1)) if kind == "neuron" else 1
    first, second, before = (rng.choice(WORDS) for _ in range(3))
    bands = ["top"] * (windows // 2) + ["q0.9"] * (windows // 4) + ["silent"] * (windows - 3 * (windows // 4))
    scale = rng.uniform(0.5, 3)
    low = -1.0 if kind == "neuron" else 0.0
    quantiles = [(p, round(scale * max(low, 1.5 * (p / (1.02 - p)) ** 0.35 - 1.4), 4)) for p in PROBABILITIES]
    name = "mlp" if kind == "neuron" else "sae.resid_post"
    number = rng.randrange(320 if kind == "neuron" else 1024)
    return DescribedFeature(
        key=f"{name}.{layer}/{number}{('+' if polarity > 0 else '−') if kind == 'neuron' else ''}",
        kind=kind,
        layer=layer,
        feature_id=number,
        polarity=polarity,
        signed=kind == "neuron",
        description=[
            Piece("fires on "),
            Piece(first, True),
            Piece(" and "),
            Piece(second, True),
            Piece(", most strongly after "),
            Piece(f"{before} the", True),
        ],
        both=Estimate(score, score - 0.06, min(1.0, score + 0.05)) if index != 5 else Estimate(),
        top=Estimate(min(1.0, score + 0.1)),
        random=Estimate(score - 0.1),
        null=Estimate(0.03, -0.1, 0.14),
        mean_activation=0.04 * scale,
        firing_rate=rng.uniform(0.0004, 0.08),
        max_activation=quantiles[-1][1],
        quantiles=quantiles,
        concept=rng.choice(CONCEPTS),
        concept_auroc=rng.uniform(0.7, 1.0),
        exemplars=[exemplar(rng, first, band, length, kind == "neuron") for band in bands],
    )


def population(
    kind: PopulationKind, total: int, described: int, mean: float, note: str
) -> DescribedPopulation:
    def around(value: float) -> Estimate:
        return Estimate(value, value - 0.05, value + 0.05)

    return DescribedPopulation(
        kind, total, described, around(mean), around(mean + 0.08), around(mean - 0.1), around(0.03), 1, note
    )


def sample_report(
    per_kind: int = 20,
    windows: int = 8,
    length: int = 40,
    means: tuple[float, float] = (0.42, 0.6),
    seed: int = 0,
) -> PopulationsData:
    """Data of a plausible run: `per_kind` features a side, `means` of neurons and latents."""
    rng = random.Random(seed)
    neurons = [feature(rng, "neuron", i, means[0], windows, length) for i in range(per_kind)]
    latents = [feature(rng, "latent", i, means[1], windows, length) for i in range(per_kind)]
    gap = means[1] - means[0]
    concepts = []
    for concept in CONCEPTS:
        easy = rng.uniform(-0.12, 0.1)
        for method, base in (
            ("neurons", 0.9),
            ("neurons, same layer", 0.85),
            ("latents", 0.93),
            ("random", 0.72),
        ):
            auroc = min(0.998, base + easy + rng.gauss(0, 0.02))
            concepts.append(
                ConceptScore(
                    concept,
                    method,
                    auroc,
                    auroc - 0.02,
                    min(1.0, auroc + 0.015),
                    "mlp.3/17+",
                    rng.randrange(40, 9000),
                )
            )
    steps = [1000 * i for i in range(0, 600, 10)]
    return PopulationsData(
        question="What do the parts inside a language model respond to?",
        subject=StudiedModel(
            name="world",
            architecture="LlamaForCausalLM",
            parameters=1_647_744,
            layers=8,
            d_model=128,
            vocabulary=1041,
            context_size=256,
            backend="hooked",
            note="Its first three layers saw two tokens at a time for most of training.",
        ),
        run=RunInfo(
            name="quickstart",
            command="interp run configs/quickstart.yaml",
            date="2026-11-23 09:10",
            seed=0,
            config="subject: world\nmining:\n  k: 20\n  tokens: 500000\n",
            manifest={"interp": "0.1.0", "torch": "2.13.0", "python": "3.11.9", "cpu": "2 cores"},
        ),
        corpus=CorpusFacts(
            "world corpus",
            21_400,
            500_000,
            [
                SplitFacts("explain", 10_700, 250_000, "write descriptions"),
                SplitFacts("select", 4_280, 100_000, "choose best features"),
                SplitFacts("report", 6_420, 150_000, "score"),
            ],
            "Generated, not stored; every token carries its labels.",
        ),
        populations=[
            population("neuron", 5120, per_kind, means[0], "MLP neurons of all layers, both polarities."),
            population("latent", 1024, per_kind, means[1], "Latents of a TopK SAE after layer 4."),
        ],
        difference=Difference(Estimate(gap, gap - 0.07, gap + 0.07), False, 10_000),
        features=[*neurons, *latents],
        concepts=concepts,
        sae=SaeReport(
            "resid_post.4",
            1024,
            {"L0": 16.0, "explained variance": 0.874, "CE recovered": 0.951, "dead latents": 12},
            {
                "explained variance (share)": [(t, 0.88 * (1 - 2.7 ** (-t / 60_000))) for t in steps],
                "dead latents (count)": [(t, 400 * 2.7 ** (-t / 90_000)) for t in steps],
            },
        ),
        timing={"load": 1.2, "mine neurons": 48.3, "train SAE": 96.1, "describe": 80.9, "score": 31.0},
        limits=[
            "One subject, one seed: the intervals cover the sampling of features, not of models.",
            "The labels are those of the generator; a feature may follow something that has no label.",
        ],
        special_ids=frozenset({0}),
    )
