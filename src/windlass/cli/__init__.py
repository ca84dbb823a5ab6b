"""The command line: parse, call an operation, print.

Exit codes: 0 ok; 1 failure; 2 usage or invalid input; 3 refused by a gate or policy; 4 corrupt; 5 unavailable.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run one command and exit with its code."""
    from windlass.cli.root import root  # noqa: PLC0415 - `import windlass.cli` stays free for its documentation
    from windlass.cli.run import guarded  # noqa: PLC0415

    sys.exit(guarded(root, sys.argv[1:]))
