-- An adapter on trial in a share of the sessions, the one that waits for its end, and the skills that weights carry.

ALTER TABLE routes ADD COLUMN canary       TEXT;                    -- adapter name; NULL: none is on trial
ALTER TABLE routes ADD COLUMN canary_share REAL NOT NULL DEFAULT 0; -- of the sessions
ALTER TABLE routes ADD COLUMN canary_since REAL;                    -- when it began to serve; NULL: not yet
ALTER TABLE routes ADD COLUMN waiting      TEXT;                    -- adapter that is tried when the canary has ended

-- The receipts of skills that left the context because an adapter carries them.
CREATE TABLE carried (
    namespace    TEXT NOT NULL,
    adapter      TEXT NOT NULL,
    name         TEXT NOT NULL,                  -- the skill's
    version      INTEGER NOT NULL,
    n            INTEGER NOT NULL,               -- held-out prompts that it was compared on
    right_with   INTEGER NOT NULL,               -- of them right with the skill in the prompt, by the incumbent
    right_without INTEGER NOT NULL,              -- and right without it, by the adapter
    tokens       INTEGER NOT NULL,               -- what it took of each prompt that it was in
    left_at      REAL NOT NULL,
    returned_at  REAL,                           -- when the adapter was rolled back, and the skill came back
    PRIMARY KEY (namespace, adapter, name, version)
) STRICT;
