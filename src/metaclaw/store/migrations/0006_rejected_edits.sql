-- What was proposed for a failure and not taken: the next proposal for one like it is told.

CREATE TABLE rejected_edits (
    id         INTEGER PRIMARY KEY,
    namespace  TEXT NOT NULL,
    turn_id    TEXT NOT NULL REFERENCES turns (id),
    kind       TEXT NOT NULL CHECK (kind IN ('create', 'refine', 'merge')),
    name       TEXT NOT NULL,
    body       TEXT NOT NULL,                    -- '' where it held what must not be kept, such as a secret
    origin     TEXT NOT NULL,
    query      TEXT NOT NULL,                    -- the failed request's, by which it is found again
    reason     TEXT NOT NULL,
    failed     TEXT NOT NULL,                    -- JSON list of [request, reply]: what it did not mend
    created_at REAL NOT NULL
) STRICT;
CREATE INDEX rejected_edits_by_namespace ON rejected_edits (namespace, id);
