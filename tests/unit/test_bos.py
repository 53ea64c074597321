"""What enters a model: text after exactly one BOS, conversations exactly as their template gives them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from interp import subject as subjects
from interp.attribution.passes import laid_out, target_values
from interp.attribution.target import Target
from interp.causal.outcome import ask
from interp.causal.side_effects import neutral_prompts, side_effects
from interp.descriptions.evidence import Window
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.explainers.local import ANSWER, SYSTEM, LocalExplainer
from interp.descriptions.local_model import LocalModel
from interp.descriptions.scorers.intervention import Continuer
from interp.errors import UserError
from interp.subject import Site, Subject
from interp.subject.forward import ForwardPass
from interp.subject.read_at import read_at
from interp.vectors.refusal import refusal_candidates
from interp.vectors.requests import RequestFiles
from tests.parity.subject_folders import save_model, save_tokenizer

BOS = 0
SITE = Site("resid_post", 0)
ROLES = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
TURN = "{% if add_generation_prompt %}[assistant]{% endif %}"
TEMPLATES = {"with BOS": "{{ bos_token }}" + ROLES + TURN, "without BOS": ROLES + TURN}


@dataclass
class Watch:
    """An intervention that changes nothing, and writes down the text of each row that enters the model."""

    rows: list[list[int]] = field(default_factory=list)
    sites: tuple[Site, ...] = (SITE,)

    def check(self, forward: ForwardPass) -> None:
        pairs = zip(forward.tokens, forward.real, strict=True)
        self.rows += [tokens[real].tolist() for tokens, real in pairs]

    def apply(self, activation: Tensor, site: Site, forward: ForwardPass) -> Tensor:
        return activation


@pytest.fixture(scope="module", params=list(TEMPLATES))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = save_model("llama", tmp_path_factory.mktemp("chat"))
    save_tokenizer(folder, bos="<s>", adds_bos=True, chat_template=TEMPLATES[request.param])
    return subjects.load(folder, device="cpu")


def templated(subject: Subject, content: str) -> list[int]:
    """What `transformers` makes of a request."""
    messages = [{"role": "user", "content": content}]
    return list(subject.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"])


def continuer(subject: Subject, prompts: list[list[int]]) -> None:
    windows = [Window(np.array(row), np.zeros(len(row)), 0, np.ones(len(row), bool)) for row in prompts]
    Continuer.of_excerpts(subject, [Excerpt(window, ("x",) * len(window.tokens)) for window in windows], 2)


TEXT, IDS = ["one", "longer"], [[5, 6, 7], [BOS, 5, 6, 7, 8]]
WAYS: dict[str, Callable[[Subject], object]] = {
    "run": lambda s: s.run(TEXT),
    "run, spelled": lambda s: s.run(["<s>one", "longer"]),
    "generate": lambda s: s.generate(TEXT, 2),
    "attribution": lambda s: target_values(s, laid_out(s, TEXT), Target("logit", (5,))),
    "logits": lambda s: s.logits(*s.pad(IDS)),
    "read_at": lambda s: read_at(s, IDS, [SITE]),
    "continuer": lambda s: continuer(s, IDS),
    "encoded": lambda s: s.logits(*s.pad([s.encode("<s>one"), s.encode("one")])),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_text_enters_after_exactly_one_bos(subject: Subject, way: str) -> None:
    watch = Watch()
    with subject.intervene(watch):
        WAYS[way](subject)
    assert watch.rows
    assert all(row[0] == BOS and row.count(BOS) == 1 for row in watch.rows)


def test_two_bos_are_refused_where_tokens_enter(subject: Subject) -> None:
    doubled, mask = torch.tensor([[5, BOS, 6, 7], [9, BOS, BOS, 7]]), torch.tensor([[0, 1, 1, 1]] * 2)
    for enter in (
        lambda: subject.logits(doubled, mask),
        lambda: subject.read(doubled, [SITE], mask),
        lambda: subject.generate_ids(doubled, mask, 2),
        lambda: subject.run(doubled[1:, 1:]),
    ):
        with pytest.raises(UserError, match="begins with two beginning-of-sequence tokens"):
            enter()
    subject.logits(doubled[:1], mask[:1])
    subject.logits(torch.tensor([[BOS, 5, BOS, BOS]]))


@pytest.mark.parametrize("content", ["hi", "<s>hi", " hi "])
def test_a_conversation_is_what_its_template_gives(subject: Subject, content: str) -> None:
    watch = Watch()
    asked = subject.chat([{"role": "user", "content": content}])
    with subject.intervene(watch):
        subject.generate(asked, max_new_tokens=1)
    assert asked.tolist() == watch.rows == [templated(subject, content)]


def test_requests_are_what_their_template_gives(subject: Subject, tmp_path: Path) -> None:
    texts = {kind: [f"{kind} {n}" for n in "abcde"] for kind in ("bad", "good")}
    for kind, lines in texts.items():
        (tmp_path / f"{kind}.txt").write_text("\n".join(lines))
    source = RequestFiles(
        harmful=tmp_path / "bad.txt", harmless=tmp_path / "good.txt", begins=("!",), train=2, validate_on=2
    )
    parts = source.open(subject).harmful
    asked = [*parts.train, *parts.validation, *parts.report]
    prompts = [question.prompt for question in asked]
    watch = Watch()
    with subject.intervene(watch):
        ask(subject, asked)
        side_effects(subject, neutral_prompts(subject, prompts), ())
        refusal_candidates(subject, prompts, prompts[::-1])
        subject.logits(*subject.pad(prompts))
    expected = [templated(subject, text) for text in texts["bad"]]
    assert len(watch.rows) == 5 + 2 * 5 + 2 * 5 + 5
    assert all(row in expected for row in watch.rows)


def test_a_local_explainer_is_asked_what_its_template_gives(subject: Subject) -> None:
    model = LocalModel.load(subject.info.folder)
    model.model.config.max_position_embeddings = 1000  # room for a prompt in bytes; nothing is run
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "{{x}}"}]
    expected = model.tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert LocalExplainer(model).prompt_ids("{{x}}") == [*expected, *model.encode(ANSWER)]
