-- ClickHouse reads affidavit.events by itself, with its own Kafka engine: an alternative to `affidavit process` for those who prefer
-- it. Run `affidavit migrate` first, then this file once, on one server, with brokers, database and group as they are at your site.
-- Rows get the same columns as from the pipeline, but `data_classes` holds only what was seen in results, not what columns' names say.
-- What it does not do: verify blocks, keep the archive, record `blocks`, approvals and activity, and insert exactly once: a block that is delivered again makes rows again. Never run both on one database. A login to the brokers is
-- in the server's configuration (`kafka`), not here.
CREATE TABLE IF NOT EXISTS affidavit.events_queue (published String)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'kafka-1.example:9092',
    kafka_topic_list = 'affidavit.events',
    kafka_group_name = 'affidavit-clickhouse',
    -- Each line of a block is a row, as it was published.
    kafka_format = 'JSONAsString',
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    -- A message that cannot be read becomes a row of other_events, `Unreadable`, with the message as its line.
    kafka_handle_error_mode = 'stream';

CREATE MATERIALIZED VIEW IF NOT EXISTS affidavit.events_queue_queries TO affidavit.query_events AS
WITH JSONExtract(published, 'Tuple(
    v UInt32, source String, epoch UInt32, seq UInt64, event_id UUID, at Int64, ended_at Int64, kind String, transaction String,
    params Array(String), claims Map(String, String), session_id String,
    principal Tuple(id String, kind String, groups Array(String), auth_method String, credential_id String, on_behalf_of String,
        delegation Array(String)),
    database Tuple(alias String, engine String, environment String, name String), db_user String,
    client Tuple(address String, application String, driver String, tls String),
    text String, text_hash String, fingerprint String,
    facts Tuple(verbs Array(String), reads Array(String), writes Array(String), columns Array(Tuple(name String,
        roles Array(String))), functions Array(String), flags Array(String), dangers Array(String)),
    decision Tuple(verdict String, policies Array(String), bundle String, risk UInt8, approval_id String),
    outcome Tuple(status String, sqlstate String, rows_returned UInt64, rows_affected UInt64, bytes_in UInt64, bytes_out UInt64,
        db_us UInt64, held_us UInt64, total_us UInt64),
    exposure Map(String, UInt64), masked Map(String, UInt64), exposed Map(String, UInt64))') AS e
SELECT
    e.source AS source, e.epoch AS epoch, e.seq AS seq, e.event_id AS event_id,
    fromUnixTimestamp64Micro(e.at, 'UTC') AS at, fromUnixTimestamp64Micro(e.ended_at, 'UTC') AS ended_at,
    e.kind AS kind, e.transaction AS transaction, e.params AS params, e.claims AS claims, e.session_id AS session_id,
    e.principal.id AS principal_id, e.principal.kind AS principal_kind, e.principal.groups AS principal_groups,
    e.principal.auth_method AS auth_method, e.principal.credential_id AS credential_id,
    e.principal.on_behalf_of AS on_behalf_of, e.principal.delegation AS delegation,
    e.database.alias AS database_alias, e.database.engine AS engine, e.database.environment AS environment,
    e.database.name AS database_name, e.db_user AS db_user, e.client.address AS client_address,
    e.client.application AS application, e.client.driver AS driver, e.client.tls AS tls,
    e.text AS text, e.text_hash AS text_hash, e.fingerprint AS fingerprint,
    e.facts.verbs AS verbs, e.facts.reads AS reads, e.facts.writes AS writes,
    arrayMap(c -> c.1, e.facts.columns) AS columns, arrayMap(c -> arrayStringConcat(c.2, ','), e.facts.columns) AS column_roles,
    e.facts.functions AS functions, e.facts.flags AS flags, e.facts.dangers AS dangers,
    e.decision.verdict AS verdict, e.decision.policies AS policies, e.decision.bundle AS bundle, e.decision.risk AS risk,
    e.decision.approval_id AS approval_id, e.outcome.status AS status, e.outcome.sqlstate AS sqlstate,
    e.outcome.rows_returned AS rows_returned, e.outcome.rows_affected AS rows_affected, e.outcome.bytes_in AS bytes_in,
    e.outcome.bytes_out AS bytes_out, e.outcome.db_us AS db_us, e.outcome.held_us AS held_us, e.outcome.total_us AS total_us,
    arraySort(mapKeys(e.exposure)) AS data_classes, e.exposure AS exposure, e.masked AS masked, e.exposed AS exposed,
    toUInt64OrZero(splitByChar('\n', _headers.value[indexOf(_headers.name, 'block')])[4]) AS block_number,
    if(e.v > 1, published, '') AS line
