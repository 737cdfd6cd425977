-- Every row carries its namespace. Times are seconds since the epoch. JSON is text.

CREATE TABLE turns (
    position   INTEGER PRIMARY KEY,              -- order of commit
    id         TEXT NOT NULL UNIQUE,
    namespace  TEXT NOT NULL,
    session    TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('main', 'side')),
    dialect    TEXT NOT NULL,
    request    BLOB NOT NULL,                    -- native bytes, redacted
    response   BLOB NOT NULL,                    -- native bytes, redacted
    query      TEXT NOT NULL,                    -- last user text, boilerplate removed
    reply      TEXT NOT NULL,                    -- assistant text
    status     INTEGER NOT NULL,
    complete   INTEGER NOT NULL,                 -- the reply reached its end
    skills     TEXT NOT NULL,                    -- JSON list of name@version
    injected   TEXT NOT NULL,
    generation INTEGER NOT NULL,
    policy     TEXT NOT NULL,
    usage      TEXT NOT NULL,
    timings    TEXT NOT NULL,
    created_at REAL NOT NULL
) STRICT;
CREATE INDEX turns_by_session ON turns (namespace, session, position);
CREATE INDEX turns_by_generation ON turns (namespace, generation, position);

CREATE TABLE feedback (
    position   INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    namespace  TEXT NOT NULL,
    turn_id    TEXT NOT NULL REFERENCES turns (id),
    score      REAL CHECK (score BETWEEN -1 AND 1),
    text       TEXT NOT NULL,
    pattern    TEXT,                             -- a check: the reply must match it
    created_at REAL NOT NULL
) STRICT;
CREATE INDEX feedback_by_turn ON feedback (turn_id);

CREATE TABLE signals (
    id         INTEGER PRIMARY KEY,
    namespace  TEXT NOT NULL,
    turn_id    TEXT NOT NULL REFERENCES turns (id),
    source     TEXT NOT NULL,
    value      REAL CHECK (value BETWEEN -1 AND 1), -- NULL: the source abstains
    reason     TEXT NOT NULL,
    evidence   TEXT NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (turn_id, source, evidence)
) STRICT;

CREATE TABLE generations (
    namespace  TEXT PRIMARY KEY,
    generation INTEGER NOT NULL
) STRICT;

CREATE TABLE skills (
    namespace    TEXT NOT NULL,
    name         TEXT NOT NULL,
    version      INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('candidate', 'trial', 'active', 'retired')),
    origin       TEXT NOT NULL,
    description  TEXT NOT NULL,
    body         TEXT NOT NULL,
    generation   INTEGER NOT NULL,               -- the first generation that it was live in
    created_at   REAL NOT NULL,
    PRIMARY KEY (namespace, name, version)
) STRICT;

CREATE TABLE skill_history (
    id         INTEGER PRIMARY KEY,
    namespace  TEXT NOT NULL,
    generation INTEGER NOT NULL,                 -- the generation that this change made
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    old_state  TEXT,
    new_state  TEXT NOT NULL,
    reason     TEXT NOT NULL,
    created_at REAL NOT NULL
) STRICT;

CREATE TABLE support (
    namespace  TEXT NOT NULL,
    turn_id    TEXT NOT NULL REFERENCES turns (id),
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    PRIMARY KEY (turn_id, name, version)
) STRICT;

CREATE TABLE verdicts (
    id         INTEGER PRIMARY KEY,
    namespace  TEXT NOT NULL,
    subject    TEXT NOT NULL,                    -- skill:name@version or adapter:name
    baseline   TEXT NOT NULL,
    candidate  TEXT NOT NULL,
    n          INTEGER NOT NULL,
    effect     REAL NOT NULL,
    confidence REAL NOT NULL,
    decision   TEXT NOT NULL,
    evidence   TEXT NOT NULL,
    created_at REAL NOT NULL
) STRICT;
CREATE INDEX verdicts_by_subject ON verdicts (namespace, subject);

CREATE TABLE adapters (
    name       TEXT NOT NULL,
    namespace  TEXT NOT NULL,
    base_model TEXT NOT NULL,
    parent     TEXT,
    folder     TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('candidate', 'rejected', 'promoted', 'rolled_back')),
    lineage    TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;

-- What serving should run (wanted) and what it runs (serving); one row a namespace.
CREATE TABLE routes (
    namespace  TEXT PRIMARY KEY,
    wanted     TEXT,                             -- adapter name; NULL: the base model
    serving    TEXT,
    detail     TEXT NOT NULL,                    -- what the last swap did, or why it did not
    updated_at REAL NOT NULL
) STRICT;

CREATE TABLE jobs (
    id          TEXT PRIMARY KEY,
    namespace   TEXT NOT NULL,
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('running', 'paused', 'done', 'failed')),
    folder      TEXT NOT NULL,
    lease_owner TEXT,
    lease_until REAL NOT NULL,
    progress    TEXT NOT NULL,
    created_at  REAL NOT NULL,
    updated_at  REAL NOT NULL
) STRICT;

-- What the fast loop has still to verify; one row a namespace.
CREATE TABLE evolve_state (
    namespace  TEXT PRIMARY KEY,
    unsettled  INTEGER NOT NULL,
    updated_at REAL NOT NULL
) STRICT;

CREATE TABLE cursors (
    namespace  TEXT NOT NULL,
    reader     TEXT NOT NULL,
    position   INTEGER NOT NULL,
    PRIMARY KEY (namespace, reader)
) STRICT;
