"""Every way in which we mean to differ from MLflow's own server, and why. There is no other."""

from __future__ import annotations

from beside import Difference

DIFFERENCES: tuple[Difference, ...] = ()
