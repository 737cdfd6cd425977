-- Who within a session spoke, why a side call is one, and when sessions opened and closed.

ALTER TABLE turns ADD COLUMN agent TEXT NOT NULL DEFAULT '';  -- '' for the main agent
ALTER TABLE turns ADD COLUMN side  TEXT NOT NULL DEFAULT '';  -- why nothing is learned from it; '' for a main turn
DROP INDEX turns_by_session;
CREATE INDEX turns_by_session ON turns (namespace, session, agent, position);

-- Written with each main turn, in its transaction.
CREATE TABLE sessions (
    namespace  TEXT NOT NULL,
    session    TEXT NOT NULL,
    prefix     TEXT NOT NULL,                    -- what it was recognised by where no client named it; else ''
    opened_at  REAL NOT NULL,
    last_at    REAL NOT NULL,                    -- when its last turn began
    closed_at  REAL,                             -- when a client closed it; NULL: idle time alone may have
    PRIMARY KEY (namespace, session)
) STRICT;
CREATE INDEX sessions_by_prefix ON sessions (namespace, prefix, last_at) WHERE prefix <> '';
