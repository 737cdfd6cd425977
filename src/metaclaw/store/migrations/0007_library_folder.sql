-- What stands on disk for a skill, where an imported one came from, and what kind of act a change was.

ALTER TABLE skill_history ADD COLUMN cause TEXT NOT NULL DEFAULT '';  -- 'rollback', 'merge', 'retire', 'deleted'; '' else
CREATE INDEX skill_history_by_name ON skill_history (namespace, name, id);

CREATE INDEX skills_waiting ON skills (namespace, name) WHERE state = 'candidate';

-- The folder of a skill as it was last written by us, or taken in from a person's hand.
CREATE TABLE skill_folders (
    namespace  TEXT NOT NULL,
    name       TEXT NOT NULL,
    sha256     TEXT NOT NULL,                    -- of its SKILL.md and scripts
    version    INTEGER NOT NULL,                 -- the version that it says; 0 where it is broken
    problem    TEXT NOT NULL,                    -- why it cannot be used; '' where it can
    updated_at REAL NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;

-- The bytes that a person agreed to. A source that changes later is not followed.
CREATE TABLE skill_imports (
    namespace  TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    source     TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (namespace, name, version)
) STRICT;
