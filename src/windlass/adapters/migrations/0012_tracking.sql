-- Tracking for many writers and large searches (registry/tracking/): runs by number inside, deletion, datasets, logged
-- models. Times in these tables are MLflow's: milliseconds.
ALTER TABLE experiments ADD COLUMN stage TEXT NOT NULL DEFAULT 'active';
ALTER TABLE experiments ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;
UPDATE experiments SET at = at / 1000;
UPDATE experiments SET updated_at = at;
ALTER TABLE experiments DROP COLUMN tags;
CREATE TABLE experiment_tags (
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (experiment, name)
) WITHOUT ROWID;
-- revision: raised by each write to the run, so that what was rendered of it can be kept.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    stage TEXT NOT NULL DEFAULT 'active',
    deleted_at BIGINT,
    revision BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX runs_newest ON runs (experiment, stage, started_at DESC, run_id);
CREATE INDEX runs_name ON runs (name);
INSERT INTO runs (run_id, experiment, name, owner, status, started_at, ended_at)
    SELECT run_id, experiment, name, owner, status, started_at / 1000, ended_at / 1000
    FROM tracked_runs ORDER BY started_at;
ALTER TABLE run_params RENAME TO old_run_params;
ALTER TABLE run_tags RENAME TO old_run_tags;
ALTER TABLE run_metrics RENAME TO old_run_metrics;
ALTER TABLE run_metrics_last RENAME TO old_run_metrics_last;
ALTER TABLE run_artifacts RENAME TO old_run_artifacts;
CREATE TABLE run_params (
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, name)
) WITHOUT ROWID;
CREATE TABLE run_tags (
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, name)
) WITHOUT ROWID;
-- Every point of every metric, in the order in which a history is read. SQLite keeps no NaN: such a point has value 0
-- and nan 1.
CREATE TABLE run_metrics (
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    nan INTEGER NOT NULL,
    PRIMARY KEY (run, name, at, step, value, nan)
) WITHOUT ROWID;
-- The last point of each, by step, then time, then value.
CREATE TABLE run_metrics_last (
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    nan INTEGER NOT NULL,
    PRIMARY KEY (run, name)
) WITHOUT ROWID;
-- A folder of artifacts is named by what follows mlflow-artifacts:/ in its URI, as EXPERIMENT/RUN/artifacts.
CREATE TABLE artifacts (
    root TEXT NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (root, path)
);
INSERT INTO run_params (run, name, value)
    SELECT runs.id, old.name, old.value FROM old_run_params old JOIN runs ON runs.run_id = old.run_id;
INSERT INTO run_tags (run, name, value)
    SELECT runs.id, old.name, old.value FROM old_run_tags old JOIN runs ON runs.run_id = old.run_id;
INSERT INTO run_metrics (run, name, at, step, value, nan)
    SELECT DISTINCT runs.id, old.name, old.at / 1000, old.step, old.value, old.nan
    FROM old_run_metrics old JOIN runs ON runs.run_id = old.run_id;
INSERT INTO run_metrics_last (run, name, at, step, value, nan)
    SELECT runs.id, old.name, old.at / 1000, old.step, old.value, old.nan
    FROM old_run_metrics_last old JOIN runs ON runs.run_id = old.run_id;
INSERT INTO artifacts (root, path, digest, size)
    SELECT CAST(runs.experiment AS TEXT) || '/' || runs.run_id || '/artifacts', old.path, old.digest, old.size
    FROM old_run_artifacts old JOIN runs ON runs.run_id = old.run_id;
DROP TABLE old_run_params;
DROP TABLE old_run_tags;
DROP TABLE old_run_metrics;
DROP TABLE old_run_metrics_last;
DROP TABLE old_run_artifacts;
DROP TABLE tracked_runs;
-- The beginning only: PostgreSQL's indexes hold no long values.
CREATE INDEX run_params_value ON run_params (name, substr(value, 1, 200), run);
CREATE INDEX run_tags_value ON run_tags (name, substr(value, 1, 200), run);
CREATE INDEX run_metrics_last_value ON run_metrics_last (name, nan, value, run);
CREATE TABLE tracked_datasets (
    id TEXT PRIMARY KEY,
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    source_type TEXT NOT NULL,
    source TEXT NOT NULL,
    schema TEXT NOT NULL,
    profile TEXT NOT NULL,
    UNIQUE (experiment, name, digest)
);
CREATE TABLE run_datasets (
    run INTEGER NOT NULL,
    dataset TEXT NOT NULL,
    context TEXT,
    tags TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (run, dataset)
);
CREATE INDEX run_datasets_dataset ON run_datasets (dataset);
CREATE TABLE run_models (
    run INTEGER NOT NULL,
    direction TEXT NOT NULL,
    model_id TEXT NOT NULL,
    step BIGINT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (run, direction, seq)
);
CREATE INDEX run_models_model ON run_models (model_id);
CREATE TABLE logged_models (
    id INTEGER PRIMARY KEY,
    model_id TEXT NOT NULL UNIQUE,
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    source_run TEXT NOT NULL,
    model_type TEXT NOT NULL,
    status INTEGER NOT NULL,
    status_message TEXT NOT NULL,
    stage TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX logged_models_newest ON logged_models (experiment, stage, created_at);
CREATE TABLE logged_model_params (
    model INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, name)
) WITHOUT ROWID;
CREATE TABLE logged_model_tags (
    model INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, name)
) WITHOUT ROWID;
CREATE TABLE logged_model_metrics (
    model INTEGER NOT NULL,
    name TEXT NOT NULL,
    at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    run_id TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    nan INTEGER NOT NULL,
    dataset_name TEXT,
    dataset_digest TEXT,
    PRIMARY KEY (model, name, at, step, run_id)
) WITHOUT ROWID;
CREATE INDEX logged_model_metrics_value ON logged_model_metrics (name, nan, value, model);
-- A file that is being uploaded in parts, until all of them are there.
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    root TEXT NOT NULL,
    path TEXT NOT NULL,
    parts INTEGER NOT NULL,
    at BIGINT NOT NULL
);
CREATE TABLE upload_parts (
    upload TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (upload, number)
);
