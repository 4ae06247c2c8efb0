"""Pre-boot: ask, fetch, verify, switch. Always ends by an application starting.

`run` is what boot.py calls. It returns when the application that is in the running slot should
start; it resets the board when a new image has been made the one to boot.
"""

import json

import esp32
import machine

from gapcast_core import container, wire

from . import flash, net, port
from .progress import Progress
from .transfer import Transfer, TransferError

CONFIG_PATH = "gapcast.json"
VERIFY_ROUNDS = 3  # a chunk that is bad after so many fetches is bad flash

DEFAULTS = {
    "server": None,
    "port": 69,
    "image": None,
    "board": None,
    "lan": None,
    "wifi_ssid": None,
    "wifi_password": None,
    "network_timeout_ms": 15000,
    "ask_ms": 3000,  # how long the first question may go unanswered
    "stall_ms": 60000,  # how long a started download may stand still
}


class Refused(Exception):
    """The image is not for this board; the text says why."""


def load_config(path=CONFIG_PATH):
    """The board's settings over the defaults. Raises OSError or ValueError."""
    config = dict(DEFAULTS)
    with open(path) as file:
        config.update(json.load(file))
    return config


def run(progress=None, config=None, hold=None):
    """One pre-boot: never raises, so that the application always starts.

    hold: called when the network is up, before the first request (a simulated fleet starts
    its boards together with it).
    """
    progress = progress or Progress()
    link = net.Link()
    try:
        outcome, detail = _update(config or load_config(), progress, hold, link)
    except (Refused, flash.FlashError) as exc:
        outcome, detail = "refused", str(exc)
    except Exception as exc:  # whatever it is (MemoryError too): the application must start
        outcome, detail = "failed", "%s: %s" % (type(exc).__name__, exc)
    try:
        progress.result(outcome, detail)
    except Exception:  # telling about it is not worth a board
        pass
    if outcome == "updated":
        machine.reset()
    link.release()


def _update(config, progress, hold, link):
    clock = port.Clock()
    local_ip = link.up(config, clock)
    server = port.resolve(config["server"], config["port"])
    if hold:
        hold()
    progress.started()
    raw, name = _fetch_header(config, server, local_ip, clock, progress)
    _confirm()
    if raw is None:
        return "up_to_date", "the server has no image for this board"
    header = container.parse_header(raw)
    progress.header(header)
    if _already_running(header):
        return "up_to_date", header.version
    _judge(header, config)
    slot = _other_slot()
    sink = flash.SlotSink(slot, header)
    sink.prepare()
    port.collect()
    transfer = Transfer(
        server, local_ip, name, sink, clock, progress, config["stall_ms"], header.container_bytes
    )
    try:
        _fetch(transfer, config["image"] + ".gap")
        _verify(transfer, sink, progress)
        progress.verified(transfer)
    finally:
        transfer.close()
    slot.set_boot()
    return "updated", header.version


def _fetch_header(config, server, local_ip, clock, progress):
    """(header bytes, name to fetch the image by); (None, None) when there is nothing to do."""
    for name in (config["image"] + ".hdr", config["image"] + ".gap"):
        sink = flash.RamSink(container.HEADER_BYTES)
        transfer = Transfer(server, local_ip, name, sink, clock, progress, config["ask_ms"])
        try:
            transfer.run_head(container.HEADER_BYTES)
        except TransferError as exc:
            if exc.code != wire.ERR_NOT_FOUND:
                raise
            continue  # a stock server knows no `.hdr`: take the head of the container itself
        if name.endswith(".hdr"):
            name = "gap/" + container.content_id(sink.data)
        return sink.data, name
    return None, None


def _already_running(header):
    """True when the running slot holds this very image (its digest table lies behind it)."""
    running = esp32.Partition(esp32.Partition.RUNNING)
    return flash.holds_table(running, header, bytearray(flash.STEP_BYTES))


def _confirm():
    """This firmware reached network and server, so it can be updated again: keep it.

    Before anything is erased: the other slot is the fallback of an image that is not confirmed.
    """
    try:
        esp32.Partition.mark_app_valid_cancel_rollback()
    except OSError:  # no otadata yet, or a boot loader without rollback: nothing to confirm
        pass


def _other_slot():
    """The slot that is not running. With a single OTA slot ESP-IDF names the running one itself."""
    running = esp32.Partition(esp32.Partition.RUNNING)
    slot = running.get_next_update()
    if slot.info()[2] == running.info()[2]:
        raise Refused("the partition table has one application slot, an update needs two")
    return slot


def _judge(header, config):
    """Raises Refused before anything is erased."""
    if header.board != config["board"]:
        raise Refused("image is for board %s, this is a %s" % (header.board, config["board"]))
    if header.target != container.TARGET_APP:
        raise Refused("image is for target %s" % header.target)


def _fetch(transfer, fallback_name):
    try:
        transfer.run()
    except TransferError as exc:
        if exc.code != wire.ERR_NOT_FOUND:
            raise
        transfer.rename(fallback_name)
        transfer.run()


def _verify(transfer, sink, progress):
    """Check every chunk against the table; fetch bad ones again, a bounded number of times."""
    for _round in range(VERIFY_ROUNDS):
        bad = sink.bad_chunks()
        if not bad:
            return
        progress.bad_chunks(len(bad))
        for offset, size_bytes in bad:
            sink.erase(offset, size_bytes)
            transfer.download.mark_missing(offset, size_bytes)
        transfer.run()
    if sink.bad_chunks():
        raise flash.FlashError("chunks still damaged after %d rounds" % VERIFY_ROUNDS)


def fetch_file(config, path, progress, hold=None):
    """Fetch the plain file config["image"] to `path` as it is, with no image checks.

    Raises TransferError, net.NetworkError, OSError.
    """
    clock = port.Clock()
    local_ip = net.Link().up(config, clock)
    server = port.resolve(config["server"], config["port"])
    sink = flash.FileSink(path)
    try:
        if hold:
            hold()
        progress.started()
        transfer = Transfer(server, local_ip, config["image"], sink, clock, progress, config["stall_ms"])
        try:
            transfer.run()
        finally:
            transfer.close()
    finally:
        sink.close()
    progress.verified(transfer)
