-- Live windows, labels, alerts and retraining (monitoring/).
CREATE TABLE monitors (
    endpoint TEXT PRIMARY KEY,
    position TEXT NOT NULL
);
CREATE TABLE monitor_windows (
    endpoint TEXT NOT NULL,
    release TEXT NOT NULL,
    number INTEGER NOT NULL,
    position TEXT NOT NULL,
    closed INTEGER NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    answered INTEGER NOT NULL,
    expected_right REAL,
    profile TEXT NOT NULL,
    drifted TEXT NOT NULL,
    effects TEXT NOT NULL,
    PRIMARY KEY (endpoint, release, number)
);
CREATE TABLE monitored_predictions (
    endpoint TEXT NOT NULL,
    id TEXT NOT NULL,
    release TEXT NOT NULL,
    number INTEGER NOT NULL,
    prediction TEXT NOT NULL,
    PRIMARY KEY (endpoint, id)
);
CREATE INDEX monitored_predictions_window ON monitored_predictions (endpoint, release, number);
CREATE TABLE labels (
    endpoint TEXT NOT NULL,
    id TEXT NOT NULL,
    label TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (endpoint, id)
);
CREATE TABLE alerts (
    endpoint TEXT NOT NULL,
    column_name TEXT NOT NULL,
    state TEXT NOT NULL,
    since BIGINT NOT NULL,
    clean INTEGER NOT NULL,
    release TEXT NOT NULL,
    position TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (endpoint, column_name)
);
CREATE TABLE retrainings (
    id TEXT PRIMARY KEY,
    endpoint TEXT NOT NULL,
    release TEXT NOT NULL,
    state TEXT NOT NULL,
    cause TEXT NOT NULL,
    position TEXT NOT NULL,
    at BIGINT NOT NULL,
    holder TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    run TEXT NOT NULL,
    reference TEXT NOT NULL,
    gate TEXT NOT NULL,
    detail TEXT NOT NULL
);
