-- Experiments, runs and what they log (registry/tracking.py). Times are microseconds.
CREATE TABLE experiments (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    at BIGINT NOT NULL,
    tags TEXT NOT NULL
);
-- MLflow's clients log here unless told otherwise, and never create it.
INSERT INTO experiments (id, name, at, tags) VALUES (0, 'Default', 0, '{}');
CREATE TABLE tracked_runs (
    run_id TEXT PRIMARY KEY,
    experiment INTEGER NOT NULL REFERENCES experiments (id),
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX tracked_runs_newest ON tracked_runs (experiment, started_at);
CREATE TABLE run_params (
    run_id TEXT NOT NULL REFERENCES tracked_runs (run_id),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
);
CREATE TABLE run_tags (
    run_id TEXT NOT NULL REFERENCES tracked_runs (run_id),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
);
-- Every point of every metric. SQLite keeps no NaN: such a point has value 0 and nan 1.
CREATE TABLE run_metrics (
    run_id TEXT NOT NULL REFERENCES tracked_runs (run_id),
    name TEXT NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    nan INTEGER NOT NULL,
    PRIMARY KEY (run_id, name, step, at, value, nan)
);
-- The last point of each, by step, then time, then value.
CREATE TABLE run_metrics_last (
    run_id TEXT NOT NULL REFERENCES tracked_runs (run_id),
    name TEXT NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    nan INTEGER NOT NULL,
    PRIMARY KEY (run_id, name)
);
CREATE TABLE run_artifacts (
    run_id TEXT NOT NULL REFERENCES tracked_runs (run_id),
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (run_id, path)
);
