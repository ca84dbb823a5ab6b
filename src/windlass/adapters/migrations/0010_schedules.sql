-- Schedules of the pipeline, and each time that one was due: once, whoever saw it.
CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    cron TEXT NOT NULL,
    since BIGINT NOT NULL,
    paused INTEGER NOT NULL
);
CREATE TABLE schedule_fires (
    schedule TEXT NOT NULL,
    due BIGINT NOT NULL,
    state TEXT NOT NULL,
    run TEXT NOT NULL,
    error TEXT NOT NULL,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (schedule, due)
);
