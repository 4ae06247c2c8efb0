"""What the client tells the world while it works. This one prints a line now and then."""


class Progress:
    """Subclass it to watch a board; every method may be left as it is."""

    def note(self, text):
        """Something an operator may want to read."""
        print("gapcast:", text)

    def started(self):
        """The first request is about to be sent."""

    def header(self, header):
        """The server offers this image (container.Header)."""
        print("gapcast: image %s %s" % (header.name, header.version))

    def phase(self, name, gaps):
        """`name` is master, listener, unicast or repair; `gaps` the GapList, or None before it."""

    def blocks(self, gaps):
        """About five times a second while blocks come in."""

    def stream_over(self, gaps, receiver):
        """A multicast session ended; `gaps` is what it left."""
        print(
            "gapcast: stream over, %d blocks in %d gaps missing" % (gaps.missing_blocks(), gaps.gap_count())
        )

    def verified(self, transfer):
        """Every chunk in flash has the right digest (or the raw file is complete)."""

    def bad_chunks(self, count):
        """So many chunks failed their digest and are fetched again."""
        print("gapcast: %d chunks damaged, fetching them again" % count)

    def kept(self, blocks, total):
        """So many of the container's blocks were right in flash before anything was asked for."""
        print("gapcast: %d of %d blocks are in flash already" % (blocks, total))

    def unsigned(self):
        """The image has no signature of a trusted key; this board is set up to take it all the same."""
        print("gapcast: this image is not signed by a trusted key")

    def confirmed(self, version):
        """The running image is kept from now on."""
        print("gapcast: %s confirmed" % version)

    def rolled_back(self, version, reason):
        """The image before this boot was given up; reason None: it is tried again."""
        print("gapcast: %s rolled back: %s" % (version, reason or "power lost, trying again"))

    def result(self, outcome, detail):
        """How pre-boot ended: updated, on_trial, up_to_date, rolled_back, refused, failed."""
        print("gapcast: %s %s" % (outcome, detail))
