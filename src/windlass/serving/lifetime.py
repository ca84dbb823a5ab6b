"""The data plane's processes end with the one that started them, even when that is killed."""

from __future__ import annotations

import asyncio
import os
import threading
import time


def end_with_stdin(ended: asyncio.Event, by_force_after: float | None = None) -> None:
    """Set ``ended`` when stdin reaches its end, as it does when the process that holds the other end dies.

    The process is ended by force if it is still there ``by_force_after`` seconds later: its event loop hangs.
    """
    loop = asyncio.get_running_loop()

    def wait() -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        try:
            loop.call_soon_threadsafe(ended.set)
        except RuntimeError:
            return  # the loop has ended already
        if by_force_after is not None:
            time.sleep(by_force_after)
            os._exit(1)

    threading.Thread(target=wait, name="stdin-watch", daemon=True).start()
