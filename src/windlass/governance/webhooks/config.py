"""What ``[webhooks.NAME]`` in ``windlass.toml`` says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from windlass.domain.errors import Invalid
from windlass.governance.webhooks import addresses, matching

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """``events``: patterns of transitions (see ``matching``); ``secret_env``: the environment variable that holds the
    secret which requests are signed with; ``allow_private``: it may send to addresses that are not public.
    """

    url: str
    events: tuple[str, ...]
    secret_env: str
    allow_private: bool = False

    def __post_init__(self) -> None:
        addresses.parsed(self.url)
        if not self.events:
            raise Invalid("a webhook's events are empty", hint='use events = ["*"] for all')
        for pattern in self.events:
            matching.checked(pattern)
        if not _VARIABLE.fullmatch(self.secret_env):
            # Not repeated: somebody may have written the secret itself.
            raise Invalid("a webhook's secret_env is not the name of an environment variable")
