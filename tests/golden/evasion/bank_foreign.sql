CREATE SERVER clearing FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1', dbname 'clearing');
CREATE USER MAPPING FOR public SERVER clearing OPTIONS (user 'x', password 'secret-of-clearing');
CREATE FOREIGN TABLE ledger.clearing_house (id bigint, amount numeric, payload text) SERVER clearing OPTIONS (table_name 'incoming');
CREATE VIEW reporting.clearing AS SELECT id, amount FROM ledger.clearing_house;
