"""What lenses read in one text: which lenses there are, and a word along the layers beside words like it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.inspection.evidence import Texts
from interp.lenses.distribution import LogProbabilities
from interp.lenses.lens_file import KINDS, load_lens
from interp.lenses.logit_lens import Lens, LogitLens
from interp.lenses.prompt import Prompt
from interp.lenses.residual_stream import read_stream, stream_site
from interp.lenses.tuned_lens import TunedLens, train_tuned_lens
from interp.lenses.view import LensView, lens
from interp.monitor.bench import Bench
from interp.monitor.conversation import Conversation
from interp.statistics.estimate import central
from interp.subject.subject import Subject
from interp.subject.text import Conversation as OfTemplate
from interp.tensors import opened

LOGIT, FITTED = "logit", "fitted"
"""The names of the lens without training, and of the one that is fitted here."""
MOST_TOKENS = 256
"""Tokens of a text that a grid shows."""
NULL_WORDS = 20
"""Words that a target's curve is held against."""
FIT_SECONDS, FEWEST_STEPS, MOST_STEPS = 40.0, 10, 100
FIT_TOKENS, TOKENS_PER_STEP = 8192, 1024


def text_ids(subject: Subject, text: str, chat: bool) -> Sequence[int]:
    """The tokens of a plain text, or of a user's turn in the chat template, as the model reads them.

    Raises:
        UserError: the text is empty, too long for a grid, or the model does not know it; or has no template.
    """
    if not text.strip():
        raise UserError("there is no text", "prompt", "write one")
    if chat and not subject.tokenizer.chat_template:
        raise UserError("the model has no chat template", "chat", "read it as plain text")
    said = Conversation(chat=chat).said("user", text).tokens(subject)
    ids = OfTemplate(said) if chat else subject.with_bos(said)
    most = min(MOST_TOKENS, subject.n_ctx)
    if len(ids) > most:
        raise UserError(f"the text has {len(ids):,} tokens", "prompt", f"shorten it to {most:,}")
    return ids


@dataclass(frozen=True)
class Fitted:
    """A tuned lens that was fitted here, and its KL to the output in nats, the mean over layers.

    `before` is that of the logit lens. Both are on text that it was fitted on, so `after` is on the low side.
    """

    lens: TunedLens
    steps: int
    before: float
    after: float


