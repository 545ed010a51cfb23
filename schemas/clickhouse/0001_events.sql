-- What happened: one row per execution, and the events around them. Names in braces come from the store's profile
-- (processors.sinks.migrations): engines, table settings, retention. A semicolon at the end of a line ends a statement.
--
-- Rows are exactly once by (source, epoch, seq). `line` holds the line as published only when it is of a newer version than the
-- reader knew, so that fields without a column are not lost; it is empty otherwise.
CREATE TABLE IF NOT EXISTS {database}.query_events (
    source LowCardinality(String),
    epoch UInt32 CODEC(Delta, ZSTD(1)),
    seq UInt64 CODEC(Delta, ZSTD(1)),
    event_id UUID CODEC(ZSTD(1)),
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    ended_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    kind LowCardinality(String),
    transaction LowCardinality(String),
    params Array(String) CODEC(ZSTD(1)),
    claims Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    session_id LowCardinality(String),
    principal_id LowCardinality(String),
    principal_kind LowCardinality(String),
    principal_groups Array(LowCardinality(String)),
    auth_method LowCardinality(String),
    credential_id LowCardinality(String),
    on_behalf_of LowCardinality(String),
    delegation Array(LowCardinality(String)),
    database_alias LowCardinality(String),
    engine LowCardinality(String),
    environment LowCardinality(String),
    database_name LowCardinality(String),
    db_user LowCardinality(String),
    client_address LowCardinality(String),
    application LowCardinality(String),
    driver LowCardinality(String),
    tls LowCardinality(String),
    text LowCardinality(String),
    text_hash LowCardinality(String),
    fingerprint LowCardinality(String),
    verbs Array(LowCardinality(String)),
    reads Array(LowCardinality(String)),
    writes Array(LowCardinality(String)),
    columns Array(LowCardinality(String)),
    column_roles Array(LowCardinality(String)),
    functions Array(LowCardinality(String)),
    flags Array(LowCardinality(String)),
    data_classes Array(LowCardinality(String)),
    verdict LowCardinality(String),
    policies Array(LowCardinality(String)),
    bundle LowCardinality(String),
    risk UInt8,
    approval_id String,
    status LowCardinality(String),
    sqlstate LowCardinality(String),
    rows_returned UInt64 CODEC(T64, ZSTD(1)),
    rows_affected UInt64 CODEC(T64, ZSTD(1)),
    bytes_in UInt64 CODEC(T64, ZSTD(1)),
    bytes_out UInt64 CODEC(T64, ZSTD(1)),
    db_us UInt64 CODEC(T64, ZSTD(1)),
    held_us UInt64 CODEC(T64, ZSTD(1)),
    total_us UInt64 CODEC(T64, ZSTD(1)),
    exposure Map(LowCardinality(String), UInt64),
    block_number UInt64 CODEC(Delta, ZSTD(1)),
    line String CODEC(ZSTD(3)),
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1)),

    INDEX at_range at TYPE minmax GRANULARITY 1,
    INDEX event_id_filter event_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX text_tokens text TYPE tokenbf_v1(4096, 3, 0) GRANULARITY 1,
    INDEX fingerprint_filter fingerprint TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX text_hash_filter text_hash TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX session_filter session_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX params_filter params TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX reads_filter reads TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX writes_filter writes TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX status_filter status TYPE set(16) GRANULARITY 1,

    PROJECTION hourly_activity (
        SELECT
            toStartOfHour(at), principal_id, principal_kind, on_behalf_of, database_alias, status,
            count(), sum(rows_returned), sum(rows_affected), sum(bytes_out), sum(db_us), max(at)
        GROUP BY toStartOfHour(at), principal_id, principal_kind, on_behalf_of, database_alias, status
    )
) ENGINE = {merge_tree}
PARTITION BY toYYYYMM(at)
ORDER BY (database_alias, principal_id, at, event_id)
TTL toDateTime(at) + INTERVAL {retention_days} DAY
SETTINGS {table_settings};

