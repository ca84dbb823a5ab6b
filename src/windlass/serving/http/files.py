"""Room for connections: each is an open file of this process."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress

SPARE = 512  # for the workers' sockets, logs, and clients who are told that there is no room


def room_for(connections: int) -> int:
    """Raise this process's limit of open files as far as needed and allowed; how many connections then fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # a system's own limit below the one that it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < wanted:
            sys.stderr.write(f"warning: of {connections} connections {max(soft - SPARE, 1)} fit: ulimit -n is {soft}\n")
            return max(soft - SPARE, 1)
    return connections
