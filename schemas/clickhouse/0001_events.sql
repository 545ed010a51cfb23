-- What happened: one row per execution, and the events around them. Engines in {braces} come from the store's profile.
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
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta, ZSTD(1))
) ENGINE = {merge_tree}
PARTITION BY toYYYYMM(at)
ORDER BY (database_alias, principal_id, at, event_id)
TTL toDateTime(at) + INTERVAL {retention_days} DAY
SETTINGS {table_settings};

-- Every other event: its envelope, the nouns they share, and the line as published.
CREATE TABLE IF NOT EXISTS {database}.other_events (
    type LowCardinality(String),
    source LowCardinality(String),
    epoch UInt32,
    seq UInt64,
    event_id UUID,
    at DateTime64(6, 'UTC'),
    session_id String,
    principal_id LowCardinality(String),
    database_alias LowCardinality(String),
    line String CODEC(ZSTD(3)),
    block_number UInt64,
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = {merge_tree}
PARTITION BY toYYYYMM(at)
ORDER BY (type, at, event_id)
TTL toDateTime(at) + INTERVAL {retention_days} DAY
SETTINGS {table_settings};

-- Sessions: the open row and the close row of one session merge into the newer.
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
    version UInt64
) ENGINE = {replacing_merge_tree_version}
PARTITION BY toYYYYMM(opened_at)
ORDER BY (opened_at, session_id)
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

-- Blocks as projected: what completeness is counted from.
CREATE TABLE IF NOT EXISTS {database}.blocks (
    source LowCardinality(String),
    epoch UInt32,
    number UInt64,
    first_seq UInt64,
    count UInt32,
    query_events UInt32,
    sealed_at DateTime64(6, 'UTC'),
    prev FixedString(64),
    root FixedString(64),
    block_id FixedString(64),
    log_offset UInt64,
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = {replacing_merge_tree}
ORDER BY (source, number)
SETTINGS {table_settings};
