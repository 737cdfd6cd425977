-- What stands for the data that learning rests on: signatures, what was sampled, what was erased and what that made stale.

ALTER TABLE adapters ADD COLUMN signed INTEGER NOT NULL DEFAULT 0;  -- its manifest bears our signature

-- The very tokens of a reply and their log-probabilities, from the engine that sampled them. No row: text only.
CREATE TABLE samples (
    turn_id    TEXT PRIMARY KEY REFERENCES turns (id),
    namespace  TEXT NOT NULL,
    tokens     BLOB NOT NULL,                    -- 32-bit integers, little-endian
    logprobs   BLOB NOT NULL                     -- 32-bit floats, little-endian, one a token
) STRICT;

-- Skills and adapters that came from a session which was erased since. A skill's row goes when a person approves it.
CREATE TABLE stale (
    namespace  TEXT NOT NULL,
    subject    TEXT NOT NULL,                    -- skill:name@version or adapter:name
    reason     TEXT NOT NULL,
    source     TEXT NOT NULL,                    -- the hash of the session's name
    created_at REAL NOT NULL,
    PRIMARY KEY (namespace, subject)
) STRICT;

-- The turns that were erased, by id alone: what a training run took in before may still hold them.
CREATE TABLE erased_turns (
    namespace  TEXT NOT NULL,
    turn_id    TEXT NOT NULL,
    erased_at  REAL NOT NULL,
    PRIMARY KEY (namespace, turn_id)
) STRICT;

-- The sessions that were erased, by the hash of their names: enough to sweep again for what came late.
CREATE TABLE erasures (
    namespace      TEXT NOT NULL,
    session_sha256 TEXT NOT NULL,
    opened_at      REAL NOT NULL,                -- when the session's first turn began
    erased_at      REAL NOT NULL,
    PRIMARY KEY (namespace, session_sha256)
) STRICT;
