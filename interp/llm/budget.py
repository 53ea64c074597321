"""A limit on spending that calls in flight cannot exceed together: each reserves what it may use."""

import asyncio

from interp.errors import UserError
from interp.llm.endpoint import Endpoint


class BudgetSpent(UserError):
    """Nothing more may be sent; what was answered is kept."""


class Budget:
    """The tokens and the money of one endpoint and run.

    A call reserves what it may use at most before it is sent, and gives back what it did not use. One that
    does not fit while others are in flight waits for what they give back.
    """

    def __init__(self, endpoint: Endpoint, tokens: int = 0, usd: float | int = 0) -> None:
        """Start with what was spent before."""
        self._endpoint = endpoint
        self.tokens = tokens
        self.usd = float(usd)
        self._reserved_tokens = 0
        self._reserved_usd = 0.0
        self._waiting: list[asyncio.Future[None]] = []

    async def reserve(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Reserve what a call may use at most, once calls in flight have given enough back.

        Raises:
            BudgetSpent: it does not fit, and nothing in flight can make room.
        """
        tokens = prompt_tokens + completion_tokens
        usd = self._endpoint.usd(prompt_tokens, completion_tokens) or 0.0
        while not self._fits(tokens, usd):
            if not self._reserved_tokens:
                raise self.spent()
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(room)
            await room
        self._reserved_tokens += tokens
        self._reserved_usd += usd

    def settle(self, prompt_tokens: int, completion_tokens: int, used: tuple[int, int]) -> None:
        """Give back a reservation and count what was used instead."""
        self._reserved_tokens -= prompt_tokens + completion_tokens
        self._reserved_usd -= self._endpoint.usd(prompt_tokens, completion_tokens) or 0.0
        self.tokens += sum(used)
        self.usd += self._endpoint.usd(*used) or 0.0
        waiting, self._waiting = self._waiting, []
        for room in waiting:
            if not room.done():
                room.set_result(None)

    def spent(self) -> BudgetSpent:
        """Make the error that says how much of each limit is used."""
        limits = []
        if self._endpoint.budget_tokens is not None:
            limits.append(f"{self.tokens:,} of {self._endpoint.budget_tokens:,} tokens")
        if self._endpoint.budget_usd is not None:
            limits.append(f"{self.usd:.4g} of {self._endpoint.budget_usd:.4g} USD")
        return BudgetSpent(
            f"the budget is spent: {' and '.join(limits)} used, and the next call may not fit",
            f"endpoint {self._endpoint.model} at {self._endpoint.host}",
            "raise budget_tokens or budget_usd and run the same command again; what was answered is kept",
        )

    def _fits(self, tokens: int, usd: float) -> bool:
        most_tokens, most_usd = self._endpoint.budget_tokens, self._endpoint.budget_usd
        return (most_tokens is None or self.tokens + self._reserved_tokens + tokens <= most_tokens) and (
            most_usd is None or self.usd + self._reserved_usd + usd <= most_usd
        )
