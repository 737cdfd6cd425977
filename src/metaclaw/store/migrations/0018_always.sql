-- A skill that a person wants in every request, whatever is asked.

ALTER TABLE pins ADD COLUMN always INTEGER NOT NULL DEFAULT 0;
