-- The files of an environment's distributions that are kept in the store.
CREATE TABLE environment_files (
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    object TEXT NOT NULL,
    PRIMARY KEY (environment, name)
);
