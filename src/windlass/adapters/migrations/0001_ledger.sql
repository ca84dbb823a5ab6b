-- The ledger and the names it moves (domain/ledger.py).
CREATE TABLE ledger (
    seq INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    before TEXT,
    after TEXT,
    reason TEXT NOT NULL,
    evidence TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX ledger_subject ON ledger (subject, seq);
CREATE TABLE heads (
    subject TEXT PRIMARY KEY,
    target TEXT,
    seq INTEGER NOT NULL
);
