-- What a person asked of the scheduler, and what the learner's scheduler sees; one row a namespace.
CREATE TABLE schedule (
    namespace  TEXT PRIMARY KEY,
    asked_at   REAL,                             -- when training was asked for; NULL: it is not, or was answered
    answer     TEXT NOT NULL,                    -- what became of what was asked last
    seen       TEXT NOT NULL,                    -- JSON: phase, window and its reason, as the learner last told
    seen_at    REAL NOT NULL
) STRICT;
