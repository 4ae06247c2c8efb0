"""How far behind the air the boards are, and how much more slowly to send for it (PROTOCOL.md section 8).

Who sends more than an access point, or the boards, can take fills queues before anything is lost: a board's
reports then know of ever older DATA only. What a lost datagram does to a lag is small, so loss slows nothing.
"""

from __future__ import annotations

ALLOWED_S = 0.06  # more than the least that there was: an access point may keep multicast for a while
ALLOWED_DATAGRAMS = 40  # the same at a slow rate; beyond it, twice the time between two for as much again
SLOWEST_TIMES = 16.0  # whatever members claim, they slow a session no further
EVERY_S = 0.05
RECENT_S = 1.0
WEIGHT = 0.5
HOLDS_TIMES = 2  # a lag: by then what was waiting has been taken, and nobody may have told


class Lags:
    """What the reports of the members' hosts say. air_s: the least time for a datagram."""

    def __init__(self, air_s: float) -> None:
        self.interval_s = 0.0  # between two datagrams; 0: no limit
        self.smooth_s = 0.0  # of the median board
        self._air_s = air_s
        self._allowed_s = max(ALLOWED_S, ALLOWED_DATAGRAMS * air_s)
        self._holds_until = float("inf")
        self._latest: dict[str, tuple[float, float]] = {}  # of members' hosts: the lag, when it was told
        self._least_s = float("inf")  # what the way there and back takes without a queue
        self._worked_out_at = float("-inf")

    def tell(self, host: str, lag_s: float, now: float) -> None:
        """The latest report from `host` knew nothing of what was sent for so long."""
        self._latest[host] = (lag_s, now)
        if now >= self._worked_out_at + EVERY_S:
            self._worked_out_at = now
            self._work_out(now)

    def end(self) -> None:
        """The stream is over: what is sent now is sent when it is asked for, and old news say nothing."""
        self._latest.clear()
        self.interval_s = self.smooth_s = 0.0

    def expire(self, now: float) -> bool:
        """End a limit that nobody has confirmed for so long; whether one has ended."""
        if not self.interval_s or now < self._holds_until:
            return False
        self.interval_s = 0.0
        self.smooth_s = self._least_s
        return True

    def drop(self, host: str) -> None:
        """It is done, or gone."""
        self._latest.pop(host, None)

    def _work_out(self, now: float) -> None:
        lags = sorted(lag for lag, at in self._latest.values() if at > now - RECENT_S)
        lag_s = lags[len(lags) // 2]
        self._least_s = min(self._least_s, lag_s)
        self.smooth_s += (lag_s - self.smooth_s) * WEIGHT
        over = self.smooth_s - self._least_s - self._allowed_s
        times = min(2 ** (over / self._allowed_s), SLOWEST_TIMES) if over > 0 else 0.0
        self.interval_s = self._air_s * times
        self._holds_until = now + HOLDS_TIMES * self.smooth_s
