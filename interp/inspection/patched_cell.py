"""A patchscope of one token's state, beside random vectors of its length and another token's state."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.inspection.lens import check_place
from interp.lenses.distribution import likeliest
from interp.lenses.patch import Patch
from interp.lenses.patchscopes import open_target_prompts
from interp.lenses.prompt import Prompt
from interp.lenses.prompt_batches import next_normed, patched_continuations
from interp.lenses.residual_stream import EMBEDDING, read_stream, stream_site
from interp.subject.subject import Subject

RANDOM, SHOWN, NEW_TOKENS = 3, 5, 6


@dataclass(frozen=True)
class Decoded:
    """What an identity prompt makes of one vector: the likeliest next tokens, and what it writes.

    `top` are tokens with their probabilities; `of_own` is the probability of the state's own likeliest token.
    """

    what: str
    top: tuple[tuple[int, float], ...]
    text: str
    of_own: float


@dataclass(frozen=True)
class Patched:
    """The state first, then its controls; `target` is the prompt into whose `placeholder` they were put."""

    target: str
    placeholder: str
    decoded: tuple[Decoded, ...]

    @property
    def is_guess(self) -> bool:
        """Whether a control has the state's likeliest token, too, or makes it as likely."""
        own, *controls = self.decoded
        return any(one.top[0][0] == own.top[0][0] or one.of_own >= own.of_own for one in controls)


def decode_state(subject: Subject, ids: Sequence[int], layer: int, place: int, seed: int = 0) -> Patched:
    """Puts the state of token `place` after a layer into an identity prompt, at the same layer.

    The controls are `RANDOM` vectors of its length, and the state of another token of the text.

    Raises:
        UserError: there is no such layer or token, or the prompt's placeholder is no token of the model.
    """
    check_place(ids, place)
    if not EMBEDDING <= layer < subject.n_layers:
        raise UserError(f"there is no layer {layer}", "layer", f"use -1 to {subject.n_layers - 1}")
    scopes = open_target_prompts("world" if subject.info.speaks_world else "published")
    target = scopes.prompt(subject, scopes.identity, NEW_TOKENS)
    others = [at for at, one in enumerate(ids) if one != ids[place] and one not in subject.special_ids]
    generator = torch.Generator().manual_seed(seed)
    asked = [place, *(others[i] for i in torch.randperm(len(others), generator=generator)[:1].tolist())]
    states = read_stream(subject, [Prompt(tuple(ids), at - len(ids)) for at in asked])[layer]
    drawn = torch.randn(RANDOM, states.shape[-1], generator=generator)
    drawn *= states[0].norm().cpu() / drawn.norm(dim=-1, keepdim=True)
    vectors = torch.cat([states[:1].cpu(), drawn, states[1:].cpu()])
    change = Patch(stream_site(layer), vectors, rescaled=layer == EMBEDDING)
    prompts = [target] * len(vectors)
    probability = _after(subject, prompts, change)
    texts = patched_continuations(subject, prompts, NEW_TOKENS, change)
    names = ["this state", *(f"random vector {i + 1}" for i in range(RANDOM))]
    names += [f"the state of token {at}" for at in asked[1:]]
    best = int(probability[0].argmax())
    values, tokens = likeliest(probability, SHOWN)
    found = (
        Decoded(what, tuple(zip(ids_, p, strict=True)), text, float(row[best]))
        for what, ids_, p, text, row in zip(
            names, tokens.tolist(), values.tolist(), texts, probability, strict=True
        )
    )
    return Patched(scopes.identity, scopes.placeholder, tuple(found))


@torch.inference_mode()
def _after(subject: Subject, prompts: Sequence[Prompt], change: Patch) -> Float[Tensor, "prompt d_vocab"]:
    return subject.unembed(next_normed(subject, prompts, change)).float().softmax(-1).cpu()
