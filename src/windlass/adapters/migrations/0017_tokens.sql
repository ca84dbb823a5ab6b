-- Tokens (governance/tokens.py): who may ask the server. The token itself is not in here, only its digest.
CREATE TABLE tokens (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created BIGINT NOT NULL,
    used BIGINT,
    revoked BIGINT
);
CREATE UNIQUE INDEX tokens_live ON tokens (name) WHERE revoked IS NULL;
