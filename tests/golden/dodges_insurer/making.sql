-- view with a harmless name
CREATE VIEW hr.m1 AS SELECT "FULL_NAME" AS plan FROM hr."Staff";
--- later
SELECT plan FROM hr.m1;
-- view by select star and columns named
CREATE VIEW hr.m2 (a, b) AS SELECT "ID", "FULL_NAME" FROM hr."Staff";
--- later
SELECT a, b FROM hr.m2;
-- view whose filter tells
CREATE VIEW hr.m5 AS SELECT c FROM hr.alphabet, hr."Staff" WHERE "ID" = 1 AND c = left("FULL_NAME", 1);
--- later
SELECT c FROM hr.m5;
-- view with instead of trigger
CREATE VIEW hr.m6 AS SELECT "ID" AS id, "Dept" AS d FROM hr."Staff";
CREATE FUNCTION hr.m6f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN SELECT "FULL_NAME" INTO NEW.d FROM hr."Staff" WHERE "ID" = NEW.id; RETURN NEW; END';
CREATE TRIGGER m6t INSTEAD OF UPDATE ON hr.m6 FOR EACH ROW EXECUTE FUNCTION hr.m6f();
--- later
UPDATE hr.m6 SET d = 'x' WHERE id = 1 RETURNING d;
-- view with a rule (made by others)
CREATE VIEW hr.m7 AS SELECT n AS id, w FROM hr.pad;
CREATE RULE m7r AS ON UPDATE TO hr.m7 DO INSTEAD UPDATE hr.pad SET w = (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = OLD.id) WHERE n = OLD.id;
--- later
UPDATE hr.m7 SET w = 'x' WHERE id = 1;
SELECT w FROM hr.m7 WHERE id = 1;
-- rule that returns (made by others)
CREATE TABLE hr.m8 (id int, w text);
CREATE RULE m8r AS ON INSERT TO hr.m8 DO INSTEAD INSERT INTO hr.pad (w) SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = NEW.id RETURNING n, w;
--- later
INSERT INTO hr.m8 VALUES (1, 'x') RETURNING w;
-- updatable view with a check option and renamed columns
CREATE VIEW hr.m9 AS SELECT "ID" AS k, "FULL_NAME" AS label FROM hr."Staff" WHERE "ID" < 5 WITH CHECK OPTION;
--- later
UPDATE hr.m9 SET k = k WHERE k = 1 RETURNING label;
-- materialised view of a join by guesses
CREATE MATERIALIZED VIEW hr.m11 AS SELECT k FROM hr.guesses JOIN hr."Staff" ON w = "FULL_NAME";
--- later
SELECT k FROM hr.m11 ORDER BY k;
-- materialised view of flags
CREATE MATERIALIZED VIEW hr.m13 AS SELECT "ID" AS id, "FULL_NAME" > 'R' AS late FROM hr."Staff";
--- later
SELECT count(*) FROM hr.m13 WHERE late;
SELECT id, late FROM hr.m13;
-- table as, renamed
CREATE TABLE hr.m14 AS SELECT "ID" AS id, "FULL_NAME" AS plan, length("FULL_NAME") AS points FROM hr."Staff";
--- later
SELECT plan, points FROM hr.m14;
-- table as execute
PREPARE pm AS SELECT "FULL_NAME" AS plan FROM hr."Staff";
CREATE TABLE hr.m15 AS EXECUTE pm;
--- later
SELECT plan FROM hr.m15;
-- table of a type
CREATE TYPE hr.m16t AS (id int, label text);
CREATE TABLE hr.m16 OF hr.m16t;
INSERT INTO hr.m16 SELECT "ID", "FULL_NAME" FROM hr."Staff";
--- later
SELECT label FROM hr.m16;
-- partition made and read
CREATE TABLE hr.m17 PARTITION OF hr.claims FOR VALUES FROM ('2031-01-01') TO ('2032-01-01');
INSERT INTO hr.claims SELECT 50, 1, diagnosis, '2031-05-05', 1, 'open' FROM hr.claims_old;
--- later
SELECT diagnosis FROM hr.m17;
-- detached partition
ALTER TABLE hr.claims DETACH PARTITION hr.claims_old;
ALTER TABLE hr.claims_old RENAME diagnosis TO label;
--- later
SELECT label FROM hr.claims_old;
-- column renamed
ALTER TABLE hr.persons RENAME last_name TO label;
--- later
SELECT label FROM hr.persons;
SELECT label FROM hr.brokers;
-- table renamed and the name given to another
ALTER TABLE hr.logins RENAME TO m20;
ALTER TABLE hr.m20 RENAME "Password" TO grade;
--- later
SELECT grade FROM hr.m20;
-- attribute of a type renamed
ALTER TYPE hr.contact RENAME ATTRIBUTE full_name TO kind2 CASCADE;
--- later
SELECT (kin[1]).kind2 FROM hr."Staff";
-- schema renamed
ALTER SCHEMA hr RENAME TO hr2;
SELECT "FULL_NAME" FROM hr2."Staff";
ALTER SCHEMA hr2 RENAME TO hr;
-- inheritance from the masked table
CREATE TABLE hr.m22 (extra text) INHERITS (hr.persons);
INSERT INTO hr.m22 SELECT id, first_name, last_name, last_name FROM hr.persons WHERE id = 10;
--- later
SELECT extra, last_name FROM hr.m22;
-- own parent over a masked table
CREATE TABLE hr.m23 (id int, first_name text);
ALTER TABLE hr.persons INHERIT hr.m23;
--- later
SELECT first_name FROM hr.m23;
-- generated column in a masked table
ALTER TABLE hr."Staff" ADD COLUMN m24 text GENERATED ALWAYS AS (lower("FULL_NAME")) STORED;
--- later
SELECT m24 FROM hr."Staff";
-- generated flag
ALTER TABLE hr."Staff" ADD COLUMN m25 bool GENERATED ALWAYS AS ("FULL_NAME" > 'R') STORED;
--- later
SELECT "ID", m25 FROM hr."Staff" ORDER BY 1;
-- default by a function of names (made by others)
CREATE FUNCTION hr.m26f() RETURNS text LANGUAGE sql AS 'SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1';
CREATE TABLE hr.m26 (id int, label text DEFAULT hr.m26f());
--- later
INSERT INTO hr.m26 VALUES (1) RETURNING label;
-- function in SQL's standard body
CREATE FUNCTION hr.m27() RETURNS text LANGUAGE sql RETURN (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1);
--- later
SELECT hr.m27();
-- function with out parameters
CREATE FUNCTION hr.m28(OUT a int, OUT b text) LANGUAGE sql BEGIN ATOMIC SELECT "ID", "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1; END;
--- later
SELECT a, b FROM hr.m28();
-- function giving a cursor
CREATE FUNCTION hr.m29() RETURNS refcursor LANGUAGE plpgsql AS 'DECLARE c refcursor := ''m29c''; BEGIN OPEN c FOR SELECT "FULL_NAME" FROM hr."Staff"; RETURN c; END';
--- later
SELECT hr.m29();
FETCH ALL FROM m29c;
-- function with dynamic SQL
CREATE FUNCTION hr.m30(c text) RETURNS SETOF text LANGUAGE plpgsql AS 'BEGIN RETURN QUERY EXECUTE format(''SELECT %I::text FROM hr."Staff"'', c); END';
--- later
SELECT * FROM hr.m30('FULL_NAME');
-- function that loops over letters
CREATE FUNCTION hr.m31(i int) RETURNS int LANGUAGE plpgsql AS 'DECLARE n int := 0; t text; BEGIN SELECT "FULL_NAME" INTO t FROM hr."Staff" WHERE "ID" = i; WHILE chr(n + 65) < left(t, 1) LOOP n := n + 1; END LOOP; RETURN n; END';
--- later
SELECT hr.m31(1);
-- function that raises what it reads
CREATE FUNCTION hr.m32() RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING MESSAGE = (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1), DETAIL = ''d'', COLUMN = ''c''; END';
--- later
SELECT hr.m32();
-- function with a setting of its own
CREATE FUNCTION hr.m33() RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM set_config(''hr.m33'', (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1), false); RETURN ''ok''; END';
--- later
SELECT hr.m33();
SELECT current_setting('hr.m33', true);
-- function that writes
CREATE FUNCTION hr.m35() RETURNS void LANGUAGE sql AS 'UPDATE hr.pad SET w = (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = n)';
--- later
SELECT hr.m35();
SELECT w FROM hr.pad ORDER BY n;
-- function that writes by a condition
CREATE FUNCTION hr.m36() RETURNS void LANGUAGE plpgsql AS 'BEGIN IF (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1) > ''R'' THEN UPDATE hr.pad SET k = 4711; END IF; END';
--- later
SELECT hr.m36();
SELECT k FROM hr.pad ORDER BY n;
-- procedure with inout
CREATE PROCEDURE hr.m37(INOUT x text) LANGUAGE plpgsql AS 'BEGIN SELECT "FULL_NAME" INTO x FROM hr."Staff" WHERE "ID" = 1; END';
--- later
CALL hr.m37('');
-- procedure that notices
CREATE PROCEDURE hr.m38() LANGUAGE plpgsql AS 'BEGIN RAISE WARNING ''%'', (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1); END';
--- later
CALL hr.m38();
-- trigger that copies a column
CREATE FUNCTION hr.m39f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW."Dept" := NEW."FULL_NAME"; RETURN NEW; END';
CREATE TRIGGER m39 BEFORE UPDATE ON hr."Staff" FOR EACH ROW EXECUTE FUNCTION hr.m39f();
--- later
UPDATE hr."Staff" SET pay = pay RETURNING "Dept";
-- trigger with a condition
CREATE FUNCTION hr.m40f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW."Dept" := ''late''; RETURN NEW; END';
CREATE TRIGGER m40 BEFORE UPDATE ON hr."Staff" FOR EACH ROW WHEN (OLD."FULL_NAME" > 'R') EXECUTE FUNCTION hr.m40f();
--- later
UPDATE hr."Staff" SET pay = pay RETURNING "ID", "Dept";
-- trigger that drops rows by a condition
CREATE FUNCTION hr.m41f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF OLD."FULL_NAME" > ''R'' THEN RETURN NULL; END IF; RETURN NEW; END';
CREATE TRIGGER m41 BEFORE UPDATE ON hr."Staff" FOR EACH ROW EXECUTE FUNCTION hr.m41f();
--- later
UPDATE hr."Staff" SET pay = 1 RETURNING "ID";
-- trigger with a transition table
CREATE FUNCTION hr.m42f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO hr.pad (w) SELECT "FULL_NAME" FROM changed; RETURN NULL; END';
CREATE TRIGGER m42 AFTER UPDATE ON hr."Staff" REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION hr.m42f();
--- later
UPDATE hr."Staff" SET pay = pay;
SELECT w FROM hr.pad ORDER BY n;
-- operator of one's own
CREATE FUNCTION hr.m44f(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE OPERATOR hr.<@@ (LEFTARG = text, RIGHTARG = text, FUNCTION = hr.m44f);
--- later
SELECT "FULL_NAME" OPERATOR(hr.<@@) 'x' FROM hr."Staff";
-- cast of one's own
CREATE TYPE hr.m45t AS (w text);
CREATE FUNCTION hr.m45f(hr.m45t) RETURNS text LANGUAGE sql AS 'SELECT ($1).w';
CREATE CAST (hr.m45t AS text) WITH FUNCTION hr.m45f(hr.m45t);
--- later
SELECT ROW("FULL_NAME")::hr.m45t::text FROM hr."Staff";
-- aggregate of one's own
CREATE AGGREGATE hr.m46(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
--- later
SELECT hr.m46("FULL_NAME") FROM hr."Staff";
-- ordered set aggregate by a final function
CREATE FUNCTION hr.m47f(text[]) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1[1]';
CREATE AGGREGATE hr.m47(text) (SFUNC = array_append, STYPE = text[], FINALFUNC = hr.m47f);
--- later
SELECT hr.m47("FULL_NAME" ORDER BY "ID") FROM hr."Staff";
-- domain with a check that raises
CREATE FUNCTION hr.m48f(t text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', t; RETURN true; END';
CREATE DOMAIN hr.m48 AS text CHECK (hr.m48f(VALUE));
--- later
SELECT "FULL_NAME"::hr.m48 FROM hr."Staff";
-- policy of row security that notices
CREATE FUNCTION hr.m49f(t text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', t; RETURN true; END';
ALTER TABLE hr."Staff" ENABLE ROW LEVEL SECURITY;
ALTER TABLE hr."Staff" FORCE ROW LEVEL SECURITY;
CREATE POLICY m49 ON hr."Staff" USING (hr.m49f("FULL_NAME"));
--- later
SELECT "ID" FROM hr."Staff" ORDER BY 1;
-- index by a function that notices
CREATE FUNCTION hr.m50f(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE NOTICE ''%'', t; RETURN t; END';
CREATE INDEX ON hr.persons (hr.m50f(last_name));
-- statistics by expression, read
CREATE STATISTICS hr.m51 ON (upper("FULL_NAME")), ("ID" + 1) FROM hr."Staff";
ANALYZE hr."Staff";
SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats_ext_exprs WHERE statistics_name = 'm51';
-- comment out of a value
DO $$ BEGIN EXECUTE format('COMMENT ON TABLE hr.pad IS %L', (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1)); END $$;
SELECT obj_description('hr.pad'::regclass);
-- a table named after a value
DO $$ BEGIN EXECUTE format('CREATE TABLE hr.%I ()', (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1)); END $$;
SELECT relname FROM pg_class WHERE relnamespace = 'hr'::regnamespace AND relname ~ '^[A-Z].* ' AND relname <> 'V One';
-- a role's setting
DO $$ BEGIN EXECUTE format('SET hr.m54 = %L', (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1)); END $$;
SHOW hr.m54;
-- a held cursor (committed)
DECLARE m56 CURSOR WITH HOLD FOR SELECT "FULL_NAME" AS plan FROM hr."Staff";
FETCH ALL FROM m56;
-- savepoint kept by a condition
SAVEPOINT b;
UPDATE hr.pad SET k = 1 / (SELECT ascii("FULL_NAME") - 84 FROM hr."Staff" WHERE "ID" = 1);
SELECT k FROM hr.pad ORDER BY n;
-- a text search configuration's dictionary is constant, a column of tsvector
ALTER TABLE hr.persons ADD COLUMN ts tsvector GENERATED ALWAYS AS (to_tsvector('simple', coalesce(last_name, ''))) STORED;
--- later
SELECT ts FROM hr.persons;
-- identity column filled in order
CREATE TABLE hr.m60 (n int GENERATED ALWAYS AS IDENTITY, id int);
INSERT INTO hr.m60 (id) SELECT "ID" FROM hr."Staff" ORDER BY "FULL_NAME";
--- later
SELECT n, id FROM hr.m60 ORDER BY n;
-- insert by a condition, kept
CREATE TABLE hr.m61 (id int);
INSERT INTO hr.m61 SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" > 'R';
--- later
SELECT id FROM hr.m61 ORDER BY 1;
-- foreign key by masked values, cascaded
UPDATE hr."Staff" SET "E-Mail" = 'x' || "E-Mail" WHERE "ID" = 1;
--- later
SELECT holder FROM hr.badges;
