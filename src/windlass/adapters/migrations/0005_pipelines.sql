-- Runs of the pipeline and the steps that need not run again (pipelines/runs.py, pipelines/cache.py).
CREATE TABLE pipeline_runs (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    record TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX pipeline_runs_at ON pipeline_runs (at);
CREATE TABLE step_cache (
    recipe TEXT PRIMARY KEY,
    step TEXT NOT NULL,
    parts TEXT NOT NULL,
    output TEXT NOT NULL,
    run TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX step_cache_step ON step_cache (step, at);
