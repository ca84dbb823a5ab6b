-- Retention (governance/retention/): legal holds; versions whose files were given up; what is being purged.
CREATE TABLE holds (
    thing TEXT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    released_at BIGINT,
    released_by TEXT NOT NULL,
    released_reason TEXT NOT NULL,
    PRIMARY KEY (thing, at)
);
ALTER TABLE model_versions ADD COLUMN purged_at BIGINT;
-- Rows that nothing refers to any more, and that are yet to be removed: root is the folder of artifacts, if it has one.
CREATE TABLE purging (
    kind TEXT NOT NULL,
    number BIGINT NOT NULL,
    root TEXT NOT NULL,
    PRIMARY KEY (kind, number)
);
-- The highest number of what was purged: none is given again.
CREATE TABLE purged_numbers (
    kind TEXT PRIMARY KEY,
    number BIGINT NOT NULL
);
