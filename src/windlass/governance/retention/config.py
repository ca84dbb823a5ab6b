"""What ``[retention]`` in ``windlass.toml`` says."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.domain.errors import Invalid

_MOST_DAYS = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionConfig:
    """Days. ``deleted_days``: how long what is deleted can be restored; the others: how long an unfinished upload, what
    a step made (0: for ever) and an ended delivery of a webhook (0: for ever) are kept.
    """

    deleted_days: int = 30
    uploads_days: int = 7
    step_cache_days: int = 0
    webhook_days: int = 90

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not 0 <= getattr(self, name) <= _MOST_DAYS:
                raise Invalid(f"retention.{name} is {getattr(self, name)}", hint=f"give 0 to {_MOST_DAYS} days")
