"""A find as a session of the Monitor: the prompt, the reply, and what it was steered by."""

from interp.elicit.directions import FeatureDirection
from interp.elicit.proposal import Steer
from interp.elicit.search import Try
from interp.monitor.conversation import Conversation
from interp.monitor.session import Settings, State
from interp.monitor.steering import Card, FeatureCard, VectorCard, level_of
from interp.vectors.vector import Vector
from interp.web.elicit_kept import Kept


def monitor_state(kept: Kept, one: Try) -> State:
    """A session in which the prompt was said and the reply written, steered as it was.

    Where a direction is none that a card can hold, the prompt stands alone: unsteered, the model would not
    have replied so.
    """
    subject, frame = kept.target.subject, kept.target.frame
    talk = Conversation(chat=kept.target.chat).said("user", one.proposal.prompt)
    cards = cards_of(kept, one)
    tokens = subject.encode(one.reply) if one.reply and cards is not None else []
    if tokens and subject.decode(tokens) == one.reply:
        talk = talk.written(tokens)
    settings = Settings(max_new_tokens=frame.new_tokens, temperature=frame.temperature, seed=kept.asked.seed)
    return State(conversation=talk, settings=settings, cards=cards or ())


def cards_of(kept: Kept, one: Try) -> tuple[Card, ...] | None:
    """The cards that steer as a try was steered; None where cards cannot."""
    cards = [_card(kept, steer) for steer in one.proposal.steer]
    return None if None in cards else tuple(card for card in cards if card is not None)


def _card(kept: Kept, steer: Steer) -> Card | None:
    direction = kept.target.directions.get(steer.direction)
    if isinstance(direction, Vector):
        return VectorCard(
            kind="vector", name=direction.name, file=steer.direction, strength=float(steer.strength)
        )
    if isinstance(direction, FeatureDirection):
        card = FeatureCard(name=steer.direction, features=(direction.feature.key,))
        (known,) = kept.served.bench.knowledge.of([direction.feature.key]).values()
        quantile = known.quantiles.get(level_of(card.tail), 0.0)
        if quantile > 0:
            return card.model_copy(update={"strength": steer.strength * direction.unit / quantile})
    return None
