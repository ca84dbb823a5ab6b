"""A process that starts steps: it has imported what they need, and forks one child for each.

``python -P -m windlass.pipelines.launcher FD``, where FD is one end of a socket. It reads lines of JSON: what to import
beforehand, what to start, what to kill; it writes a line for each step that ended. Every step has a process of its own,
in a group of its own, with the seeds of its recipe. When the socket closes, or whoever started us dies, all of them
end.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import Any

from windlass.pipelines import child

_PR_SET_PDEATHSIG = 1
_BLOCK = 1 << 16


def main(handle: int) -> int:
    """Serve until the socket closes."""
    _die_with_parent()
    with socket.socket(fileno=handle) as control:
        _serve(control)
    return 0


def _serve(control: socket.socket) -> None:
    ended_read, ended_write = os.pipe()
    for each in (ended_read, ended_write):
        os.set_blocking(each, False)
    signal.set_wakeup_fd(ended_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, str] = {}
    waiting = b""
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(ended_read, selectors.EVENT_READ)
        try:
            while True:
                for key, _ in selector.select():
                    if key.fileobj is control:
                        received = control.recv(_BLOCK)
                        if not received:
                            return
                        *lines, waiting = (waiting + received).split(b"\n")
                        for line in lines:
                            _obey(json.loads(line), control, running)
                    else:
                        os.read(ended_read, _BLOCK)
                _report_ended(control, running)
        finally:
            for pid in running:
                _kill(pid)


def _obey(asked: dict[str, Any], control: socket.socket, running: dict[int, str]) -> None:
    if "preload" in asked:
        for name in asked["preload"]:
            # What cannot be imported will be told by the step that needs it, with its own traceback.
            with suppress(BaseException):
                importlib.import_module(name)
    elif "kill" in asked:
        for pid, identity in running.items():
            if identity == asked["kill"]:
                _kill(pid)
    else:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _become(asked, control)
        running[pid] = asked["id"]


def _report_ended(control: socket.socket, running: dict[int, str]) -> None:
    while running:
        pid, status, used = os.wait4(-1, os.WNOHANG)
        if pid == 0:
            return
        # Whatever the step started, and did not wait for, ends with it.
        _kill(pid)
        said = {"id": running.pop(pid), "code": os.waitstatus_to_exitcode(status), "memory": used.ru_maxrss << 10}
        control.sendall(json.dumps(said).encode() + b"\n")


def _become(asked: dict[str, Any], control: socket.socket) -> None:
    """In the child: run the step and end. Never returns."""
    code = 1
    try:
        os.setsid()
        _die_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.chdir(asked["folder"])
        if asked["memory"]:
            resource.setrlimit(resource.RLIMIT_DATA, (asked["memory"], asked["memory"]))
        if asked["command"]:
            code = _execute(asked["command"], asked["variables"])
        else:
            os.environ.update(asked["variables"])
            code = child.main(asked["job"])
    except SystemExit as exit_asked:
        code = exit_asked.code if isinstance(exit_asked.code, int) else int(exit_asked.code is not None)
    except BaseException:  # noqa: BLE001 - told in the step's log, as an interpreter would
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _execute(command: list[str], variables: dict[str, str]) -> int:
    try:
        os.execvpe(command[0], command, variables)  # noqa: S606 - a step's command is what the project says
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _die_with_parent() -> None:
    # On Linux the kernel sees to it even when we are killed; elsewhere the socket's end has to do.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
