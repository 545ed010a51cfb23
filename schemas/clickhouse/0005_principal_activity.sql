-- Activity of each principal by hour and database, as stage 2 counts it. A row holds totals since the block that `opened` names; of two
-- of the same key the one with more events replaces the other, so read with FINAL. Rows that differ in `opened` only add up.
CREATE TABLE IF NOT EXISTS {database}.principal_activity (
    principal_id LowCardinality(String),
    principal_kind LowCardinality(String),
    hour DateTime64(6, 'UTC'),
    database_alias LowCardinality(String),
    opened UInt64,
    events UInt64,
    denied UInt64,
    errors UInt64,
    rows_returned UInt64,
    first_at DateTime64(6, 'UTC'),
    last_at DateTime64(6, 'UTC'),
    verbs Map(LowCardinality(String), UInt64),
    classes Map(LowCardinality(String), UInt64),
    version UInt64
) ENGINE = {replacing_merge_tree_version}
ORDER BY (principal_id, hour, database_alias, opened)
TTL toDateTime(hour) + INTERVAL {retention_days} DAY
SETTINGS {table_settings};
