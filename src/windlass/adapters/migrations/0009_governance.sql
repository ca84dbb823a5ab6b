-- Approvals (governance/approvals.py).
CREATE TABLE approvals (
    reference TEXT NOT NULL,
    report TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (reference, report, actor)
);
