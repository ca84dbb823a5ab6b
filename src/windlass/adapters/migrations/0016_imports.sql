-- What was imported from where (exchange/): of each thing its copy here, and what it was when its copy was complete;
-- '' while it is being copied.
CREATE TABLE imports (
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    copy TEXT NOT NULL,
    state TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (source, kind, id)
);
CREATE INDEX imports_copy ON imports (kind, copy);
