-- Bodies are kept packed where that pays (see journal/packing.py).

ALTER TABLE turns ADD COLUMN builds_on       TEXT;                       -- the turn whose request this one's adds to; NULL: it is kept whole
ALTER TABLE turns ADD COLUMN response_packed INTEGER NOT NULL DEFAULT 0; -- the response is a zstd frame
