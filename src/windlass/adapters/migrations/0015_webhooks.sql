-- Webhooks (governance/webhooks/): how far each has read the ledger, what it has to deliver, and every attempt.
CREATE TABLE webhooks (
    name TEXT PRIMARY KEY,
    position BIGINT NOT NULL
);
CREATE TABLE webhook_deliveries (
    id TEXT PRIMARY KEY,
    webhook TEXT NOT NULL,
    seq BIGINT,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    remaining INTEGER NOT NULL,
    due BIGINT NOT NULL,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL,
    at BIGINT NOT NULL,
    ended_at BIGINT,
    UNIQUE (webhook, seq)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, state, due);
CREATE INDEX webhook_deliveries_at ON webhook_deliveries (webhook, at);
CREATE TABLE webhook_attempts (
    delivery TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    at BIGINT NOT NULL,
    status INTEGER,
    milliseconds BIGINT,
    error TEXT NOT NULL,
    PRIMARY KEY (delivery, attempt)
);
