-- Who may call an endpoint (delivery/keys.py), and whom a rule gives which release (delivery/rules.py).
CREATE TABLE endpoint_keys (
    digest TEXT PRIMARY KEY,
    endpoint TEXT NOT NULL,
    name TEXT NOT NULL,
    created BIGINT NOT NULL,
    revoked BIGINT
);
CREATE INDEX endpoint_keys_endpoint ON endpoint_keys (endpoint);
CREATE TABLE endpoint_rules (
    endpoint TEXT NOT NULL,
    name TEXT NOT NULL,
    release TEXT NOT NULL,
    header TEXT NOT NULL,
    value TEXT NOT NULL,
    share DOUBLE PRECISION NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (endpoint, name)
);
