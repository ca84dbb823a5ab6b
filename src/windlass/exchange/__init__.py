"""Moving in and out: what another tracking system has is copied here, and what is here is copied to one."""