@dataclass
class Lenses:
    """The lenses of a bench: the logit lens, those in some folders, and a tuned one that is fitted here."""

    bench: Bench
    folders: Sequence[Path] = ()
    fitted: Fitted | None = None
    _opened: dict[str, Lens] = field(default_factory=dict)

    def files(self) -> dict[str, Path]:
        """The files of lenses for this model, by the folder and the file that they are called by."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for file in sorted({*folder.glob("*.safetensors"), *folder.glob("*/lens/*_lens.safetensors")}):
                if file.resolve().is_relative_to(folder.resolve()) and self._is_lens(file):
                    found.setdefault(file.relative_to(folder).as_posix(), file)
        return found

    def open(self, name: str) -> Lens:
        """A lens by its name: `LOGIT`, `FITTED` or a file.

        Raises:
            UserError: there is none of this name, or its file cannot be used.
        """
        if name == LOGIT:
            return LogitLens(self.bench.subject)
        if name == FITTED and self.fitted is not None:
            return self.fitted.lens
        if name not in self._opened:
            file = self.files().get(name)
            if file is None:
                fix = "fit it again" if name == FITTED else "choose another one"
                raise UserError(f"there is no lens {name!r} here", "lens", fix)
            self._opened = {name: load_lens(file, self.bench.subject)}  # one at a time: they are large
        return self._opened[name]

    def fit(self, progress: Callable[[int, int], None] | None = None) -> Fitted:
        """Fits a tuned lens on text of the bench in about `FIT_SECONDS`, and keeps it.

        It begins from least squares, and then descends in KL. `progress` is told the step and the steps.

        Raises:
            UserError: it would take much longer.
        """
        subject, corpus = self.bench.subject, Texts(self.bench).any()
        seen: list[float] = []

        def told(step: int, kl: Float[np.ndarray, " layer"]) -> None:
            seen.append(float(kl.mean()))
            if progress is not None and step:
                progress(step, steps)

        start, steps = time.monotonic(), 1
        train_tuned_lens(subject, corpus, steps=1, tokens_per_step=TOKENS_PER_STEP, progress=told)
        each = time.monotonic() - start
        steps = min(MOST_STEPS, int(FIT_SECONDS / each))
        if steps < FEWEST_STEPS:
            raise UserError(
                f"a step takes {each:.0f} seconds here, and it needs many",
                "fitting a tuned lens",
                "train one with `interp run logit_lens`, whose lens is then offered here",
            )
        found = train_tuned_lens(
            subject, corpus, steps=steps, tokens_per_step=TOKENS_PER_STEP, fitted_tokens=FIT_TOKENS,
            progress=told,
        )  # fmt: skip
        last = seen[-min(5, steps) :]
        self.fitted = Fitted(found, steps, seen[0], sum(last) / len(last))
        return self.fitted

    def read(self, name: str, ids: Sequence[int], targets: Sequence[str] = ()) -> LensView:
        """Reads a text through a lens of this name (`interp.lens`).

        Raises:
            UserError: as `open` and `interp.lens`.
        """
        return lens(self.bench.subject, ids, targets, lens=self.open(name))

    def curves(self, name: str, ids: Sequence[int], place: int, targets: Sequence[str]) -> list["Curve"]:
        """Follows words through the layers at token `place`, each beside words that are as likely elsewhere.

        Raises:
            UserError: as `open`; there is no such token; or a word is not one token.
        """
        subject, used = self.bench.subject, self.open(name)
        check_place(ids, place)
        tokens = [subject.single_token(word, "targets", ids) for word in targets]
        before = tuple(ids[: place + 1])
        alike = [like_words(self.expected, token, subject, tokens) for token in tokens]
        wanted = torch.tensor([[token, *others] for token, others in zip(tokens, alike, strict=True)])
        stream = read_stream(subject, [Prompt(before)])
        rows = [_at(used, vectors, layer, wanted) for layer, vectors in stream.items()]
        probability, rank = (np.stack([row[part] for row in rows]) for part in (0, 1))
        return [
            Curve(token, tuple(stream), probability[:, i], rank[:, i], tuple(alike[i]))
            for i, token in enumerate(tokens)
        ]

    @cached_property
    def expected(self) -> Float[np.ndarray, " d_vocab"] | None:
        """How likely the model finds each token after neutral texts, on average; None without them."""
        neutral, subject = self.bench.neutral, self.bench.subject
        if neutral is None:
            return None
        with torch.inference_mode():
            mean = torch.stack([subject.unembed(row[None]).float().softmax(-1)[0] for row in neutral.normed])
        return mean.mean(0).double().cpu().numpy()

    def _is_lens(self, file: Path) -> bool:
        try:
            with opened(file, "") as read:
                said: Mapping[str, str] = read.metadata() or {}
        except UserError:
            return False
        return said.get("format") in KINDS and said.get("subject") == self.bench.subject.name


@dataclass(frozen=True, eq=False)
class Curve:
    """A word at one token, by layer from the embedding; rank 0 is the likeliest.

    In `probability` and `rank` [layer, word] the first column is the word's own, the others are `like`.
    """

    token: int
    layers: tuple[int, ...]
    probability: Float[np.ndarray, "layer word"]
    rank: Int[np.ndarray, "layer word"]
    like: tuple[int, ...]

    def null(
        self, values: Float[np.ndarray, "layer word"] | Int[np.ndarray, "layer word"]
    ) -> Iterator[tuple[float, float]]:
        """The central 95% of the other words in each layer."""
        for row in values:
            yield central(row[1:].astype(float))


def check_place(ids: Sequence[int], place: int) -> None:
    """Raises UserError if a text has no such token."""
    if not 0 <= place < len(ids):
        raise UserError(f"the text has no token {place}", "place", f"use one from 0 to {len(ids) - 1}")


def like_words(
    expected: Float[np.ndarray, " d_vocab"] | None,
    token: int,
    subject: Subject,
    without: Sequence[int] = (),
    seed: int = 0,
) -> list[int]:
    """The `NULL_WORDS` tokens that are about as likely as one in general; drawn at random if that is unknown.

    They are those next to it in order of `expected`, half of them on each side where there are so many.
    """
    barred = {token, *without, *subject.special_ids}
    order = (
        np.random.default_rng(seed).permutation(subject.d_vocab) if expected is None else expected.argsort()
    )
    order = order[[int(one) == token or int(one) not in barred for one in order]]
    at = int(np.flatnonzero(order == token)[0]) if token in order else 0
    first = max(0, min(at - NULL_WORDS // 2, len(order) - NULL_WORDS - 1))
    return [int(one) for one in order[first : first + NULL_WORDS + 1] if int(one) != token][:NULL_WORDS]


@torch.inference_mode()
def _at(
    used: Lens, vectors: Float[Tensor, "1 d_model"], layer: int, wanted: Int[Tensor, "target word"]
) -> tuple[Float[np.ndarray, "target word"], Int[np.ndarray, "target word"]]:
    found = LogProbabilities.of(used.logits(vectors, stream_site(layer)))
    logits, probability = found.logits[0].cpu(), found.probability[0].cpu()
    own = logits[wanted]
    rank = torch.stack([torch.stack([(logits > one).sum() for one in row]) for row in own])
    return probability[wanted].double().numpy(), rank.numpy()
