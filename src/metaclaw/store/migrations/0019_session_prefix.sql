-- A session's last turn moves with each turn, when it was opened does not: the index then stays as it is.
-- A conversation gets a new session only when the one before it is over, so the last one opened is the latest.

DROP INDEX sessions_by_prefix;
CREATE INDEX sessions_by_prefix ON sessions (namespace, prefix, opened_at) WHERE prefix <> '';
