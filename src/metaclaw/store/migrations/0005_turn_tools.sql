-- The code skills that a turn offered to its model, and the calls of them that the gateway ran.

ALTER TABLE turns ADD COLUMN tools TEXT NOT NULL DEFAULT '';  -- JSON, redacted: {"offered", "calls"}; '' for none
