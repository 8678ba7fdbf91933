"""A clock for tests whose wall clock was set back, so that it stands still (C8)."""

from __future__ import annotations

import asyncio

from qdwell.clock import ManualClock


class Standing(ManualClock):
    """A clock that shows one instant from `set_back` on, while its stopwatch goes on."""

    stands = False

    def now(self) -> int:
        """The instant at which it stands, or the one it was moved to."""
        if not self.stands:
            self._stood = super().now()
        return self._stood

    def set_back(self) -> None:
        """Stand still from now on."""
        self.now()
        self.stands = True

    async def sleep_until(self, at: int) -> None:
        """Never, for an instant that is not reached."""
        if self.stands and at > self.now():
            await asyncio.get_running_loop().create_future()
        await super().sleep_until(at)

    async def pause_ns(self, ns: int) -> None:
        """By the stopwatch."""
        await super().sleep_until(super().now() - -ns // 1_000_000)
