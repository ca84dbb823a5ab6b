-- Evidence of rollouts (delivery/): the labels that each interval took in, as they were then and in their order. Labels
-- come late and may be corrected; what was decided on stays what it was.
CREATE TABLE rollout_labels (
    rollout TEXT NOT NULL,
    seq INTEGER NOT NULL,
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (rollout, seq, number)
);
CREATE INDEX labels_at ON labels (endpoint, at);
