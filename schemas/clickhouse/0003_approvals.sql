-- Statements that waited for people, and uses of break-glass: one row for each, with its line as published. `kind` is request or
-- break_glass. What came of it is in approval_steps. A repeated insert replaces the row by itself, so read with FINAL.
CREATE TABLE IF NOT EXISTS {database}.approvals (
    approval_id String,
    kind LowCardinality(String),
    at DateTime64(6, 'UTC'),
    expires_at DateTime64(6, 'UTC'),
    source LowCardinality(String),
    event_id UUID,
    session_id String,
    principal_id LowCardinality(String),
    principal_kind LowCardinality(String),
    on_behalf_of LowCardinality(String),
    database_alias LowCardinality(String),
    environment LowCardinality(String),
    rule LowCardinality(String),
    risk UInt8,
    fingerprint LowCardinality(String),
    line String CODEC(ZSTD(3)),
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6),

    INDEX at_range at TYPE minmax GRANULARITY 1,
    INDEX inserted_range inserted_at TYPE minmax GRANULARITY 1
) ENGINE = {replacing_merge_tree}
ORDER BY approval_id
TTL toDateTime(at) + INTERVAL {retention_days} DAY
SETTINGS {table_settings};

-- What happened to them: `step` is decided (`status` approved or denied, `who` decided), reviewed (the same, of a use of
-- break-glass), closed (`status` of ApprovalClosed), or executed (`status` and counts of the QueryExecuted that it became).
CREATE TABLE IF NOT EXISTS {database}.approval_steps (
    approval_id String,
    step LowCardinality(String),
    at DateTime64(6, 'UTC'),
    event_id UUID,
    who LowCardinality(String),
    status LowCardinality(String),
    reason String,
    channel LowCardinality(String),
    nth UInt16,
    needed UInt16,
    deciders Array(LowCardinality(String)),
    sqlstate LowCardinality(String),
    rows_returned UInt64,
    rows_affected UInt64,
    db_us UInt64,
    held_us UInt64,
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6),

    INDEX inserted_range inserted_at TYPE minmax GRANULARITY 1
) ENGINE = {replacing_merge_tree}
ORDER BY (approval_id, event_id)
TTL toDateTime(at) + INTERVAL {retention_days} DAY
SETTINGS {table_settings};
