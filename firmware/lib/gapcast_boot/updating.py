"""An image that may go into this board: fetch what is missing, verify, make it the one to boot."""

from gapcast_core import wire

from . import flash, port, trial
from .proof import Proof
from .refusal import Refused
from .transfer import Transfer, TransferError

VERIFY_ROUNDS = 5  # the digest table, two streams, twice by unicast: what is bad after that is bad flash
STREAM_ROUNDS = 2  # who forges in one stream may do so in the next
STREAM_SHARE = 4  # more than a quarter of the chunks are bad: others may well miss the same ones


class Update:
    """One update of the slot that is not running.

    link: (server, local_ip, clock, progress). names: what to ask for, and its older name.
    head: the container's first block.
    """

    def __init__(self, link, names, config, journal, header, slot, head):
        server, local_ip, clock, self._progress = link
        self._fallback_name = names[1]
        self._header = header
        self._slot = slot
        self._journal = journal
        self._anew = config["retry_failed"] is True
        self._sink = flash.SlotSink(slot, header, head)
        self._transfer = Transfer(
            server,
            local_ip,
            names[0],
            self._sink,
            clock,
            self._progress,
            config["stall_ms"],
            header.container_bytes,
        )
        self._transfer.download.proof = Proof(self._sink, header, self._transfer.download)

    def run(self, content, signed):
        """Raises Refused, TransferError, FlashError, OSError; returns when the new image is to boot."""
        transfer = self._transfer
        try:
            self._keep_what_is_there()
            port.drop("gapcast_boot.salvage")
            self._named(transfer.run)
            proven = self._is_proven()
            if not proven:
                self._verify()
            self._progress.verified(transfer)
        finally:
            transfer.close()
        if not (proven or self._sink.image_matches()):
            raise Refused("bad_image", "what the header says of the whole image is not so")
        trial.start(self._journal, self._header, content, signed, self._slot, self._anew)

    def _keep_what_is_there(self):
        from .salvage import Salvage

        transfer = self._transfer
        gaps = Salvage(self._sink, self._header, self._journal).derive(self._fetch_table)
        if gaps is not None:
            transfer.download.preset(gaps)
            self._progress.kept(gaps.total - gaps.missing_blocks(), gaps.total)

    def _fetch_table(self, gaps):
        self._transfer.download.preset(gaps)
        return self._transfer.ranges_known and self._named(self._transfer.run_ranges)

    def _named(self, run):
        """run(), and once more by the older name when the server does not know `gap/ID`."""
        try:
            return run()
        except TransferError as exc:
            if exc.code != wire.ERR_NOT_FOUND:
                raise
            self._transfer.rename(self._fallback_name)
            return run()

    def _is_proven(self):
        """Whether the image's digest is right, most of which is known already."""
        download = self._transfer.download
        proof = download.proof
        holds = proof.holds()
        download.proof = None
        return holds

    def _verify(self):
        """Check every chunk against the table; fetch bad ones again, a bounded number of times."""
        sound = bytearray((self._header.chunks + 7) // 8)
        streams = STREAM_ROUNDS
        for _round in range(VERIFY_ROUNDS):
            port.collect()
            bad = 0
            for offset, size_bytes in self._sink.bad_chunks(sound):
                self._sink.erase(offset, size_bytes)
                self._transfer.download.mark_missing(offset, size_bytes)
                bad += 1
            if not bad:
                return
            self._progress.bad_chunks(bad)
            by_stream = streams and bad * STREAM_SHARE > self._header.chunks
            streams -= bool(by_stream)
            self._transfer.run_again(by_stream)
        for _bad in self._sink.bad_chunks(sound):
            raise flash.FlashError("chunks still damaged after %d rounds" % VERIFY_ROUNDS)
