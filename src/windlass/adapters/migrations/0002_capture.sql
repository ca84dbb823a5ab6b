-- Datasets and their snapshots (capture/data.py).
CREATE TABLE snapshots (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    tree TEXT NOT NULL,
    record TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);
CREATE INDEX snapshots_tree ON snapshots (tree);
-- Environments and their locks (capture/environment.py); lock is empty where none could be made, and why says so.
CREATE TABLE environments (
    digest TEXT PRIMARY KEY,
    lock TEXT NOT NULL,
    why TEXT NOT NULL,
    at BIGINT NOT NULL
);
