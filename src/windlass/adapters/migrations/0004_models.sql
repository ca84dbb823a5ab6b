-- Models and their immutable versions (registry/models.py), and lineage (registry/lineage.py).
CREATE TABLE model_versions (
    model TEXT NOT NULL,
    number INTEGER NOT NULL,
    semver TEXT NOT NULL,
    record TEXT NOT NULL,
    package TEXT NOT NULL,
    run TEXT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    PRIMARY KEY (model, number),
    UNIQUE (model, semver)
);
CREATE INDEX model_versions_run ON model_versions (run);
CREATE TABLE lineage (
    child TEXT NOT NULL,
    parent TEXT NOT NULL,
    relation TEXT NOT NULL,
    PRIMARY KEY (child, parent, relation)
);
CREATE INDEX lineage_parent ON lineage (parent);
