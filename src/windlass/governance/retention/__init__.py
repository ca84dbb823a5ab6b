"""What was deleted: how long it can be restored, what has to stay all the same, and how the rest goes for good."""
