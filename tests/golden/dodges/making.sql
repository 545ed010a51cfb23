-- a table of one column
CREATE TABLE v.m1 AS SELECT id, full_name AS a FROM v.clients;
--- later
SELECT a || '' FROM v.m1
-- a table of rows
CREATE TABLE v.m2 AS SELECT c AS a FROM v.clients c;
--- later
SELECT a::text, (a).full_name FROM v.m2
-- a table like another, renamed afterwards
CREATE TABLE v.m3 (LIKE v.clients INCLUDING ALL);
INSERT INTO v.m3 SELECT * FROM v.clients;
ALTER TABLE v.m3 RENAME COLUMN full_name TO town;
ALTER TABLE v.m3 RENAME TO m3b;
--- later
SELECT town || '' FROM v.m3b
-- a new column filled by its type
ALTER TABLE v.orders ADD COLUMN q text;
ALTER TABLE v.orders ALTER COLUMN q TYPE text USING v.lookup(client);
--- later
SELECT q || '' FROM v.orders
-- a new column of the same table, filled by its type
CREATE TABLE v.m4 AS SELECT * FROM v.clients;
ALTER TABLE v.m4 ADD COLUMN q text;
ALTER TABLE v.m4 ALTER COLUMN q TYPE text USING full_name || '';
--- later
SELECT q || '' FROM v.m4
-- a generated column
CREATE TABLE v.m5 (id int, full_name text, q text GENERATED ALWAYS AS (upper(full_name)) STORED);
INSERT INTO v.m5 SELECT id, full_name FROM v.clients;
--- later
SELECT q || '' FROM v.m5
-- a generated column of words
CREATE TABLE v.m6 (id int, full_name text, q tsvector GENERATED ALWAYS AS (to_tsvector('simple', full_name)) STORED);
INSERT INTO v.m6 SELECT id, full_name FROM v.clients;
--- later
SELECT q, q::text FROM v.m6
-- a trigger that gathers words
CREATE TABLE v.m7 (id int, full_name text, q tsvector);
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON v.m7 FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger('q', 'pg_catalog.simple', 'full_name');
INSERT INTO v.m7 (id, full_name) SELECT id, full_name FROM v.clients;
--- later
SELECT q, q::text FROM v.m7
-- a trigger that changes its row
CREATE TABLE v.m8 (id int, full_name text, town text);
CREATE FUNCTION v.m8f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.town := NEW.full_name; RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON v.m8 FOR EACH ROW EXECUTE FUNCTION v.m8f();
--- later
INSERT INTO v.m8 (id, full_name) SELECT id, full_name FROM v.clients;
SELECT town || '' FROM v.m8
-- a trigger that looks a value up
CREATE TABLE v.m9 (id int, town text);
CREATE FUNCTION v.m9f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.town := (SELECT full_name FROM v.clients c WHERE c.id = NEW.id); RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON v.m9 FOR EACH ROW EXECUTE FUNCTION v.m9f();
--- later
INSERT INTO v.m9 (id) VALUES (1);
SELECT town || '' FROM v.m9
-- a trigger that looks a value up into a variable
CREATE TABLE v.m10 (id int, town text);
CREATE FUNCTION v.m10f() RETURNS trigger LANGUAGE plpgsql AS 'DECLARE r record; BEGIN SELECT * INTO r FROM v.clients c WHERE c.id = NEW.id; NEW.town = r.full_name; RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON v.m10 FOR EACH ROW EXECUTE FUNCTION v.m10f();
--- later
INSERT INTO v.m10 (id) VALUES (1);
SELECT town || '' FROM v.m10
-- a trigger for copies, with INTO
CREATE TABLE v.m11 (id int, town text);
CREATE FUNCTION v.m11f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN SELECT full_name INTO NEW.town FROM v.clients c WHERE c.id = NEW.id; RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON v.m11 FOR EACH ROW EXECUTE FUNCTION v.m11f();
--- later
COPY v.m11 (id) FROM STDIN;
INSERT INTO v.m11 (id) VALUES (1) RETURNING town;
SELECT town || '' FROM v.m11
-- a default that is a function (made by others)
CREATE TABLE v.m12 (id int, town text DEFAULT v.lookup(1));
--- later
INSERT INTO v.m12 (id) VALUES (1);
SELECT town || '' FROM v.m12
-- a default of a domain (made by others)
CREATE DOMAIN v.m13d AS text DEFAULT v.lookup(1);
CREATE TABLE v.m13 (id int, town v.m13d);
--- later
INSERT INTO v.m13 (id) VALUES (1);
SELECT town || '' FROM v.m13
-- a default that comes later (made by others)
CREATE TABLE v.m14 (id int, town text);
ALTER TABLE v.m14 ALTER town SET DEFAULT v.lookup(2);
--- later
INSERT INTO v.m14 DEFAULT VALUES;
UPDATE v.m14 SET town = DEFAULT;
SELECT town || '' FROM v.m14
-- a rule that fills (made by others)
CREATE TABLE v.m15 (w text);
CREATE TABLE v.m15b (w text);
CREATE RULE r AS ON INSERT TO v.m15 DO ALSO INSERT INTO v.m15b SELECT full_name FROM v.clients;
--- later
INSERT INTO v.m15 VALUES ('x');
SELECT w || '' FROM v.m15b
-- a rule that answers
CREATE TABLE v.m16 (w text);
CREATE RULE r AS ON INSERT TO v.m16 DO INSTEAD SELECT full_name FROM v.clients;
--- later
INSERT INTO v.m16 VALUES ('x')
-- a rule that answers an update
CREATE TABLE v.m17 (w text);
INSERT INTO v.m17 VALUES ('x');
CREATE RULE r AS ON UPDATE TO v.m17 DO INSTEAD SELECT full_name || '' AS w FROM v.clients;
--- later
UPDATE v.m17 SET w = 'y'
-- a view of a view of a function
CREATE VIEW v.m18 AS SELECT l AS a FROM v.lookup(1) l;
CREATE VIEW v.m18b AS SELECT a || '' AS b FROM v.m18;
--- later
SELECT b, b || '' FROM v.m18b
-- a view of statistics
CREATE VIEW v.m19 AS SELECT histogram_bounds::text AS a FROM pg_stats WHERE tablename = 'clients' AND attname = 'full_name';
--- later
SELECT a, a || '' FROM v.m19
-- a view of what others run
CREATE VIEW v.m20 AS SELECT query AS a FROM pg_stat_activity WHERE query LIKE '%marker%' AND pid <> pg_backend_pid();
--- later
SELECT a, a || '' FROM v.m20
-- a view of what others run, by a function (made by others)
CREATE VIEW v.m21 AS SELECT query AS a FROM pg_stat_get_activity(NULL) WHERE query LIKE '%marker%' AND pid <> pg_backend_pid();
--- later
SELECT a, a || '' FROM v.m21
-- a function of what others run
CREATE FUNCTION v.m22() RETURNS SETOF text LANGUAGE sql AS 'SELECT query FROM pg_stat_activity WHERE query LIKE ''%marker%'' AND pid <> pg_backend_pid()';
--- later
SELECT v.m22()
-- a materialized view with another name (made by others)
CREATE MATERIALIZED VIEW v.m23 (town) AS SELECT full_name FROM v.clients;
--- later
SELECT town || '' FROM v.m23
-- a function that gives back what it gets
CREATE FUNCTION v.m24(anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT $1';
--- later
SELECT v.m24(full_name), v.m24(c), (v.m24(c)).full_name FROM v.clients c
-- a function of a row, as if a column
CREATE FUNCTION v.m25(v.clients) RETURNS text LANGUAGE sql AS 'SELECT $1.full_name';
--- later
SET LOCAL search_path = v;
SELECT c.m25, m25(c) FROM v.clients c
-- a function with a body of its own (made by others)
CREATE FUNCTION v.m26(i int) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT full_name FROM v.clients WHERE id = i; END;
--- later
SELECT v.m26(1), length(v.m26(1))
-- a function that returns an expression (made by others)
CREATE FUNCTION v.m27(i int) RETURNS text LANGUAGE sql RETURN (SELECT full_name FROM v.clients WHERE id = i);
--- later
SELECT v.m27(1) || ''
-- a default of a parameter
CREATE FUNCTION v.m28(a int DEFAULT 1, b text DEFAULT v.lookup(1)) RETURNS text LANGUAGE sql AS 'SELECT b';
--- later
SELECT v.m28()
-- a function that is called count
CREATE SCHEMA hack;
CREATE FUNCTION hack.count(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
--- later
SELECT hack.count(full_name) FROM v.clients
-- a function that is called count, by the path
CREATE SCHEMA hack2;
CREATE FUNCTION hack2.count(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
--- later
SET LOCAL search_path = hack2, pg_catalog;
SELECT count(full_name) FROM v.clients
-- an aggregate that is called count
CREATE SCHEMA hack3;
CREATE AGGREGATE hack3.count(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
--- later
SET LOCAL search_path = hack3, pg_catalog;
SELECT count(full_name) FROM v.clients
-- an operator of one's own
CREATE FUNCTION v.m32(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1 || $2';
CREATE OPERATOR v.<+> (LEFTARG = text, RIGHTARG = text, FUNCTION = v.m32);
--- later
SELECT full_name OPERATOR(v.<+>) 'x' FROM v.clients
-- an operator whose function tells
CREATE FUNCTION v.m33(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', $1; RETURN true; END';
CREATE OPERATOR v.<~> (LEFTARG = text, RIGHTARG = text, FUNCTION = v.m33);
--- later
SELECT id FROM v.clients WHERE full_name OPERATOR(v.<~>) 'x'
-- an operator whose function counts
CREATE FUNCTION v.m34(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN FOR i IN 1 .. ascii($1) LOOP PERFORM nextval(''v.counter''); END LOOP; RETURN true; END';
CREATE OPERATOR v.<#> (LEFTARG = text, RIGHTARG = text, FUNCTION = v.m34);
--- later
SELECT id FROM v.clients WHERE id = 1 AND full_name OPERATOR(v.<#>) 'x';
SELECT last_value FROM v.counter
-- a condition that writes
CREATE TABLE v.m35 (w text);
CREATE FUNCTION v.m35f(t text) RETURNS boolean LANGUAGE sql AS 'INSERT INTO v.m35 VALUES ($1); SELECT true';
--- later
SELECT id FROM v.clients WHERE v.m35f(full_name);
SELECT w || '' FROM v.m35
-- an aggregate of one's own
CREATE FUNCTION v.m36f(text[], text) RETURNS text[] LANGUAGE sql AS 'SELECT $1 || $2';
CREATE AGGREGATE v.m36(text) (SFUNC = v.m36f, STYPE = text[], INITCOND = '{}');
--- later
SELECT v.m36(full_name) FROM v.clients
-- a cast of one's own
CREATE TYPE v.m37t AS (x text);
CREATE FUNCTION v.m37(v.clients) RETURNS v.m37t LANGUAGE sql AS 'SELECT ROW($1.full_name)::v.m37t';
CREATE CAST (v.clients AS v.m37t) WITH FUNCTION v.m37(v.clients);
--- later
SELECT c::v.m37t, (c::v.m37t).x FROM v.clients c
-- a cast of numbers to a name
CREATE TYPE v.m38t AS (x text);
CREATE FUNCTION v.m38(int) RETURNS v.m38t LANGUAGE sql AS 'SELECT ROW(v.lookup($1))::v.m38t';
CREATE CAST (int AS v.m38t) WITH FUNCTION v.m38(int);
--- later
SELECT 1::v.m38t, (id::v.m38t).x FROM v.orders
-- an implicit cast when something is written
CREATE TYPE v.m39t AS (x text);
CREATE FUNCTION v.m39(int) RETURNS v.m39t LANGUAGE sql AS 'SELECT ROW(v.lookup($1))::v.m39t';
CREATE CAST (int AS v.m39t) WITH FUNCTION v.m39(int) AS ASSIGNMENT;
CREATE TABLE v.m39 (q v.m39t);
--- later
INSERT INTO v.m39 SELECT 1;
SELECT (q).x FROM v.m39
-- a domain that is checked by a function that writes
CREATE TABLE v.m40 (w text);
CREATE FUNCTION v.m40f(t text) RETURNS boolean LANGUAGE sql AS 'INSERT INTO v.m40 VALUES ($1); SELECT true';
CREATE DOMAIN v.m40d AS text CHECK (v.m40f(VALUE));
--- later
SELECT count(full_name::v.m40d) FROM v.clients;
SELECT w || '' FROM v.m40
-- a procedure that gives a value (made by others)
CREATE PROCEDURE v.m41(INOUT x text) LANGUAGE plpgsql AS 'BEGIN SELECT full_name INTO x FROM v.clients WHERE id = 1; END';
--- later
CALL v.m41('x')
-- a function that sets a setting
CREATE FUNCTION v.m42(t text) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM set_config(''my.z'', t, false); END';
--- later
SELECT v.m42(full_name) FROM v.clients WHERE id = 1;
SHOW my.z
-- a function that locks
CREATE FUNCTION v.m43(i int) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(ascii(v.lookup(i))); END';
--- later
SELECT v.m43(1);
SELECT objid FROM pg_locks WHERE locktype = 'advisory'
-- a function that notifies (committed)
CREATE FUNCTION v.m44(i int) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_notify(''ch'', v.lookup(i)); END';
--- later
SELECT v.m44(1)
-- a function that returns a cursor
CREATE FUNCTION v.m45() RETURNS refcursor LANGUAGE plpgsql AS 'DECLARE c refcursor := ''m45''; BEGIN OPEN c FOR SELECT full_name || '''' FROM v.clients; RETURN c; END';
--- later
SELECT v.m45();
FETCH ALL FROM m45
-- a function that returns a table
CREATE FUNCTION v.m46() RETURNS TABLE (town text, n bigint) LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT full_name, count(*) FROM v.clients GROUP BY 1; END';
--- later
SELECT town || '', n FROM v.m46()
-- a function that puts SQL together (made by others)
CREATE FUNCTION v.m47(t text) RETURNS text LANGUAGE plpgsql AS 'DECLARE r text; BEGIN EXECUTE t INTO r; RETURN r; END';
--- later
SELECT v.m47('SELECT full_name FROM v.clients WHERE id = 1')
-- a function that sorts for others
CREATE FUNCTION v.m48(i int) RETURNS int LANGUAGE sql AS 'SELECT ascii(full_name) FROM v.clients WHERE id = i';
--- later
SELECT c FROM v.letters ORDER BY abs(n - v.m48(1)) LIMIT 1
-- a function that chooses rows
CREATE FUNCTION v.m49(i int) RETURNS SETOF int LANGUAGE sql AS 'SELECT generate_series(1, ascii(full_name)) FROM v.clients WHERE id = i';
--- later
SELECT count(*) FROM v.m49(1)
-- a function that says how many rows it gives
CREATE FUNCTION v.m50(i int) RETURNS SETOF boolean LANGUAGE plpgsql AS 'BEGIN FOR k IN 1 .. (SELECT ascii(full_name) FROM v.clients WHERE id = i) LOOP RETURN NEXT true; END LOOP; END';
--- later
SELECT 1 FROM v.m50(1)
-- a parent of a table (made by others)
CREATE TABLE v.m52 (full_name text);
CREATE TABLE v.m52b (full_name text);
INSERT INTO v.m52b SELECT full_name FROM v.clients;
ALTER TABLE v.m52b INHERIT v.m52;
ALTER TABLE v.m52 RENAME COLUMN full_name TO town;
--- later
SELECT town || '' FROM v.m52
-- a policy whose condition tells (made by others)
CREATE FUNCTION v.m53(t text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO v.sink (w) VALUES (t); RETURN true; END';
CREATE TABLE v.m53t AS SELECT * FROM v.clients;
ALTER TABLE v.m53t ENABLE ROW LEVEL SECURITY;
ALTER TABLE v.m53t FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON v.m53t USING (v.m53(full_name));
--- later
SELECT count(*) FROM v.m53t;
SELECT w || '' FROM v.sink
-- a check that tells (made by others)
CREATE FUNCTION v.m54(t text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO v.sink (w) VALUES (t); RETURN true; END';
CREATE TABLE v.m54t (full_name text CHECK (v.m54(full_name)));
--- later
INSERT INTO v.m54t SELECT full_name FROM v.clients;
SELECT w || '' FROM v.sink
-- an index whose expression tells
CREATE FUNCTION v.m55(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', t; RETURN t; END';
--- later
CREATE INDEX ON v.clients (v.m55(full_name))
-- an index whose expression writes
CREATE FUNCTION v.m56b(t text) RETURNS text LANGUAGE plpgsql AS 'BEGIN INSERT INTO v.sink (w) VALUES (t); RETURN t; END';
CREATE FUNCTION v.m56(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN v.m56b(t); END';
--- later
CREATE INDEX ON v.clients (v.m56(full_name));
SELECT w || '' FROM v.sink
-- a view that may be written through
CREATE TABLE v.m57 (id int, town text);
CREATE VIEW v.m57v AS SELECT id, town AS full_name FROM v.m57;
--- later
INSERT INTO v.m57v SELECT id, full_name FROM v.clients;
SELECT town || '' FROM v.m57
-- a trigger instead of a view's rows (made by others)
CREATE TABLE v.m58 (id int, town text);
CREATE VIEW v.m58v AS SELECT 1 AS id, 'x'::text AS full_name;
CREATE FUNCTION v.m58f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO v.m58 VALUES (NEW.id, NEW.full_name); RETURN NEW; END';
CREATE TRIGGER t INSTEAD OF INSERT ON v.m58v FOR EACH ROW EXECUTE FUNCTION v.m58f();
--- later
INSERT INTO v.m58v SELECT id, full_name FROM v.clients;
SELECT town || '' FROM v.m58
-- a trigger that changes who is told (made by others) (committed)
CREATE TABLE v.m59 (full_name text PRIMARY KEY, n int);
INSERT INTO v.m59 SELECT full_name, id FROM v.clients;
CREATE TRIGGER t AFTER UPDATE ON v.m59 FOR EACH ROW EXECUTE FUNCTION triggered_change_notification();
--- later
UPDATE v.m59 SET n = n + 1
-- a trigger that uses a table of transitions (made by others)
CREATE TABLE v.m60 (id int, full_name text);
CREATE FUNCTION v.m60f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO v.sink (w) SELECT full_name FROM fresh; RETURN NULL; END';
CREATE TRIGGER t AFTER INSERT ON v.m60 REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION v.m60f();
--- later
INSERT INTO v.m60 SELECT id, full_name FROM v.clients;
SELECT w || '' FROM v.sink
-- statistics of more columns (made by others)
CREATE TABLE v.m62 AS SELECT full_name, city FROM v.clients, generate_series(1, 100);
CREATE STATISTICS v.m62s (mcv) ON full_name, city FROM v.m62;
ANALYZE v.m62;
--- later
SELECT most_common_vals FROM pg_stats_ext WHERE statistics_name = 'm62s'
-- statistics of an expression (made by others)
CREATE TABLE v.m63 AS SELECT full_name, city FROM v.clients, generate_series(1, 100);
CREATE STATISTICS v.m63s ON (upper(full_name)) FROM v.m63;
ANALYZE v.m63;
--- later
SELECT most_common_vals::text FROM pg_stats_ext_exprs WHERE statistics_name = 'm63s'
-- statistics of an index (made by others)
CREATE TABLE v.m64 AS SELECT full_name, city FROM v.clients, generate_series(1, 100);
CREATE INDEX m64i ON v.m64 (upper(full_name));
ANALYZE v.m64;
--- later
SELECT most_common_vals::text FROM pg_stats WHERE tablename = 'm64i'
-- two names that change places
CREATE TABLE v.m65 AS SELECT id, city AS town FROM v.clients;
CREATE TABLE v.m65b AS SELECT id, full_name AS town FROM v.clients;
ALTER TABLE v.m65 RENAME TO m65c;
ALTER TABLE v.m65b RENAME TO m65;
--- later
SELECT town || '' FROM v.m65
-- two columns that change places
CREATE TABLE v.m66 AS SELECT id, full_name AS town, city AS full_name FROM v.clients;
ALTER TABLE v.m66 RENAME COLUMN full_name TO x;
ALTER TABLE v.m66 RENAME COLUMN town TO full_name;
ALTER TABLE v.m66 RENAME COLUMN full_name TO town;
--- later
SELECT town || '' FROM v.m66
-- two schemas that change places
CREATE SCHEMA va;
CREATE SCHEMA vb;
CREATE TABLE va.m67 AS SELECT city AS town FROM v.clients;
CREATE TABLE vb.m67 AS SELECT full_name AS town FROM v.clients;
ALTER SCHEMA va RENAME TO vc;
ALTER SCHEMA vb RENAME TO va;
--- later
SELECT town || '' FROM va.m67
-- two functions that change places
CREATE FUNCTION v.m68(i int) RETURNS text LANGUAGE sql AS 'SELECT city FROM v.clients WHERE id = i';
ALTER FUNCTION v.m68(int) RENAME TO m68b;
CREATE FUNCTION v.m68(i int) RETURNS text LANGUAGE sql AS 'SELECT full_name FROM v.clients WHERE id = i';
--- later
SELECT v.m68(1), v.m68b(1)
-- a temporary table before another
SET search_path = v;
CREATE TEMP TABLE m69 AS SELECT full_name AS label FROM v.clients;
CREATE TABLE v.m69 (label text);
--- later
SELECT label || '' FROM m69
-- a temporary table of a known name
CREATE TEMP TABLE orders AS SELECT id, full_name AS label FROM v.clients;
SET LOCAL search_path = v;
SELECT label, label || '' FROM orders
-- a plan from before
SET LOCAL search_path = v;
PREPARE p70 AS SELECT label || '' FROM orders;
EXECUTE p70;
CREATE TEMP TABLE orders AS SELECT id, full_name AS label FROM v.clients;
EXECUTE p70;
DEALLOCATE p70
-- a temporary table filled later
CREATE TEMP TABLE m71 (a text, b int);
INSERT INTO m71 SELECT full_name, id FROM v.clients;
SELECT a, a || '', upper(a), left(a, 3) FROM m71
-- a temporary table through a temporary view
CREATE TEMP TABLE m72 AS SELECT full_name AS a FROM v.clients;
CREATE TEMP VIEW m72v AS SELECT a || '' AS b FROM m72;
SELECT b, b || '' FROM m72v
-- a temporary table changed
CREATE TEMP TABLE m73 AS SELECT id, city AS a FROM v.clients;
ALTER TABLE m73 ADD COLUMN b text;
UPDATE m73 SET b = c.full_name FROM v.clients c WHERE c.id = m73.id;
ALTER TABLE m73 RENAME COLUMN b TO d;
SELECT d, d || '' FROM m73
-- a temporary table dropped and made again
CREATE TEMP TABLE m74 AS SELECT city AS a FROM v.clients;
DROP TABLE m74;
CREATE TEMP TABLE m74 AS SELECT full_name AS a FROM v.clients;
SELECT a, a || '' FROM m74
-- a temporary table undone
CREATE TEMP TABLE m75 AS SELECT full_name AS a FROM v.clients;
SAVEPOINT s;
DROP TABLE m75;
CREATE TEMP TABLE m75 AS SELECT city AS a FROM v.clients;
ROLLBACK TO s;
SELECT a, a || '' FROM m75
-- a temporary table from a table that says little
CREATE TEMP TABLE m76 ON COMMIT DROP AS TABLE v.roster;
SELECT a || '' FROM m76
-- SELECT INTO a temporary table
SELECT full_name AS town INTO TEMP m77 FROM v.clients;
SELECT town, max(town) OVER () FROM m77
-- a temporary table by a prepared statement
PREPARE p78 AS SELECT full_name AS a FROM v.clients;
CREATE TEMP TABLE m78 AS EXECUTE p78;
SELECT a, a || '' FROM m78
-- a temporary table by a function
CREATE TEMP TABLE m79 AS SELECT v.lookup(1) AS a, lookup AS b FROM v.lookup(2);
SELECT a, b || '' FROM m79
-- a temporary table by a block
CREATE TEMP TABLE m80 (a text);
DO $$ BEGIN INSERT INTO m80 SELECT full_name FROM v.clients; END $$;
SELECT a, a || '' FROM m80
-- a temporary table a block makes
DO $$ BEGIN CREATE TEMP TABLE m81 AS SELECT full_name AS a FROM v.clients; END $$;
SELECT a, a || '' FROM m81
-- a temporary table that inherits
CREATE TEMP TABLE m82 () INHERITS (v.clients);
CREATE TEMP TABLE m82b (a text);
INSERT INTO m82b SELECT full_name FROM v.clients;
SELECT a || '' FROM m82b
-- a temporary table with a default
CREATE TEMP TABLE m83 (id int, a text DEFAULT v.lookup(1));
INSERT INTO m83 (id) VALUES (1);
SELECT a, a || '' FROM m83
-- a temporary table with a generated column
CREATE TEMP TABLE m84 (full_name text, a text GENERATED ALWAYS AS (full_name || '') STORED);
INSERT INTO m84 (full_name) SELECT full_name FROM v.clients;
SELECT a, a || '' FROM m84
-- a temporary table by a merge
CREATE TEMP TABLE m85 (id int, a text);
MERGE INTO m85 m USING v.clients c ON c.id = m.id WHEN NOT MATCHED THEN INSERT VALUES (c.id, c.full_name);
SELECT a, a || '' FROM m85
-- a temporary table with a trigger
CREATE TEMP TABLE m86 (id int, a text);
CREATE FUNCTION v.m86() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.a := v.lookup(NEW.id); RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON m86 FOR EACH ROW EXECUTE FUNCTION v.m86();
INSERT INTO m86 (id) VALUES (1);
SELECT a, a || '' FROM m86
-- a temporary table with a rule
CREATE TEMP TABLE m87 (id int, a text);
CREATE TEMP TABLE m87b (id int);
CREATE RULE r AS ON INSERT TO m87b DO ALSO INSERT INTO m87 SELECT id, full_name FROM v.clients;
INSERT INTO m87b VALUES (1);
SELECT a, a || '' FROM m87
-- a temporary table filled by upserts
CREATE TEMP TABLE m88 (id int PRIMARY KEY, a text);
INSERT INTO m88 VALUES (1, 'x');
INSERT INTO m88 SELECT id, full_name FROM v.clients ON CONFLICT (id) DO UPDATE SET a = excluded.a;
SELECT a, a || '' FROM m88
-- a temporary table whose columns change their types
CREATE TEMP TABLE m89 (id int, a text);
INSERT INTO m89 VALUES (1, 'x');
ALTER TABLE m89 ALTER a TYPE text USING v.lookup(id);
SELECT a, a || '' FROM m89
-- a temporary table in a chain
CREATE TEMP TABLE m90 AS SELECT id, full_name AS a FROM v.clients;
CREATE TEMP TABLE m90b AS SELECT a AS b FROM m90;
CREATE TEMP TABLE m90c AS SELECT max(b) AS c FROM m90b;
SELECT c, c || '' FROM m90c
-- a temporary table renamed over another
CREATE TEMP TABLE m91 AS SELECT city AS a FROM v.clients;
CREATE TEMP TABLE m91b AS SELECT full_name AS a FROM v.clients;
ALTER TABLE m91 RENAME TO m91c;
ALTER TABLE m91b RENAME TO m91;
SELECT a, a || '' FROM m91
-- a temporary table where conditions chose
CREATE TEMP TABLE m92 AS SELECT l.c FROM v.letters l, v.clients k WHERE k.id = 1 AND l.c = left(k.full_name, 1);
SELECT c FROM m92
-- a temporary table where an order chose
CREATE TEMP TABLE m93 AS SELECT c FROM v.letters ORDER BY abs(n - (SELECT ascii(full_name) FROM v.clients WHERE id = 1)) LIMIT 1;
SELECT c FROM m93
-- marks in a temporary table
CREATE TEMP TABLE m94 AS SELECT id, 0 AS mark FROM v.clients;
UPDATE m94 SET mark = ascii(c.full_name) FROM v.clients c WHERE c.id = m94.id;
SELECT id, mark FROM m94
-- a constraint that says a row
CREATE TABLE v.m95 (LIKE v.clients);
INSERT INTO v.m95 SELECT * FROM v.clients;
ALTER TABLE v.m95 ADD CHECK (visits < 100);
UPDATE v.m95 SET visits = 200
-- a constraint that says a key
CREATE TABLE v.m96 AS SELECT full_name FROM v.clients UNION ALL SELECT full_name FROM v.clients;
CREATE UNIQUE INDEX ON v.m96 (full_name)
-- a constraint that says a part of a key
CREATE TABLE v.m97 AS SELECT full_name FROM v.clients UNION ALL SELECT full_name FROM v.clients;
CREATE UNIQUE INDEX ON v.m97 (left(full_name, 2))
-- an exclusion that says both
CREATE TABLE v.m98 AS SELECT full_name FROM v.clients UNION ALL SELECT full_name FROM v.clients;
ALTER TABLE v.m98 ADD EXCLUDE USING gist (full_name WITH =)
-- a reference that says what is missing
CREATE TABLE v.m99 AS SELECT full_name FROM v.clients;
ALTER TABLE v.m99 ADD FOREIGN KEY (full_name) REFERENCES v.letters (c)
-- a part that no row fits
CREATE TABLE v.m100 (full_name text) PARTITION BY LIST (full_name);
CREATE TABLE v.m100a PARTITION OF v.m100 FOR VALUES IN ('x');
INSERT INTO v.m100 SELECT full_name FROM v.clients
-- a view's own check
CREATE VIEW v.m101 AS SELECT id, full_name, city FROM v.clients WHERE id < 3 WITH CHECK OPTION;
UPDATE v.m101 SET id = id + 10
-- a column that becomes a number
CREATE TABLE v.m102 AS SELECT full_name FROM v.clients;
ALTER TABLE v.m102 ALTER full_name TYPE int USING full_name::int
-- an enumeration made of names
CREATE TYPE v.m103 AS ENUM ('x');
SELECT full_name::v.m103 FROM v.clients
-- a comment and a description
DO $$ BEGIN EXECUTE format('COMMENT ON TABLE v.orders IS %L', (SELECT full_name FROM v.clients WHERE id = 1)); END $$;
SELECT obj_description('v.orders'::regclass)
-- an object of a name
DO $$ BEGIN EXECUTE format('CREATE TABLE v.%I (a int)', (SELECT full_name FROM v.clients WHERE id = 1)); END $$;
SELECT relname FROM pg_class WHERE relnamespace = 'v'::regnamespace AND relname ~ ' '
-- a function that is called lower
CREATE SCHEMA hack4;
CREATE FUNCTION hack4.lower(text) RETURNS text LANGUAGE sql AS 'SELECT city || $1 FROM v.clients LIMIT 1';
--- later
SELECT hack4.lower(full_name), id FROM v.clients
-- a function replaced that a view uses (made by others)
CREATE FUNCTION v.m110(i int) RETURNS text LANGUAGE sql AS 'SELECT city FROM v.clients WHERE id = i';
CREATE VIEW v.m110v AS SELECT v.m110(id) || '' AS town FROM v.orders;
CREATE OR REPLACE FUNCTION v.m110(i int) RETURNS text LANGUAGE sql AS 'SELECT full_name FROM v.clients WHERE id = i';
--- later
SELECT town || '' FROM v.m110v
-- a function replaced that an operator uses
CREATE FUNCTION v.m111(text, int) RETURNS text LANGUAGE sql AS 'SELECT city FROM v.clients WHERE id = $2';
CREATE OPERATOR v.<=#> (LEFTARG = text, RIGHTARG = int, FUNCTION = v.m111);
CREATE OR REPLACE FUNCTION v.m111(text, int) RETURNS text LANGUAGE sql AS 'SELECT full_name FROM v.clients WHERE id = $2';
--- later
SELECT label OPERATOR(v.<=#>) id FROM v.orders
-- a view replaced
CREATE VIEW v.m112 AS SELECT id, city AS town FROM v.clients;
CREATE OR REPLACE VIEW v.m112 AS SELECT id, full_name AS town FROM v.clients;
--- later
SELECT town || '' FROM v.m112
-- a temporary view of a known name
CREATE TEMP VIEW orders AS SELECT id, full_name AS label FROM v.clients;
SET LOCAL search_path = v;
SELECT label, label || '' FROM orders
-- a temporary table that takes another's place by its path
CREATE TABLE v.m113 AS SELECT id, city AS label FROM v.clients;
--- later
CREATE TEMP TABLE m113 (id int, label text);
INSERT INTO m113 SELECT id, full_name FROM v.clients;
SET LOCAL search_path = v;
SELECT label || '' FROM m113;
SELECT label || '' FROM pg_temp.m113
-- a temporary table of a role's
CREATE TEMP TABLE m114 (id int, label text);
INSERT INTO pg_temp.m114 (label) SELECT full_name FROM v.clients;
WITH q AS (SELECT label FROM m114) SELECT label || '' FROM q
-- a temporary table filled from itself
CREATE TEMP TABLE m115 (a text, b text, c text);
INSERT INTO m115 (a) SELECT full_name FROM v.clients;
UPDATE m115 SET b = a;
UPDATE m115 SET c = b;
SELECT c, c || '' FROM m115
-- a temporary table filled by what a CTE returns
CREATE TEMP TABLE m116 (a text);
WITH u AS (UPDATE v.clients SET visits = 1 RETURNING full_name AS q) INSERT INTO m116 SELECT q FROM u;
SELECT a, a || '' FROM m116
-- a temporary table like another, its columns renamed
CREATE TEMP TABLE m117 (LIKE v.clients);
INSERT INTO m117 SELECT * FROM v.clients;
ALTER TABLE m117 RENAME COLUMN full_name TO x;
ALTER TABLE m117 RENAME TO m117b;
SELECT x, x || '' FROM m117b
-- a temporary table of rows
CREATE TEMP TABLE m118 AS SELECT c AS r, to_jsonb(c) AS j FROM v.clients c;
SELECT (r).full_name, r::text, j ->> 'full_name' FROM m118
-- a temporary table whose column goes and comes
CREATE TEMP TABLE m119 (id int, a text);
ALTER TABLE m119 DROP COLUMN a;
ALTER TABLE m119 ADD COLUMN a text;
INSERT INTO m119 SELECT id, full_name FROM v.clients;
SELECT a, a || '' FROM m119
-- a temporary table filled by copying
CREATE TEMP TABLE m120 AS SELECT full_name AS a, city AS b FROM v.clients;
COPY m120 TO STDOUT;
COPY (SELECT a || '' FROM m120) TO STDOUT
-- a temporary table with an index that tells
CREATE TEMP TABLE m121 AS SELECT full_name AS a FROM v.clients UNION ALL SELECT full_name FROM v.clients;
CREATE UNIQUE INDEX ON m121 (a)
-- a temporary table before a cursor
CREATE TEMP TABLE m122 AS SELECT full_name AS a FROM v.clients;
DECLARE s CURSOR FOR SELECT a || '' FROM m122;
FETCH ALL FROM s
-- a temporary table joined with letters
CREATE TEMP TABLE m123 AS SELECT id, left(full_name, 1) AS a FROM v.clients;
SELECT l.c FROM v.letters l JOIN m123 m ON m.a = l.c AND m.id = 1
-- a temporary table of a view that is temporary, too
CREATE TEMP VIEW m124v AS SELECT id, full_name AS q FROM v.clients;
CREATE TEMP TABLE m124 AS SELECT q AS a FROM m124v;
SELECT a, a || '' FROM m124
-- a temporary table whose filling is undone and done again
CREATE TEMP TABLE m125 (a text);
SAVEPOINT one;
INSERT INTO m125 SELECT full_name FROM v.clients;
ALTER TABLE m125 RENAME COLUMN a TO z;
SELECT z, z || '' FROM m125
-- a temporary table filled while it is shown
CREATE TEMP TABLE m126 (id int, a text);
INSERT INTO m126 SELECT id, full_name FROM v.clients RETURNING a, a || '';
CREATE TEMP TABLE m126b (id int, a text);
INSERT INTO m126b VALUES (1, 'x');
UPDATE m126b m SET a = c.full_name FROM v.clients c WHERE c.id = m.id RETURNING m.a || ''
-- a temporary table filled by a CTE that is shown
CREATE TEMP TABLE m127 (id int, a text);
WITH x AS (INSERT INTO m127 SELECT id, full_name FROM v.clients RETURNING a) SELECT a || '', left(a, 3) FROM x
-- a temporary table of the name that another table got
ALTER TABLE v.clients RENAME TO m128;
CREATE TEMP TABLE m128 AS SELECT 'x'::text AS full_name;
SELECT full_name, full_name || '' FROM v.m128
-- a temporary table from one that took another's name
ALTER TABLE v.orders RENAME TO m129;
ALTER TABLE v.clients RENAME TO orders;
CREATE TEMP TABLE m129 AS SELECT full_name AS a FROM v.orders;
SELECT a, a || '' FROM m129
-- an insertion from a table that took another's name
ALTER TABLE v.orders RENAME TO m130;
ALTER TABLE v.clients RENAME TO orders;
INSERT INTO v.sink (w) SELECT full_name FROM v.orders;
SELECT w, w || '' FROM v.sink
-- an insertion prepared before that
PREPARE p131 AS INSERT INTO v.sink (w) SELECT label FROM v.orders;
ALTER TABLE v.orders RENAME TO m131;
ALTER TABLE v.clients RENAME full_name TO label;
ALTER TABLE v.clients RENAME TO orders;
EXECUTE p131;
SELECT w, w || '' FROM v.sink;
DEALLOCATE p131
-- a temporary table that becomes a part of another
CREATE TEMP TABLE m132 (LIKE v.orders);
INSERT INTO m132 (id, label) SELECT id + 10, full_name FROM v.clients;
ALTER TABLE m132 INHERIT v.orders;
SELECT label, label || '' FROM v.orders
-- a temporary table that a function displaces (made by others)
CREATE FUNCTION v.m133() RETURNS int LANGUAGE plpgsql AS 'BEGIN ALTER TABLE m133 RENAME TO m133x; ALTER TABLE m133b RENAME TO m133; RETURN 1; END';
--- later
CREATE TEMP TABLE m133 AS SELECT city AS a FROM v.clients;
CREATE TEMP TABLE m133b AS SELECT full_name AS a FROM v.clients;
INSERT INTO v.sink (w) SELECT a FROM m133;
SELECT v.m133();
SELECT a, a || '' FROM m133;
INSERT INTO v.sink (w) SELECT a FROM m133;
SELECT w || '' FROM v.sink
-- a temporary table that a cursor's function displaces (made by others)
CREATE FUNCTION v.m134() RETURNS int LANGUAGE plpgsql AS 'BEGIN ALTER TABLE m134 RENAME TO m134x; ALTER TABLE m134b RENAME TO m134; RETURN 1; END';
--- later
DECLARE s CURSOR FOR SELECT v.m134();
CREATE TEMP TABLE m134 AS SELECT city AS a FROM v.clients;
CREATE TEMP TABLE m134b AS SELECT full_name AS a FROM v.clients;
FETCH s;
SELECT a, a || '' FROM m134
-- a temporary table that a deferred trigger displaces (made by others)
CREATE TABLE v.m135 (n int);
CREATE FUNCTION v.m135() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ALTER TABLE m135a RENAME TO m135x; ALTER TABLE m135b RENAME TO m135a; RETURN NULL; END';
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON v.m135 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION v.m135();
--- later
INSERT INTO v.m135 VALUES (1);
CREATE TEMP TABLE m135a AS SELECT city AS a FROM v.clients;
CREATE TEMP TABLE m135b AS SELECT full_name AS a FROM v.clients;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT a, a || '' FROM m135a
