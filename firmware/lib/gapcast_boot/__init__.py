"""The board's side of Gapcast: runs in pre-boot, before the application (MicroPython)."""


async def watch(allow=None, every_ms=60000):
    """While the application runs: reset into pre-boot when there is an image for this board.

        asyncio.create_task(gapcast_boot.watch(allow=idle))

    allow: called with the offer (watching.Offer; its `version` says what it is about) each few seconds until
    it returns something true: now is a good moment. It may be a coroutine function. None: any moment is.
    every_ms: how often the server is asked, about; announced images are asked for at once.
    Never returns, and raises nothing of its own: see watching.counts.
    """
    from .watching import Watch

    await Watch(allow, every_ms).run()
