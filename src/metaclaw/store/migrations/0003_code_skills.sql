-- A skill's kind, and the files beside its SKILL.md.

ALTER TABLE skills ADD COLUMN kind  TEXT NOT NULL DEFAULT 'instruction' CHECK (kind IN ('instruction', 'code'));
ALTER TABLE skills ADD COLUMN files TEXT NOT NULL DEFAULT '';  -- JSON list of [path, text]; '' for none
