-- Registered models with what may change of them, beside their versions, which never do (registry/models.py).
CREATE TABLE registered_models (
    name TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
INSERT INTO registered_models (name, description, created_at, updated_at)
    SELECT model, '', MIN(at), MAX(at) FROM model_versions GROUP BY model;
CREATE TABLE registered_model_tags (
    model TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, name)
);
ALTER TABLE model_versions ADD COLUMN description TEXT;
ALTER TABLE model_versions ADD COLUMN stage TEXT NOT NULL DEFAULT 'None';
ALTER TABLE model_versions ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE model_versions ADD COLUMN run_link TEXT NOT NULL DEFAULT '';
ALTER TABLE model_versions ADD COLUMN model_id TEXT NOT NULL DEFAULT '';
ALTER TABLE model_versions ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE model_versions ADD COLUMN deleted_at BIGINT;
UPDATE model_versions SET updated_at = at;
CREATE INDEX model_versions_model_id ON model_versions (model_id);
CREATE TABLE model_version_tags (
    model TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, number, name)
);
CREATE TABLE model_aliases (
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (model, alias)
);
-- Folders of artifacts that a version is made of: no file in them may change.
CREATE TABLE registered_roots (
    root TEXT NOT NULL,
    path TEXT NOT NULL,
    model TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (root, path, model, number)
);
