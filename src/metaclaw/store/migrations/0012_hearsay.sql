-- Skills whose words nobody vouches for: they came in a conversation, which may pass on what others wrote. Such a version
-- is never active, whatever the evidence for it, until its row goes: by a person's approval, or by corroboration.

CREATE TABLE hearsay (
    namespace  TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (namespace, name, version)
) STRICT;

-- What is on trial or waits, and was not written from a client's feedback in words.
INSERT INTO hearsay
SELECT namespace, name, version, created_at FROM skills
WHERE state IN ('trial', 'candidate') AND origin IN ('extractive', 'model') AND NOT EXISTS (
    SELECT 1 FROM support JOIN feedback ON feedback.turn_id = support.turn_id
    WHERE support.namespace = skills.namespace AND support.name = skills.name AND support.version = skills.version
    AND feedback.text <> ''
);

CREATE TRIGGER hearsay_is_not_made_active BEFORE UPDATE OF state ON skills
WHEN new.state = 'active' AND EXISTS (
    SELECT 1 FROM hearsay
    WHERE hearsay.namespace = new.namespace AND hearsay.name = new.name AND hearsay.version = new.version
)
BEGIN SELECT RAISE(ABORT, 'a skill that nobody vouches for is never active'); END;

CREATE TRIGGER what_is_active_is_no_hearsay BEFORE INSERT ON hearsay
WHEN EXISTS (
    SELECT 1 FROM skills
    WHERE skills.namespace = new.namespace AND skills.name = new.name AND skills.version = new.version
    AND skills.state = 'active'
)
BEGIN SELECT RAISE(ABORT, 'a skill that nobody vouches for is never active'); END;
