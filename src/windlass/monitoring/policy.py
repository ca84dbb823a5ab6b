"""What ``[monitors]`` and ``[retraining]`` in ``windlass.toml`` say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from windlass.domain.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorPolicy:
    """``window_rows`` answered rows make a window; drift is called at ``alpha`` and an effect of ``min_effect``."""

    window_rows: int = 2000
    alpha: float = 0.01
    min_effect: float = 0.1

    def __post_init__(self) -> None:
        if self.window_rows < 50:
            raise Invalid(f"monitors.window_rows is {self.window_rows}", hint="fewer than 50 rows show nothing")
        if not 0 < self.alpha < 1:
            raise Invalid(f"monitors.alpha is {self.alpha}", hint="use a chance such as 0.01")
        if not 0 <= self.min_effect < 1:
            raise Invalid(f"monitors.min_effect is {self.min_effect}", hint="use 0 to 1, such as 0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingPolicy:
    """``on``: what asks for it; ``data``: the dataset that labelled live rows are added to; ``release``: whether what
    passes its gate waits for an approval."""

    on: tuple[Literal["drift"], ...] = ()
    data: str = ""
    min_labels: int = 2000
    cooldown_minutes: float = 60.0
    release: Literal["approval", "auto"] = "approval"

    def __post_init__(self) -> None:
        if self.on and not self.data:
            raise Invalid("retraining.data is missing", hint="name the dataset that labelled live rows are added to")
        if self.min_labels < 1:
            raise Invalid(f"retraining.min_labels is {self.min_labels}", hint="use 1 or more")
        if self.cooldown_minutes < 0:
            raise Invalid(f"retraining.cooldown_minutes is {self.cooldown_minutes}", hint="use 0 or more")
