-- The hold-out, what came of it, and which skills take no part.

ALTER TABLE turns ADD COLUMN drawn         TEXT NOT NULL DEFAULT '[]';  -- JSON list of name@version: a coin was thrown
ALTER TABLE turns ADD COLUMN withheld      TEXT NOT NULL DEFAULT '[]';  -- those of them that the request went without
ALTER TABLE turns ADD COLUMN holdout_share REAL NOT NULL DEFAULT 0;     -- how likely each was to be withheld

-- One try of a skill: a session's day, under one policy version. Ordered by how they began.
CREATE TABLE exposures (
    id         INTEGER PRIMARY KEY,
    namespace  TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    policy     TEXT NOT NULL,
    session    TEXT NOT NULL,
    day        INTEGER NOT NULL,                 -- of its first turn, since the epoch, UTC
    turn_id    TEXT NOT NULL REFERENCES turns (id), -- the first
    position   INTEGER NOT NULL,                 -- the first turn's
    began_at   REAL NOT NULL,
    share      REAL NOT NULL,                    -- how likely it was to be withheld
    withheld   INTEGER NOT NULL,
    state      TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'counted', 'left out')),
    failed     INTEGER,                          -- once counted: whether one of its turns failed
    UNIQUE (namespace, session, name, version, policy, day)
) STRICT;
CREATE INDEX turns_drawn ON turns (namespace, position) WHERE drawn <> '[]';
CREATE INDEX exposures_open ON exposures (namespace, id) WHERE state = 'open';
CREATE INDEX exposures_by_skill ON exposures (namespace, name, version, policy, id);

CREATE TABLE pins (
    namespace  TEXT NOT NULL,
    name       TEXT NOT NULL,                    -- every version of the skill
    created_at REAL NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;
