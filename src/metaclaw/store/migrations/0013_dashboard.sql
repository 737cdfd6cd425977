-- The main turns of a day, counted and joined with their signals without a look at the rows, which are large.
-- The time comes first, so that no question without one is led here.

CREATE INDEX turns_by_time ON turns (created_at, namespace, id, policy) WHERE kind = 'main';
