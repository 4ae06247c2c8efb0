"""Why an image is not taken: apart from judge.py, which is dropped when it has judged."""


class Refused(Exception):
    """The image is not for this board.

    reason: one of wrong_board, wrong_target, wrong_chip, merged_image, not_an_app, too_large, one_slot,
    unsigned, unknown_key, bad_signature, no_keys, old_counter, rolled_back_before, bad_image.
    """

    def __init__(self, reason, text=""):
        super().__init__("%s: %s" % (reason, text) if text else reason)
        self.reason = reason
