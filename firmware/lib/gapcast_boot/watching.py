"""Look for a new image while the application runs, and reset into pre-boot at a moment that it allows.

`gapcast_boot.watch` is what applications call. The server is asked now and then, and sooner when it
announces an image (PROTOCOL.md section 13). Nobody's word is taken for anything: an announcement is
only a reason to ask, and what the server answers is judged here as pre-boot judges it, which then
does so again. So whoever forges can cost a few questions, and no reset.

The application's event loop is never held up for long: sockets are looked at, not waited in. What
takes longer are the check of a new header's signature (some tenths of a second, once for each
header) and the look-up of a server that the settings give by name.
"""

import asyncio
import binascii

import machine

from gapcast_core import container
from gapcast_core.errors import GapcastError, PeerError

from . import flash, health, port
from .journal import Journal
from .refusal import Refused
from .watching_hearing import Budget, Hearing
from .watching_question import fetch_header

POLL_MS = 250
MIN_EVERY_MS = 100
ALLOW_EVERY_MS = 3000
SPREAD_MS = 2000  # at least: a whole fleet hears the same announcement
HOLD_MS = 4000  # found before it was announced: the others hear of it in a moment
FRESH_MS = 20000  # so old an answer may be to reset for it
# Questions for announcements: so many at once, then one in so long, whatever is announced by whomever.
BURST_QUESTIONS = 3
QUESTION_MS = 60000
MAX_TOLD = 8  # errors that are printed, each once
_JUDGING = ("gapcast_boot.judge", "gapcast_core.signature", "gapcast_core.appimage")

# What happened so far, for applications that want to know. refused: headers that pre-boot would not take.
counts = {"announcements": 0, "questions": 0, "offers": 0, "refused": 0, "errors": 0}


class Offer:
    """An image that pre-boot would take. id: its content id, 32 hex digits."""

    def __init__(self, header, content_id, signed):
        self.version = header.version
        self.counter = header.counter
        self.image_bytes = header.image_bytes
        self.id = content_id
        self.signed = signed


