"""The programs that sample firmware can carry: one that is healthy, and one for each way not to be.

They run under MicroPython and CPython alike, on a board whose pre-boot is gapcast_boot. Each has VERSION and
main(board), and tells the simulation who it is by board.report().
"""

from __future__ import annotations

_HEAD = '''\
"""A sample application for a board: {about}"""

{imports}

VERSION = {version!r}


def main(board):
    board.report(version=VERSION)
'''

# name -> (what it does, imports, the rest of main() and what follows it)
_APPS = {
    "ok": (
        "it reports its version and confirms that it is healthy.",
        "from gapcast_boot import health",
        "    health.alive()\n",
    ),
    "exception": (
        "it fails with an exception.",
        "from gapcast_boot import health",
        '    health.run(fail)\n\n\ndef fail():\n    raise RuntimeError("this sample always fails")\n',
    ),
    "hang": (
        "it hangs.",
        "",
        "    while True:\n        pass\n",
    ),
    "offline": (
        "it loses the network and runs on.",
        "import time\n\nimport network\nfrom gapcast_boot import health",
        "    network.WLAN(network.STA_IF).active(False)\n"
        "    while True:\n        health.alive()\n        time.sleep(0.05)\n",
    ),
    "silent": ("it ends without saying that it is healthy.", "", ""),
    "watch": (
        "it runs on, and comes in for a new image unless the file `busy` is there.",
        "import asyncio\nimport os\n\nimport gapcast_boot\nfrom gapcast_boot import health",
        "    asyncio.run(work())\n\n\n"
        "async def work():\n    asyncio.create_task(health.watch())\n"
        "    await gapcast_boot.watch(is_idle)\n\n\n"
        'def is_idle(_offer):\n    try:\n        os.stat("busy")\n    except OSError:\n        return True\n'
        "    return False\n",
    ),
}
APPS = tuple(_APPS)


def sample_source(app: str, version: str) -> str:
    """The main.py of the application `app`, one of APPS, which reports `version`."""
    about, imports, rest = _APPS[app]
    head = _HEAD.format(about=about, imports=imports, version=version)
    return head.replace("\n\n\n\nVERSION", "\n\nVERSION") + rest
