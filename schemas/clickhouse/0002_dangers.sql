-- What a statement could do harm by (schemas.events.Danger).
ALTER TABLE {database}.query_events ADD COLUMN IF NOT EXISTS dangers Array(LowCardinality(String)) AFTER flags;
