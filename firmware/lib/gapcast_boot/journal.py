"""What must outlive a power cut besides the slots: a few values in NVS.

Each set is atomic in itself; what may stand between two of them is each caller's business. All
values are blobs. NVS of an OTA table is 16 KiB: what is kept here is below 1 KiB.

    prepared  which image the other slot is being filled with, and how far erasing got
    trial     the image that was made the one to boot and is not confirmed yet
    failed    images that were rolled back         counter   the anti-rollback counter, u32
    reason    why the trial ended badly            error     the last failure of pre-boot
    seq       of reports, u32                      news      a report that is not delivered yet
    told      what the last report was about, so that the same is not told at every boot
    watch     how often the running firmware was reset for an image, and for which (watching_resets.py)
"""

import struct

import esp32

NAMESPACE = "gapcast"
ID_BYTES = 16  # of a digest of a table, and of a content id
MAX_FAILED = 12  # images published one after the other, all bad, of which each is tried once
MAX_TEXT_BYTES = 100
MAX_COUNT = 255
_MAX_BLOB_BYTES = 400  # the longest value: 12 failed images have 384
# Rather an old value than none: these are not erased to be written anew.
_PRECIOUS = ("counter", "failed", "seq", "trial")

# How far the other slot is prepared for an image.
NOT_PREPARED = 0
TABLE_ERASED = 1  # what stands where the digest table goes is of this image
ALL_ERASED = 2  # what stands in the slot is of this image, or right

# table digest, content id, digest of the image's head, payload bytes, counter, signed, switched,
# booted, tries, version, label of the slot, label of the slot that ran before
_TRIAL = ">16s16s8sIIBBBB32s16s16s"
_TRIAL_BYTES = 116


class Trial:
    """An image on its way from `made the one to boot` to `confirmed`.

    table: the first 16 bytes of its table's digest, which says what it is. switched: set_boot is
    known to be done. booted: how often its pre-boot ran. tries: how often it was made the one to boot.
    """

    def __init__(self, table, content, head, payload_bytes, counter, signed, version, slot, before):
        self.table = table
        self.content = content
        self.head = head
        self.payload_bytes = payload_bytes
        self.counter = counter
        self.signed = signed
        self.version = version
        self.slot = slot
        self.before = before
        self.switched = False
        self.booted = 0
        self.tries = 0


class Journal:
    """Raises OSError when NVS cannot be opened; the put functions when it is full or worn out."""

    def __init__(self):
        self._nvs = esp32.NVS(NAMESPACE)

    def get(self, key):
        """The value's bytes; b"" when there is none, or none that could be ours."""
        buffer = bytearray(_MAX_BLOB_BYTES)
        try:
            length = self._nvs.get_blob(key, buffer)
        except OSError:
            return b""
        return bytes(buffer[:length])

    def put(self, key, value):
        try:
            self._nvs.set_blob(key, value)
        except OSError:
            if key in _PRECIOUS and self.get(key):
                raise
            # Somebody else's value of another type; or the old one and the new one do not both fit.
            self.drop(key)
            self._nvs.set_blob(key, value)
        self._nvs.commit()

    def drop(self, key):
        """Forget a value; it may be gone already. Raises nothing."""
        try:
            self._nvs.erase_key(key)
            self._nvs.commit()
        except OSError:
            pass

    def make_room(self):
        """NVS is full: forget what is only to be told."""
        for key in ("error", "news", "told"):
            self.drop(key)

    # -- texts and numbers ----------------------------------------------------------------

    def text(self, key):
        """A kept text, "" when there is none."""
        try:
            return self.get(key).decode()
        except ValueError:
            return "unreadable"

    def put_text(self, key, text):
        """Keep the first 100 bytes of a text (what is not ASCII is replaced). Raises nothing.

        A full NVS must not keep the board from doing what it was about to do.
        """
        plain = "".join([char if " " <= char <= "~" else "?" for char in text])
        try:
            self.put(key, plain.encode()[:MAX_TEXT_BYTES])
        except OSError:
            pass

    def number(self, key):
        """A kept u32, 0 when there is none."""
        raw = self.get(key)
        return struct.unpack(">I", raw)[0] if len(raw) == 4 else 0

    def put_number(self, key, number):
        self.put(key, struct.pack(">I", number))

    # -- what the other slot is prepared for ----------------------------------------------

    def prepared(self, slot, table):
        """How far erasing the slot of label `slot` for the image of `table` got."""
        raw = self.get("prepared")
        if raw[1:] != table + slot.encode():
            return NOT_PREPARED
        return raw[0]

    def put_prepared(self, slot, table, stage):
        self.put("prepared", bytes([stage]) + table + slot.encode())

    # -- the trial ------------------------------------------------------------------------

    def trial(self):
        """The Trial that is not over, or None."""
        raw = self.get("trial")
        if len(raw) != _TRIAL_BYTES:
            return None
        fields = struct.unpack(_TRIAL, raw)
        trial = Trial(
            fields[0],
            fields[1],
            fields[2],
            fields[3],
            fields[4],
            bool(fields[5]),
            _unpad(fields[9]),
            _unpad(fields[10]),
            _unpad(fields[11]),
        )
        trial.switched = bool(fields[6])
        trial.booted = fields[7]
        trial.tries = fields[8]
        return trial

    def put_trial(self, trial):
        raw = struct.pack(
            _TRIAL,
            trial.table,
            trial.content,
            trial.head,
            trial.payload_bytes,
            trial.counter,
            1 if trial.signed else 0,
            1 if trial.switched else 0,
            min(trial.booted, MAX_COUNT),
            min(trial.tries, MAX_COUNT),
            trial.version.encode(),
            trial.slot.encode(),
            trial.before.encode(),
        )
        self.put("trial", raw)

    # -- what was rolled back -------------------------------------------------------------

    def failed(self):
        """[(table, content id)] of the images that were rolled back, the oldest first."""
        raw = self.get("failed")
        pairs = []
        for at in range(0, len(raw) - 2 * ID_BYTES + 1, 2 * ID_BYTES):
            pairs.append((raw[at : at + ID_BYTES], raw[at + ID_BYTES : at + 2 * ID_BYTES]))
        return pairs

    def add_failed(self, table, content):
        pairs = [pair for pair in self.failed() if pair != (table, content)]
        pairs.append((table, content))
        self.put("failed", b"".join([pair[0] + pair[1] for pair in pairs[-MAX_FAILED:]]))

    def forgive(self, table):
        """This content is healthy after all."""
        pairs = self.failed()
        left = [pair for pair in pairs if pair[0] != table]
        if len(left) != len(pairs):
            self.put("failed", b"".join([pair[0] + pair[1] for pair in left]))


def _unpad(raw):
    try:
        return raw.rstrip(b"\0").decode()
    except ValueError:
        return ""
