-- Rollouts (delivery/): the fence of a lease; phases that last, wait for approvals, or end by hand; rollbacks asked for
-- by Alertmanager; releases that are to be checked once they are in charge again.
ALTER TABLE leases ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rollouts ADD COLUMN phase_at BIGINT NOT NULL DEFAULT 0;
-- The phase that waits for an approval, and the last one that was approved; -1: none.
ALTER TABLE rollouts ADD COLUMN awaiting INTEGER NOT NULL DEFAULT -1;
ALTER TABLE rollouts ADD COLUMN approved INTEGER NOT NULL DEFAULT -1;
CREATE TABLE rollout_approvals (
    rollout TEXT NOT NULL,
    phase INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (rollout, phase, actor)
);
CREATE TABLE alertmanager_alerts (
    fingerprint TEXT NOT NULL,
    starts_at TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    outcome TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (fingerprint, starts_at, endpoint)
);
CREATE TABLE rechecks (
    endpoint TEXT PRIMARY KEY,
    release TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL
);
