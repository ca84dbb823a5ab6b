-- Gate reports (validation/reports.py): an index over objects in the store.
CREATE TABLE gate_reports (
    report TEXT PRIMARY KEY,
    reference TEXT NOT NULL,
    verdict TEXT NOT NULL,
    page TEXT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL
);
CREATE INDEX gate_reports_reference ON gate_reports (reference, at);
