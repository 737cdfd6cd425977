-- A person may hold training back: until an instant, or (the largest number there is) until it is taken back.

ALTER TABLE schedule ADD COLUMN held_until REAL;                    -- NULL: it is not held
