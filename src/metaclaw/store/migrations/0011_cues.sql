-- What a skill is found by besides its own text: requests in which its rule was asked for, never shown to a model.

ALTER TABLE skills ADD COLUMN cues TEXT NOT NULL DEFAULT '';  -- JSON list of [turn_id, text], the oldest first; '' for none
