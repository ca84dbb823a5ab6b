-- Releases, endpoints, rollouts, workers and routes (delivery/).
CREATE TABLE releases (
    id TEXT PRIMARY KEY,
    endpoint TEXT NOT NULL,
    reference TEXT NOT NULL,
    package TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE TABLE endpoints (
    name TEXT PRIMARY KEY,
    release TEXT,
    previous TEXT NOT NULL,
    rollout TEXT
);
CREATE TABLE rollouts (
    id TEXT PRIMARY KEY,
    endpoint TEXT NOT NULL,
    strategy TEXT NOT NULL,
    policy TEXT NOT NULL,
    candidate TEXT NOT NULL,
    stable TEXT,
    state TEXT NOT NULL,
    phase INTEGER NOT NULL,
    salt TEXT NOT NULL,
    reason TEXT NOT NULL,
    verdict TEXT NOT NULL,
    revision BIGINT NOT NULL,
    position TEXT NOT NULL,
    phase_position TEXT NOT NULL,
    evidence TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    rollback_us BIGINT
);
CREATE INDEX rollouts_endpoint ON rollouts (endpoint, started_at);
CREATE TABLE rollout_steps (
    rollout TEXT NOT NULL,
    phase INTEGER NOT NULL,
    step TEXT NOT NULL,
    PRIMARY KEY (rollout, phase)
);
CREATE TABLE rollout_intervals (
    rollout TEXT NOT NULL,
    seq INTEGER NOT NULL,
    phase INTEGER NOT NULL,
    revision BIGINT NOT NULL,
    after TEXT NOT NULL,
    until TEXT NOT NULL,
    at BIGINT NOT NULL,
    decision TEXT NOT NULL,
    PRIMARY KEY (rollout, seq)
);
CREATE TABLE quarantine (
    endpoint TEXT NOT NULL,
    package TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (endpoint, package)
);
CREATE TABLE workers (
    release TEXT PRIMARY KEY,
    package TEXT NOT NULL,
    environment TEXT NOT NULL,
    socket TEXT NOT NULL,
    desired TEXT NOT NULL,
    state TEXT NOT NULL,
    pid INTEGER,
    restarts INTEGER NOT NULL,
    error TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE TABLE routing (
    id INTEGER PRIMARY KEY,
    revision BIGINT NOT NULL,
    route_table TEXT NOT NULL,
    acknowledged BIGINT NOT NULL,
    acknowledged_at BIGINT NOT NULL
);
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL
);
