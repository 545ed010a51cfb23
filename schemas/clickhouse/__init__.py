"""ClickHouse migrations: `NNNN_name.sql`, numbered, forward only, applied by `processors.sinks.clickhouse.migrate`."""
