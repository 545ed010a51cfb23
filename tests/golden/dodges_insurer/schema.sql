-- An insurer's tables. What {…} stands for differs between two databases; all else is the same in both.
CREATE SCHEMA hr;
CREATE DOMAIN hr.mail AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN hr.work_mail AS hr.mail CHECK (length(VALUE) < 80);
CREATE TYPE hr.contact AS (full_name text, phone text, kind text);
CREATE TYPE hr.grade AS ENUM ('junior', 'senior', 'lead');
CREATE TABLE hr."Staff" ("ID" int PRIMARY KEY, "FULL_NAME" text, "E-Mail" hr.work_mail UNIQUE, "Born" date, "SSN" char(11), "IP" inet, "Dept" text,
  boss int REFERENCES hr."Staff", grade hr.grade, kin hr.contact[], token bytea, "Initial" text GENERATED ALWAYS AS (left("FULL_NAME", 1)) STORED, pay int);
INSERT INTO hr."Staff" VALUES
  (1, '{name1}', '{mail1}', '{born1}', '{ssn1}', '{ip1}', 'claims', NULL, 'lead', ARRAY[ROW('{name2}', '{phone2}', 'wife')::hr.contact], '\x{hex1}', DEFAULT, 900),
  (2, '{name2}', '{mail2}', '{born2}', '{ssn2}', '{ip2}', 'claims', 1, 'senior', ARRAY[ROW('{name1}', '{phone1}', 'boss')::hr.contact], '\x{hex2}', DEFAULT, 700),
  (3, '{name3}', '{mail3}', '{born3}', '{ssn3}', '{ip3}', 'sales', 1, 'junior', '{}', '\x{hex3}', DEFAULT, 500);
CREATE TABLE hr.badges (holder hr.work_mail REFERENCES hr."Staff" ("E-Mail") ON UPDATE CASCADE, door text, n int);
COMMENT ON COLUMN hr.badges.holder IS 'email of the holder';
INSERT INTO hr.badges VALUES ('{mail1}', 'north', 1), ('{mail2}', 'south', 2);
CREATE TABLE hr.claims (id int, staff int REFERENCES hr."Staff", diagnosis text, filed date, amount numeric, state text) PARTITION BY RANGE (filed);
CREATE TABLE hr.claims_old PARTITION OF hr.claims FOR VALUES FROM ('2020-01-01') TO ('2023-01-01');
CREATE TABLE hr.claims_new (state text, amount numeric, filed date NOT NULL, diagnosis text, staff int REFERENCES hr."Staff", id int);
ALTER TABLE hr.claims ATTACH PARTITION hr.claims_new FOR VALUES FROM ('2023-01-01') TO ('2030-01-01');
INSERT INTO hr.claims VALUES (1, 1, '{diag1}', '2021-01-01', 120, 'paid'), (2, 2, '{diag2}', '2024-01-01', 80, 'open'), (3, 3, '{diag3}', '2024-06-01', 40, 'paid');
CREATE TABLE hr.persons (id int, first_name text, last_name text);
CREATE TABLE hr.brokers (code text) INHERITS (hr.persons);
INSERT INTO hr.persons VALUES (10, '{first1}', '{last1}');
INSERT INTO hr.brokers VALUES (11, '{first2}', '{last2}', 'B-1'), (12, '{first3}', '{last3}', 'B-2');
CREATE TABLE hr.spans (id int, born daterange, phone int8range, birthdays datemultirange, label text);
INSERT INTO hr.spans VALUES (1, daterange('{born1}', '2050-01-01'), int8range({num1}, {num1} + 7), datemultirange(daterange('{born1}', '2040-01-01')), 'a');
CREATE TABLE hr.dossiers (id int PRIMARY KEY, doc jsonb, plain json, page xml, attrs hstore, tree ltree, words text[]);
INSERT INTO hr.dossiers VALUES (1, '{"member": {"full_name": "{name1}", "contacts": [{"kind": "work", "email": "{mail1}"}]}, "born": "{born1}", "plan": "gold"}',
  '{"member": {"last_name": "{last1}"}, "plan": "gold"}', '<f><member><full_name>{name1}</full_name></member><plan>gold</plan></f>', 'last_name=>"{last1}", plan=>gold', 'top.x', '{"{mail1}", b}');
