-- A request may be kept as what it adds to another turn's of its session (see journal/packing.py).

ALTER TABLE turns ADD COLUMN builds_on TEXT;                        -- that turn's id; NULL: the request is kept whole