class Watch:
    """What `gapcast_boot.watch` does. counts of the module are shared by all."""

    def __init__(self, allow, every_ms):
        self._allow = allow
        self._every_ms = max(every_ms, MIN_EVERY_MS)
        self._clock = port.Clock()
        self._told = []
        self._server = None
        self._nic = None
        self.hearing = Hearing(self._hint, self._tell)
        self._budget = Budget(BURST_QUESTIONS, QUESTION_MS)
        # Boards that were switched on together have just asked, together.
        self._ask_ms = self._every_ms * port.random_16() >> 16
        self._answered_ms = 0
        self._seen = None  # content id of the last header, judged
        self._announced = None  # content id that is going to be asked for
        self._denied = None  # content id that was announced, but not by our server
        self._meet_ms = 0  # when those that heard it come in together
        self._met = False
        self._offer = None
        self._come_ms = 0  # not before

    async def run(self):
        """For ever."""
        try:
            while True:
                await asyncio.sleep_ms(POLL_MS)
                try:
                    if self._look():
                        await self._act()
                except Exception as exc:  # the application goes on, and so does this
                    self._tell(exc)
        finally:
            self.hearing.leave()

    # -- each poll: allocates nothing while nothing happens ---------------------------------

    def _look(self):
        """True when something is due."""
        if health.on_trial():
            return False  # its fallback is in the other slot
        now_ms = self._clock.now_ms()
        if self._nic is None:
            self._nic = health.interface()
        if not self._nic.isconnected():
            self.hearing.leave()  # a membership does not outlive the connection
            return False
        self.hearing.look(self._nic, now_ms)
        return now_ms >= self._ask_ms or (self._offer is not None and now_ms >= self._come_ms)

    # -- announcements ----------------------------------------------------------------------

    def _hint(self, content_id, wait_ms, now_ms):
        """Somebody says that our image is this one now, and that boards come in after `wait_ms`."""
        counts["announcements"] += 1
        if self._offer is not None and content_id == self._offer.id:
            self._meet(now_ms + wait_ms)
            return
        is_known = content_id in (self._seen, self._denied)
        if is_known or self._announced is not None or not self._budget.take(now_ms):
            return
        self._announced = content_id
        self._meet_ms = now_ms + wait_ms
        spread_ms = max(SPREAD_MS, wait_ms * 3 // 4)
        self._ask_ms = min(self._ask_ms, now_ms + (spread_ms * port.random_16() >> 16))

    def _meet(self, meet_ms):
        """Come in then, with the others. Believed once: nobody can put it off again and again."""
        if not self._met:
            self._met = True
            self._come_ms = max(self._come_ms, meet_ms)

    # -- asking -----------------------------------------------------------------------------

    async def _act(self):
        if self._clock.now_ms() >= self._ask_ms:
            await self._ask()
        if self._offer is not None and self._clock.now_ms() >= self._come_ms:
            await self._come_in()

    async def _ask(self):
        """One question, and a verdict on the header that is its answer."""
        now_ms = self._clock.now_ms()
        self._ask_ms = now_ms + self._every_ms * 3 // 4 + (self._every_ms * port.random_16() >> 17)
        announced = self._announced
        self._announced = None
        counts["questions"] += 1
        raw = await self._fetch()
        self._answered_ms = self._clock.now_ms()
        content_id = None if raw is None else container.content_id(raw)
        if content_id == self._seen:
            if announced is not None and announced != content_id:
                self._denied = announced
            return
        self._offer = self._denied = self._seen = None  # until it is judged, whatever is raised here
        offer = None if raw is None else self._judged(raw, content_id)
        if offer is not None:
            self._accept(offer, announced == content_id)
        self._seen = content_id

    async def _fetch(self):
        """The header's bytes, None when the server has no image. Raises PeerError, OSError, ValueError."""
        config = health.settings()
        if not config["server"] or not config["image"]:
            raise ValueError("no server and image in gapcast.json")
        if self._server is None:
            self._server = port.resolve(config["server"], config["port"])
        local_ip = self._nic.ifconfig()[0]
        try:
            return await fetch_header(self._server, local_ip, self._clock, config["image"])
        except PeerError as exc:
            if exc.reason == "no_answer":
                self._server = None  # it may have another address by now
            raise

    def _judged(self, raw, content_id):
        """The Offer in a header; None when there is nothing to do, or pre-boot would refuse it."""
        header = container.parse_header(raw)
        if flash.runs(header):
            return None
        try:
            from .judge import judge

            content = binascii.unhexlify(content_id)
            signed = judge(raw, header, content, health.settings(), Journal())[0]
        except Refused as exc:
            counts["refused"] += 1
            self._say("%s %s: %s" % (header.name, header.version, exc))
            return None
        finally:
            port.drop(*_JUDGING)
        return Offer(header, content_id, signed)

    def _accept(self, offer, was_announced):
        counts["offers"] += 1
        now_ms = self._clock.now_ms()
        self._met = was_announced
        self._come_ms = max(now_ms, self._meet_ms) if was_announced else now_ms + HOLD_MS
        from . import watching_resets

        retry_ms = watching_resets.wait_ms(Journal(), binascii.unhexlify(offer.id))
        if retry_ms:  # it has not helped so far
            self._met = True
            self._come_ms = max(self._come_ms, retry_ms)
        self._offer = offer

    # -- coming in --------------------------------------------------------------------------

    async def _come_in(self):
        """Reset, if the application allows it and the server still offers it."""
        offer = self._offer
        self._come_ms = self._clock.now_ms() + ALLOW_EVERY_MS
        if not await self._is_allowed(offer):
            return
        now_ms = self._clock.now_ms()
        if now_ms - self._answered_ms > FRESH_MS:
            self._come_ms = now_ms + self._every_ms  # without an answer there is nothing to reset for
            await self._ask()
        if self._offer is not offer or health.on_trial():
            return  # withdrawn, or another one, which the application has to allow anew
        from . import watching_resets

        watching_resets.note(Journal(), binascii.unhexlify(offer.id))
        machine.reset()

    async def _is_allowed(self, offer):
        if self._allow is None:
            return True
        allowed = self._allow(offer)
        if hasattr(allowed, "send"):  # of a coroutine function
            allowed = await allowed
        return allowed

    # -- what goes wrong --------------------------------------------------------------------

    def _tell(self, exc):
        counts["errors"] += 1
        if isinstance(exc, GapcastError) and exc.args and exc.args[0] == "no_answer":
            self._say("the server does not answer")
        else:
            self._say("%s: %s" % (type(exc).__name__, exc))

    def _say(self, text):
        """Print it, the first time."""
        if text not in self._told and len(self._told) < MAX_TOLD:
            self._told.append(text)
            print("gapcast: watch:", text)