CREATE TABLE hr.logins (email citext PRIMARY KEY, "Password" text, tries int, seen timestamptz);
INSERT INTO hr.logins VALUES ('{mail1}', '{hex1}', 1, '2024-01-01'), ('{mail2}', '{hex2}', 2, '2024-01-02');
CREATE TABLE hr.desks (phone text, slot int4range, label text, EXCLUDE USING gist (phone WITH =, slot WITH &&));
INSERT INTO hr.desks VALUES ('{phone1}', '[1,5)', 'x');
CREATE TABLE hr.alphabet (c text PRIMARY KEY, n int);
INSERT INTO hr.alphabet SELECT chr(g), g FROM generate_series(32, 122) g;
CREATE TABLE hr.guesses (w text, k int);
INSERT INTO hr.guesses VALUES ('Tarvok Elmsworth', 1), ('Quilby Nandrassoni', 2), ('Alwina Prost', 3), ('Zed Ito', 4);
CREATE TABLE hr.pad (n serial PRIMARY KEY, w text, k int, j jsonb, d date, b bytea, a text[]);
INSERT INTO hr.pad (w, k) VALUES ('one', 1), ('two', 2);
CREATE SEQUENCE hr.turns;
CREATE VIEW hr."V One" AS SELECT "ID" AS id, "FULL_NAME" AS city, "Dept" AS dept, age('2024-01-01', "Born") AS held FROM hr."Staff";
CREATE VIEW hr.v_two AS SELECT v.city AS plan, v.dept, c.diagnosis AS code, c.amount FROM hr."V One" v JOIN hr.claims c ON c.staff = v.id;
CREATE VIEW hr.v_row AS SELECT s AS whole, s.kin[1] AS first_kin FROM hr."Staff" s;
CREATE VIEW hr.v_ids AS SELECT "ID" AS id, "Dept" AS dept FROM hr."Staff" WHERE "FULL_NAME" > 'M';
CREATE VIEW hr.v_agg AS SELECT "Dept" AS dept, max("FULL_NAME") AS top, count(*) AS n, min("Born") AS first FROM hr."Staff" GROUP BY 1;
CREATE VIEW hr.v_flag AS SELECT "ID" AS id, "FULL_NAME" > 'M' AS late, CASE WHEN "Born" < '1980-01-01' THEN 'old' ELSE 'young' END AS cohort FROM hr."Staff";
CREATE MATERIALIZED VIEW hr.mv AS SELECT "ID" AS id, upper("FULL_NAME") AS n, length("FULL_NAME") AS len, "Dept" AS dept FROM hr."Staff";
CREATE UNIQUE INDEX ON hr.mv (n);
CREATE FUNCTION hr.team(d text) RETURNS TABLE (a int, b text) LANGUAGE sql STABLE AS 'SELECT "ID", "FULL_NAME" FROM hr."Staff" WHERE "Dept" = d';
CREATE FUNCTION hr.best() RETURNS hr."Staff" LANGUAGE sql STABLE AS 'SELECT * FROM hr."Staff" ORDER BY "ID" LIMIT 1';
CREATE FUNCTION hr.rank_of(i int) RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM hr."Staff" s WHERE s."FULL_NAME" < (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = i)); END';
CREATE FUNCTION hr.same(a text, b text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT a = b';
CREATE FUNCTION hr.boom(t text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE EXCEPTION ''no %'', t USING HINT = t, ERRCODE = ''P0''||lpad(length(t)::text, 3, ''0''); END';
CREATE FUNCTION hr.say(t text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE NOTICE ''got %'', t; RETURN 1; END';
CREATE FUNCTION hr.canary(i int) RETURNS int LANGUAGE sql AS 'SELECT i + 1';
CREATE AGGREGATE hr.glue(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
CREATE OPERATOR hr.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = hr.same);
CREATE TYPE hr.signatory AS ENUM ('{mail1}', 'nobody');
CREATE TABLE hr.rules (id int PRIMARY KEY, owner text DEFAULT '{mail1}', kind text CHECK (kind <> '{mail2}'), who hr.signatory) PARTITION BY LIST (id);
CREATE VIEW hr.v_const AS SELECT id, '{mail1}' = owner AS own FROM hr.rules;
CREATE INDEX pad_part ON hr.pad (w) WHERE w <> '{mail3}';
COMMENT ON TABLE hr.pad IS 'ask {mail1}';
CREATE STATISTICS hr.ext (mcv, dependencies) ON "Dept", "FULL_NAME" FROM hr."Staff";
ANALYZE;
