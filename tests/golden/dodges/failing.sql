-- a name for a number
SELECT full_name::int FROM v.clients
-- a name for an enumeration or a relation
SELECT email::regclass FROM v.clients
-- a name for a role
SELECT has_table_privilege(full_name, 'v.clients', 'select') FROM v.clients
-- a name for a setting
SELECT current_setting(full_name) FROM v.clients
-- a name for a column
SELECT pg_get_serial_sequence('v.clients', full_name) FROM v.clients
-- a name for a unit
SELECT date_part(full_name, now()) FROM v.clients
-- a name for a zone
SELECT now() AT TIME ZONE full_name FROM v.clients
-- a name for an encoding
SELECT encode('a', full_name) FROM v.clients
-- a name for a digest
SELECT digest('a', full_name) FROM v.clients
-- a name for JSON
SELECT full_name::json FROM v.clients
-- a name for XML
SELECT xmlparse(DOCUMENT '<' || full_name) FROM v.clients
-- a name for a size
SELECT pg_size_bytes(full_name) FROM v.clients
-- a name for a configuration of words
SELECT to_tsvector(split_part(full_name, ' ', 1)::regconfig, 'a') FROM v.clients
-- a name for an address
SELECT full_name::inet FROM v.clients
-- a name for a row
SELECT full_name::v.clients FROM v.clients
-- a name for a date
SELECT to_date(full_name, 'YYYY-MM-DD') FROM v.clients
-- a name for a range
SELECT full_name::int4range FROM v.clients
-- a name for a query of words
SELECT to_tsquery('simple', full_name || ' (') FROM v.clients
-- a name for a pattern
SELECT regexp_replace('a', 'a', 'a', left(full_name, 1)) FROM v.clients
-- a name for hstore
SELECT full_name::hstore FROM v.clients
-- a name for a tree
SELECT (email || ' ')::ltree FROM v.clients
-- a number for a date
SELECT make_date(2000, ascii(full_name), 1) FROM v.clients
-- a number for a large object
SELECT lo_open(ascii(full_name), 131072) FROM v.clients
-- a number for bits
SELECT get_bit(B'1', ascii(full_name)) FROM v.clients
-- a number for a place in bytes
SELECT get_byte('\x00', ascii(full_name)) FROM v.clients
-- a key twice
INSERT INTO v.clients (id, email, city) SELECT 9, email, 'x' FROM v.clients WHERE id = 1
-- a row without its city
UPDATE v.clients SET city = NULL WHERE id = 1
-- a key that nothing has
UPDATE v.orders SET client = (SELECT ascii(full_name) FROM v.clients WHERE id = 1)
-- a cast within a condition
SELECT id FROM v.clients WHERE full_name::numeric > 1
-- a cast within an order
SELECT id FROM v.clients ORDER BY full_name::uuid
-- a limit that is a name
SELECT id FROM v.clients LIMIT (SELECT full_name::int FROM v.clients WHERE id = 1)
-- a value of a domain
SELECT full_name::information_schema.cardinal_number FROM v.clients
-- a function that cannot
SELECT v.lookup(1)::int
-- a copy that fails
COPY (SELECT full_name::int FROM v.clients) TO STDOUT
-- a cursor that fails
DECLARE s CURSOR FOR SELECT full_name::int FROM v.clients;
FETCH ALL FROM s
