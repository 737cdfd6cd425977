-- Turns of an older generation that were asked again under a newer one, so that what is known of them is of that one.

CREATE TABLE renewals (
    namespace  TEXT NOT NULL,
    turn_id    TEXT NOT NULL,                    -- what was asked again
    generation INTEGER NOT NULL,                 -- of the library, when it was
    renewed_by TEXT,                             -- the side call whose reply passed the turn's check; NULL: none did
    created_at REAL NOT NULL,
    PRIMARY KEY (namespace, turn_id, generation)
) STRICT;
CREATE UNIQUE INDEX renewals_by_call ON renewals (renewed_by) WHERE renewed_by IS NOT NULL;
