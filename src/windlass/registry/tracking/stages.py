"""Whether a thing of tracking is in use or deleted; what is deleted can be restored until it is collected."""

from __future__ import annotations

ACTIVE, DELETED = "active", "deleted"

VIEWS: dict[str, tuple[str, ...]] = {
    "ACTIVE_ONLY": (ACTIVE,),
    "DELETED_ONLY": (DELETED,),
    "ALL": (ACTIVE, DELETED),
}
