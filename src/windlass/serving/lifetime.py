"""The data plane's processes end with the one that started them, even when that is killed."""

from __future__ import annotations

import asyncio
import os
import threading


def end_with_stdin(ended: asyncio.Event) -> None:
    """Set ``ended`` when stdin reaches its end, as it does when the process that holds the other end dies."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, name="stdin-watch", daemon=True).start()
