-- Several workers a release, and how many it may have; the gateways, and what each of them serves by (delivery/).
ALTER TABLE workers RENAME TO workers_before;
CREATE TABLE workers (
    release TEXT NOT NULL,
    number INTEGER NOT NULL,
    package TEXT NOT NULL,
    environment TEXT NOT NULL,
    socket TEXT NOT NULL,
    limits TEXT NOT NULL,
    desired TEXT NOT NULL,
    joined INTEGER NOT NULL,
    state TEXT NOT NULL,
    pid INTEGER,
    restarts INTEGER NOT NULL,
    error TEXT NOT NULL,
    at BIGINT NOT NULL,
    rss_bytes BIGINT NOT NULL DEFAULT 0,
    cpu_seconds DOUBLE PRECISION NOT NULL DEFAULT 0,
    measured_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (release, number)
);
INSERT INTO workers (release, number, package, environment, socket, limits, desired, joined, state, pid, restarts,
    error, at)
    SELECT release, 0, package, environment, socket, '{}', desired, 1, state, pid, restarts, error, at
    FROM workers_before;
DROP TABLE workers_before;
CREATE TABLE fleets (
    release TEXT PRIMARY KEY,
    least INTEGER NOT NULL,
    most INTEGER NOT NULL,
    size INTEGER NOT NULL,
    why TEXT NOT NULL,
    at BIGINT NOT NULL
);
INSERT INTO fleets (release, least, most, size, why, at) SELECT release, 1, 1, 1, '', at FROM workers;
CREATE TABLE gateways (
    name TEXT PRIMARY KEY,
    socket TEXT NOT NULL,
    pid INTEGER,
    state TEXT NOT NULL,
    restarts INTEGER NOT NULL,
    error TEXT NOT NULL,
    acknowledged BIGINT NOT NULL,
    acknowledged_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
