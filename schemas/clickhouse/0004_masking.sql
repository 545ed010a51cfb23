-- Of the cells that `exposure` counts by data class: those that were masked, and by column those shown as they are.
ALTER TABLE {database}.query_events ADD COLUMN IF NOT EXISTS masked Map(LowCardinality(String), UInt64) AFTER exposure;
ALTER TABLE {database}.query_events ADD COLUMN IF NOT EXISTS exposed Map(String, UInt64) AFTER masked;