FROM affidavit.events_queue
WHERE JSONExtractString(published, 'type') = 'QueryExecuted';

CREATE MATERIALIZED VIEW IF NOT EXISTS affidavit.events_queue_others TO affidavit.other_events AS
SELECT
    if(JSONType(published, 'type') = 'String', JSONExtractString(published, 'type'), 'Unreadable') AS type,
    JSONExtractString(published, 'source') AS source, JSONExtractUInt(published, 'epoch') AS epoch, JSONExtractUInt(published, 'seq') AS seq,
    toUUIDOrZero(JSONExtractString(published, 'event_id')) AS event_id,
    if(JSONExtractInt(published, 'at') > 0, fromUnixTimestamp64Micro(JSONExtractInt(published, 'at'), 'UTC'), now64(6, 'UTC')) AS at,
    JSONExtractString(published, 'session_id') AS session_id,
    if(JSONExtractString(published, 'principal', 'id') != '', JSONExtractString(published, 'principal', 'id'),
        JSONExtractString(published, 'actor')) AS principal_id,
    if(JSONExtractString(published, 'database', 'alias') != '', JSONExtractString(published, 'database', 'alias'),
        JSONExtractString(published, 'database')) AS database_alias,
    if(_error = '', published, _raw_message) AS line,
    toUInt64OrZero(splitByChar('\n', _headers.value[indexOf(_headers.name, 'block')])[4]) AS block_number
FROM affidavit.events_queue
WHERE JSONExtractString(published, 'type') != 'QueryExecuted';

CREATE MATERIALIZED VIEW IF NOT EXISTS affidavit.events_queue_texts TO affidavit.texts AS
SELECT
    JSONExtractString(published, 'text_hash') AS text_hash, JSONExtractString(published, 'text') AS text,
    fromUnixTimestamp64Micro(JSONExtractInt(published, 'at'), 'UTC') AS first_seen
FROM affidavit.events_queue
WHERE JSONExtractString(published, 'type') = 'TextObserved';

CREATE MATERIALIZED VIEW IF NOT EXISTS affidavit.events_queue_sessions TO affidavit.sessions AS
WITH JSONExtractString(published, 'type') = 'SessionClosed' AS closed, JSONExtractInt(published, 'at') AS happened
SELECT
    JSONExtractString(published, 'session_id') AS session_id,
    fromUnixTimestamp64Micro(if(closed, happened - JSONExtractInt(published, 'duration_us'), happened), 'UTC') AS opened_at,
    fromUnixTimestamp64Micro(if(closed, happened, 0), 'UTC') AS closed_at,
    JSONExtractString(published, 'principal', 'id') AS principal_id, JSONExtractString(published, 'principal', 'kind') AS principal_kind,
    JSONExtractString(published, 'principal', 'on_behalf_of') AS on_behalf_of,
    JSONExtractString(published, 'database', 'alias') AS database_alias, JSONExtractString(published, 'database', 'name') AS database_name,
    JSONExtractString(published, 'db_user') AS db_user, JSONExtractString(published, 'client', 'address') AS client_address,
    JSONExtractString(published, 'client', 'application') AS application, JSONExtractString(published, 'client', 'driver') AS driver,
    JSONExtractString(published, 'client', 'tls') AS tls, JSONExtractString(published, 'reason') AS reason,
    JSONExtractUInt(published, 'statements') AS statements, JSONExtractUInt(published, 'bytes_in') AS bytes_in,
    JSONExtractUInt(published, 'bytes_out') AS bytes_out, JSONExtractString(published, 'source') AS source, if(closed, 2, 1) AS version
FROM affidavit.events_queue
WHERE JSONExtractString(published, 'type') IN ('SessionOpened', 'SessionClosed');