-- Every other event: its envelope, the nouns they share, and the line as published.
CREATE TABLE IF NOT EXISTS {database}.other_events (
    type LowCardinality(String),
    source LowCardinality(String),
    epoch UInt32 CODEC(Delta, ZSTD(1)),
    seq UInt64 CODEC(Delta, ZSTD(1)),
    event_id UUID,
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    session_id String,
    principal_id LowCardinality(String),
    database_alias LowCardinality(String),
    line String CODEC(ZSTD(3)),
    block_number UInt64 CODEC(Delta, ZSTD(1)),
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1)),

    INDEX at_range at TYPE minmax GRANULARITY 1,
    INDEX event_id_filter event_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX session_filter session_id TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = {merge_tree}
PARTITION BY toYYYYMM(at)
ORDER BY (type, at, event_id)
TTL toDateTime(at) + INTERVAL {retention_days} DAY
SETTINGS {table_settings};

-- Sessions: the open row and the close row of one session merge into the newer; read with FINAL. A session still open has
-- `closed_at` 0 (1970). Not partitioned: rows merge only within a partition, and the two rows' times may fall in two months.
CREATE TABLE IF NOT EXISTS {database}.sessions (
    session_id String,
    opened_at DateTime64(6, 'UTC'),
    closed_at DateTime64(6, 'UTC'),
    principal_id LowCardinality(String),
    principal_kind LowCardinality(String),
    on_behalf_of LowCardinality(String),
    database_alias LowCardinality(String),
    database_name LowCardinality(String),
    db_user LowCardinality(String),
    client_address LowCardinality(String),
    application LowCardinality(String),
    driver LowCardinality(String),
    tls LowCardinality(String),
    reason LowCardinality(String),
    statements UInt64,
    bytes_in UInt64,
    bytes_out UInt64,
    source LowCardinality(String),
    version UInt64,

    INDEX opened_range opened_at TYPE minmax GRANULARITY 1,
    INDEX closed_range closed_at TYPE minmax GRANULARITY 1
) ENGINE = {replacing_merge_tree_version}
ORDER BY session_id
TTL toDateTime(opened_at) + INTERVAL {retention_days} DAY
SETTINGS {table_settings};

-- Long normalised texts, once per hash.
CREATE TABLE IF NOT EXISTS {database}.texts (
    text_hash String,
    text String CODEC(ZSTD(3)),
    first_seen DateTime64(6, 'UTC')
) ENGINE = {replacing_merge_tree}
ORDER BY text_hash
SETTINGS {table_settings};

-- Blocks as projected, written after their events: what completeness is counted from. `signature` says what was checked:
-- `verified` against the source's registered key, or `unsigned` where no key is registered.
CREATE TABLE IF NOT EXISTS {database}.blocks (
    source LowCardinality(String),
    epoch UInt32 CODEC(Delta, ZSTD(1)),
    number UInt64 CODEC(Delta, ZSTD(1)),
    first_seq UInt64 CODEC(Delta, ZSTD(1)),
    count UInt32,
    query_events UInt32,
    sealed_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    prev FixedString(64),
    root FixedString(64),
    block_id FixedString(64),
    signature LowCardinality(String),
    log_offset UInt64 CODEC(Delta, ZSTD(1)),
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1))
) ENGINE = {replacing_merge_tree}
ORDER BY (source, number)
SETTINGS {table_settings};

-- Hourly activity of each principal. A view over a projection, not a materialised view: a projection is part of each data part, so
-- it is exactly as complete as the events and needs no healing of its own after a crash.
CREATE VIEW IF NOT EXISTS {database}.principal_activity_hourly AS
SELECT
    toStartOfHour(at) AS hour, principal_id, principal_kind, on_behalf_of, database_alias, status,
    count() AS events, sum(rows_returned) AS rows_returned, sum(rows_affected) AS rows_affected,
    sum(bytes_out) AS bytes_out, sum(db_us) AS db_us, max(at) AS last_at
FROM {database}.query_events
GROUP BY toStartOfHour(at), principal_id, principal_kind, on_behalf_of, database_alias, status;
