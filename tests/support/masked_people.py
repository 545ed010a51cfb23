"""Tables whose secrets are words that stand nowhere else, and ways to have them told: statements, stories of several, COPY."""

# ruff: noqa: E501 - a statement a line

from __future__ import annotations

import base64
import hashlib

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS masked;
CREATE TABLE masked.people (id int PRIMARY KEY, full_name text, email text UNIQUE, ssn varchar(20), notes text, profile jsonb, tags text[],
  born date, age int, city text, CHECK (age < 1000));
INSERT INTO masked.people VALUES
  (1, 'Zyxwana Quorvath', 'zyxwana.quorvath@example.org', '536-90-4399', 'ask zyxwana.quorvath@example.org', '{"mail": "zyxwana.quorvath@example.org"}',
   '{zyxwana.quorvath@example.org}', '1984-02-03', 41, 'Bremen'),
  (2, 'Brimolda Fenwick', 'brimolda.fenwick@example.org', '219-09-9999', '', '{}', '{}', '1990-10-11', 30, 'Genf');
CREATE TABLE masked.orders (id int PRIMARY KEY, person int REFERENCES masked.people, total numeric, label text);
INSERT INTO masked.orders VALUES (1, 1, 10, 'book'), (2, 1, 20, 'lamp'), (3, 2, 5, 'pen');
CREATE VIEW masked.plain AS SELECT id, email AS a, full_name || '' AS b, age FROM masked.people;
CREATE VIEW masked.deeper AS SELECT p.a AS x, o.total FROM masked.plain p JOIN masked.orders o ON o.person = p.id;
CREATE MATERIALIZED VIEW masked.copied AS SELECT id, upper(email) AS a FROM masked.people;
CREATE FUNCTION masked.mail(i int) RETURNS text LANGUAGE sql AS 'SELECT email FROM masked.people WHERE id = i';
CREATE FUNCTION masked.mail2(i int) RETURNS text LANGUAGE plpgsql AS 'DECLARE v text; BEGIN SELECT email INTO v FROM masked.people WHERE id = i; RETURN v; END';
CREATE FUNCTION masked.all_mails() RETURNS TABLE (a text) LANGUAGE sql AS 'SELECT email FROM masked.people';
CREATE FUNCTION masked.shout() RETURNS void LANGUAGE plpgsql AS
  'BEGIN RAISE NOTICE ''%'', (SELECT email FROM masked.people WHERE id = 1); RAISE EXCEPTION ''%'', (SELECT email FROM masked.people WHERE id = 1); END';
CREATE FUNCTION masked.opened() RETURNS refcursor LANGUAGE plpgsql AS
  'DECLARE c refcursor := ''own''; BEGIN OPEN c FOR SELECT email || '''' FROM masked.people; RETURN c; END';
ANALYZE masked.people;
"""
MORE = """
CREATE VIEW masked.harmless AS SELECT id, label AS a FROM masked.orders;
CREATE FUNCTION masked.nothing() RETURNS text LANGUAGE sql AS 'SELECT ''x''::text';
CREATE TYPE masked.pair AS (a text, b int);
CREATE DOMAIN masked.code AS text;
CREATE TYPE masked.mood AS ENUM ('sad', 'ok');
CREATE FUNCTION masked.same(a text, b text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT a = b';
CREATE FUNCTION masked.outs(i int, OUT x text, OUT y int) LANGUAGE sql AS 'SELECT full_name, age FROM masked.people WHERE id = i';
CREATE FUNCTION masked.boom(t text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE EXCEPTION ''%'', t; END';
CREATE FUNCTION masked.setof() RETURNS SETOF masked.people LANGUAGE sql AS 'SELECT * FROM masked.people';
CREATE PROCEDURE masked.proc(INOUT x text) LANGUAGE plpgsql AS 'BEGIN SELECT full_name INTO x FROM masked.people WHERE id = 1; END';
CREATE AGGREGATE masked.glue(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
CREATE VIEW masked.deepest AS SELECT v.x AS q FROM (SELECT * FROM masked.deeper) v;
CREATE TABLE masked.letters AS SELECT chr(g) AS c FROM generate_series(32, 122) g;
CREATE TABLE masked.docs (id int, body jsonb, words text, many text[], pairs masked.pair);
INSERT INTO masked.docs VALUES (1, '{"full_name": "zyxwana quorvath", "customer": {"name": "brimolda fenwick", "n": 1.10}, "theme": "dark"}',
  '{"full_name": "zyxwana quorvath"}', '{"zyxwana.quorvath@example.org","b c"}', ROW('zyxwana.quorvath@example.org', 3));
CREATE VIEW masked.seen AS SELECT body->>'full_name' AS f, body->'customer' AS c FROM masked.docs;
CREATE FUNCTION masked.taken() RETURNS text LANGUAGE sql AS $$SELECT body->>'full_name' FROM masked.docs$$;
CREATE FUNCTION masked.imm() RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT email FROM masked.people WHERE id = 1';
"""
P = "FROM masked.people"
LETTERS = f"{P} p, generate_series(1, 30) i, generate_series(32, 122) g WHERE p.id = 1"

SELECTS = [
    f"SELECT * {P}", f"SELECT email {P}", f"SELECT email AS id {P}", "TABLE masked.people", f"SELECT id, ssn {P}",
    f"SELECT email::varchar(200) {P}", f"SELECT email::bytea {P}", f"SELECT CAST(full_name AS char(60)) {P}",
    f"SELECT email || '' {P}", f"SELECT concat(email), concat_ws(',', id, full_name) {P}", f"SELECT format('%s', email) {P}",
    f"SELECT upper(email) {P}", f"SELECT reverse(email) {P}", f"SELECT lpad(email, 100, '.') {P}", f"SELECT initcap(full_name) {P}",
    f"SELECT string_agg(substr(email, i, 1), '' ORDER BY i) {P}, generate_series(1, 60) i WHERE id = 1",
    f"SELECT substr(email, i, 1) {P}, generate_series(1, 60) i WHERE id = 1 ORDER BY i",
    f"SELECT ascii(substr(email, i, 1)) {P}, generate_series(1, 7) i WHERE id = 1 ORDER BY i",
    f"SELECT left(email, 7), right(full_name, 8) {P}", f"SELECT split_part(email, '.', 1) {P}",
    f"SELECT regexp_replace(email, '@.*', '') {P}", f"SELECT regexp_match(email, '^[a-z]+') {P}",
    f"SELECT regexp_split_to_table(email, '') {P} WHERE id = 1", f"SELECT string_to_array(email, '@') {P}",
    f"SELECT unnest(string_to_array(email, '.')) {P}", f"SELECT max(email), min(full_name) {P}",
    f"SELECT array_agg(email) {P}", f"SELECT string_agg(full_name, ';') {P}", f"SELECT json_agg(email) {P}",
    f"SELECT jsonb_object_agg(id, email) {P}", f"SELECT row_to_json(p) {P} p", f"SELECT to_jsonb(p)->>'email' {P} p",
    f"SELECT to_jsonb(p)->'email' {P} p", f"SELECT p {P} p", f"SELECT p::text {P} p", f"SELECT (p).email {P} p", f"SELECT ROW(email) {P}",
    f"SELECT p.to_jsonb {P} p", f"SELECT (SELECT q FROM (SELECT p.*) q) {P} p",
    f"SELECT jsonb_build_object('m', email)->>'m' {P}", f"SELECT jsonb_path_query(to_jsonb(p), '$.email') {P} p",
    f"SELECT (json_each_text(row_to_json(p))).value {P} p", f"SELECT xmlelement(name e, email) {P}", f"SELECT xmlforest(email) {P}",
    "SELECT query_to_xml('SELECT email FROM masked.people', true, false, '')", "SELECT table_to_xml('masked.people', true, false, '')",
    f"SELECT encode(email::bytea, 'base64') {P}", f"SELECT encode(email::bytea, 'hex') {P}", f"SELECT md5(email) {P}",
    f"SELECT sha256(convert_to(email, 'UTF8')) {P}", f"SELECT CASE WHEN id = 1 THEN email ELSE '' END {P}",
    f"SELECT coalesce(NULL, email) {P}", f"SELECT greatest(email, '') {P}", f"SELECT (SELECT email {P} WHERE id = 1)",
    f"SELECT ARRAY(SELECT email {P})", f"WITH w AS (SELECT email e {P}) SELECT e FROM w",
    f"WITH RECURSIVE r(n, e) AS (SELECT 1, email {P} WHERE id = 1 UNION ALL SELECT n + 1, e FROM r WHERE n < 3) SELECT e FROM r",
    f"SELECT x FROM (SELECT email x {P}) s", f"SELECT s.c FROM (SELECT * {P}) s(a, b, c)",
    f"SELECT label FROM masked.orders UNION SELECT email {P}", f"SELECT id::text {P} UNION ALL SELECT full_name {P}",
    f"SELECT id::text {P} EXCEPT SELECT 'x' UNION SELECT email {P}", f"SELECT l.e {P} p, LATERAL (SELECT p.email e) l",
    f"SELECT first_value(email) OVER (ORDER BY id) {P}", f"SELECT lag(full_name) OVER (ORDER BY id) {P}",
    "SELECT a FROM masked.plain", "SELECT b FROM masked.plain", "SELECT x FROM masked.deeper", "SELECT lower(a) FROM masked.copied",
    "SELECT a FROM masked.copied", "SELECT masked.mail(1)", "SELECT masked.mail2(1)", "SELECT * FROM masked.all_mails()", "SELECT masked.imm()",
    f"VALUES ((SELECT email {P} WHERE id = 1))", f"SELECT email, count(*) {P} GROUP BY 1", f"SELECT DISTINCT email {P}",
    f"SELECT DISTINCT ON (id) full_name {P}", f"SELECT quote_literal(email) {P}", f"SELECT to_tsvector('simple', email) {P}",
    f"SELECT notes {P}", f"SELECT profile {P}", f"SELECT profile->>'mail' {P}", f"SELECT tags {P}", f"SELECT tags[1] {P}", f"SELECT born {P}",
    f"SELECT born::text {P}", f"SELECT extract(year FROM born)::text || to_char(born, '-MM-DD') {P}", f"SELECT overlay(ssn placing '' from 50) {P}",
    f"SELECT o.label, p.email {P} p JOIN masked.orders o ON o.person = p.id", f"SELECT email::int {P}", f"SELECT email::regclass {P}",
    f"SELECT ('{{' || email)::json {P}", f"SELECT full_name::date {P}", f"SELECT xmlparse(document email) {P}", f"SELECT email::inet {P}",
    f"SELECT full_name::masked.people {P}", f"SELECT convert_from(full_name::bytea, email) {P}",
    "SELECT histogram_bounds FROM pg_stats WHERE tablename = 'people'", "SELECT histogram_bounds::text FROM pg_stats WHERE tablename = 'people'",
    "SELECT row_to_json(s) FROM pg_stats s WHERE tablename = 'people'", "SELECT s FROM pg_catalog.pg_stats s WHERE tablename = 'people'",
    "UPDATE masked.people SET age = 42 WHERE id = 1 RETURNING email", "UPDATE masked.people SET age = 42 WHERE id = 1 RETURNING *",
    "DELETE FROM masked.orders o USING masked.people p WHERE p.id = o.person RETURNING p.email",
    f"INSERT INTO masked.orders VALUES (9, 1, 1, 'x') RETURNING (SELECT email {P} WHERE id = person)",
    "UPDATE masked.people SET age = 5000 WHERE id = 1", f"INSERT INTO masked.people (id, email) SELECT 3, email {P} WHERE id = 1",
    "EXPLAIN SELECT * FROM masked.orders WHERE label = masked.imm()",
    f"SELECT chr(g) {P} p, generate_series(1, 30) i, generate_series(32, 122) g WHERE p.id = 1 AND chr(g) = substr(p.email, i, 1) ORDER BY i",
    f"SELECT chr(g) {P} p JOIN generate_series(1, 30) i ON true JOIN generate_series(32, 122) g ON strpos(substr(email, i, 1), chr(g)) = 1 WHERE p.id = 1 ORDER BY i",
    f"SELECT (SELECT chr(g) FROM generate_series(32, 122) g WHERE EXISTS (SELECT 1 {P} p WHERE p.id = 1 AND substr(p.email, i, 1) = chr(g))) FROM generate_series(1, 20) i ORDER BY i",
    f"SELECT (SELECT chr(g) FROM generate_series(32, 122) g ORDER BY abs(g - (SELECT ascii(substr(email, i, 1)) {P} WHERE id = 1)) LIMIT 1) FROM generate_series(1, 20) i",
    f"SELECT (SELECT chr(g) FROM generate_series(1, 122) g OFFSET (SELECT ascii(substr(email, i, 1)) - 1 {P} WHERE id = 1) LIMIT 1) FROM generate_series(1, 20) i ORDER BY i",
    f"SELECT (SELECT chr(count(*)::int) FROM generate_series(1, (SELECT ascii(substr(email, i, 1)) {P} WHERE id = 1))) FROM generate_series(1, 20) i ORDER BY i",
    f"SELECT chr(t.g) FROM (SELECT substr(email, i, 1) c, i {P}, generate_series(1, 20) i WHERE id = 1) s JOIN (SELECT chr(g) c, g FROM generate_series(32, 122) g) t USING (c) ORDER BY s.i",
    f"SELECT chr(t.g) FROM (SELECT substr(email, i, 1) c, i {P}, generate_series(1, 20) i WHERE id = 1) s NATURAL JOIN (SELECT chr(g) c, g FROM generate_series(32, 122) g) t ORDER BY s.i",

    # Columns under other names, rows taken apart and put together.
    f"SELECT x.id::text FROM (SELECT id AS email, email AS id {P}) x", "SELECT x.id FROM masked.people AS x(a, b, id)",
    f"SELECT (x).* FROM (SELECT p AS x {P} p) y", f"SELECT (ROW(p.*)::masked.people).full_name {P} p", f"SELECT (array_agg(p))[1].full_name {P} p",
    f"SELECT (json_populate_record(NULL::masked.people, row_to_json(p))).full_name {P} p", f"SELECT record_out(p) {P} p", f"SELECT concat(p) {P} p",
    f"SELECT email FROM jsonb_to_record((SELECT to_jsonb(p) {P} p WHERE id = 1)) AS x(email text)", f"SELECT array_agg(p) {P} p",
    f"SELECT v FROM unnest((SELECT array_agg(email) {P})) WITH ORDINALITY AS u(v, o)", f"SELECT (ROW(full_name, 1)::masked.pair).a {P}",
    f"SELECT x.n FROM xmltable('/r/e' PASSING (SELECT xmlelement(name r, xmlelement(name e, full_name)) {P} WHERE id = 1) COLUMNS n text PATH '.') x",
    f"SELECT xmlserialize(content xmlelement(name a, xmlattributes(full_name AS b)) AS text) {P}", f"SELECT xmlcomment(full_name) {P}",
    # Functions that give rows, rows of functions, aggregates of one's own, views over views.
    "SELECT n FROM ROWS FROM (masked.all_mails(), generate_series(1, 2)) AS r(n, o)", "SELECT full_name FROM masked.setof()", "SELECT masked.setof()",
    "SELECT x FROM masked.outs(1)", "SELECT (masked.outs(1)).x", "CALL masked.proc('')", f"SELECT masked.glue(full_name) {P}", "SELECT q FROM masked.deepest",
    f"SELECT m[1] {P}, regexp_matches(email, '([a-z]+)', 'g') m", f"SELECT string_to_table(email, '.') {P}", f"SELECT regexp_substr(email, '[a-z]+') {P}",
    f"SELECT token {P}, ts_parse('default', full_name)", f"SELECT ts_headline('simple', full_name, to_tsquery('simple', 'x')) {P}",
    "SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', full_name) FROM masked.people')", f"SELECT lexeme {P}, unnest(to_tsvector('simple', full_name))",
    f"SELECT mode() WITHIN GROUP (ORDER BY full_name) {P}", f"SELECT percentile_disc(0) WITHIN GROUP (ORDER BY full_name) {P}",
    # Ranges, domains, casts there and back, bytes.
    f"SELECT daterange(born, NULL) {P}", f"SELECT lower(daterange(born, NULL)) {P}", f"SELECT json_build_array(born) {P}", f"SELECT born::timestamp {P}",
    f"SELECT full_name::masked.code {P}", f"SELECT full_name COLLATE \"C\" {P}", f"SELECT encode(email::bytea, 'escape') {P}", f"SELECT textsend(full_name) {P}",
    # What errors say.
    f"SELECT full_name::masked.mood {P}", f"SELECT current_setting(email) {P}", f"SELECT date_trunc(full_name, now()) {P}", f"SELECT timezone(full_name, now()) {P}",
    f"SELECT full_name::uuid {P}", f"SELECT full_name::int[] {P}", f"SELECT masked.boom(full_name) {P}", f"SELECT 1 {P} WHERE masked.boom(full_name) = 1",
    "UPDATE masked.people SET email = (SELECT email FROM masked.people WHERE id = 1) WHERE id = 2", "CREATE UNIQUE INDEX ON masked.orders ((masked.imm()))",
    # A letter beside each letter of the value: what a condition, or how many rows there are, tells of them.
    f"SELECT chr(g) {LETTERS} AND masked.same(chr(g), substr(p.email, i, 1)) ORDER BY i", f"SELECT chr(g) {LETTERS} AND nullif(chr(g), substr(p.email, i, 1)) IS NULL ORDER BY i",
    f"SELECT chr(g) {LETTERS} AND int4range(g, g, '[]') @> ascii(substr(p.email, i, 1)) ORDER BY i", f"SELECT string_agg(chr(g), '' ORDER BY i) FILTER (WHERE chr(g) = substr(p.email, i, 1)) {LETTERS}",
    f"SELECT chr(g) {LETTERS} GROUP BY i, g HAVING bool_or(chr(g) = substr(p.email, i, 1)) ORDER BY i",
    f"SELECT c FROM masked.letters l, generate_series(1, 30) i WHERE (SELECT count(*) {P} WHERE id = 1 AND substr(email, i, 1) = l.c) = 1 ORDER BY i",
    f"SELECT l.c FROM generate_series(1, 30) i, LATERAL (SELECT c FROM masked.letters ORDER BY (c = (SELECT substr(email, i, 1) {P} WHERE id = 1)) DESC LIMIT 1) l ORDER BY i",
    f"SELECT (array(SELECT c FROM masked.letters ORDER BY ascii(c)))[(SELECT ascii(substr(email, i, 1)) - 31 {P} WHERE id = 1)] FROM generate_series(1, 30) i ORDER BY i",
    f"SELECT chr(g) FROM (SELECT i, g, chr(g) = substr(p.email, i, 1) AS ok {LETTERS}) s WHERE ok ORDER BY i",
    f"WITH s AS (SELECT i, g, chr(g) = substr(p.email, i, 1) AS ok {LETTERS}), t AS (SELECT i, g, NOT ok AS bad FROM s) SELECT chr(g) FROM t WHERE NOT bad ORDER BY i",
    f"SELECT chr(g) FROM (SELECT i, g, count(*) OVER (PARTITION BY i, chr(g) = substr(p.email, i, 1)) n {LETTERS}) s WHERE n = 1 ORDER BY i",
    f"SELECT chr(g) FROM (SELECT i, g, count(*) FILTER (WHERE chr(g) = substr(p.email, i, 1)) n {LETTERS} GROUP BY i, g) s WHERE n = 1 ORDER BY i",
    f"SELECT chr(g) FROM (SELECT i, g, count(CASE WHEN chr(g) = substr(p.email, i, 1) THEN 1 END) n {LETTERS} GROUP BY i, g) s WHERE n = 1 ORDER BY i",
    f"SELECT chr(g) FROM generate_series(1, 30) i, generate_series(32, 122) g WHERE (SELECT chr(g) = substr(email, i, 1) {P} WHERE id = 1) ORDER BY i",
    f"SELECT chr(g) FROM generate_series(1, 30) i, generate_series(32, 122) g JOIN LATERAL (SELECT chr(g) = substr(email, i, 1) ok {P} WHERE id = 1) l ON l.ok ORDER BY i",
    f"SELECT chr(g) FROM (SELECT i, g, ARRAY[chr(g), substr(p.email, i, 1)] a {LETTERS}) s WHERE a[1] = a[2] ORDER BY i",
    f"SELECT string_agg(chr(g), '' ORDER BY i) FROM (SELECT i, g, chr(g) = substr(p.email, i, 1) AS t {LETTERS}) s NATURAL JOIN (VALUES (true)) v(t)",
    f"SELECT string_agg(chr(g), '' ORDER BY i) FROM (SELECT i, g, chr(g) = substr(p.email, i, 1) AS ok {LETTERS}) w GROUP BY ok ORDER BY count(*)",
    f"SELECT DISTINCT ON (i) chr(g) FROM (SELECT g, i, chr(g) = substr(p.email, i, 1) AS ok {LETTERS}) x ORDER BY i, ok DESC",
    f"SELECT chr(g) {LETTERS.replace(' WHERE', ', unnest(CASE WHEN chr(g) = substr(p.email, i, 1) THEN ARRAY[1] END) WHERE')} ORDER BY i",
    f"SELECT chr(g), unnest(CASE WHEN chr(g) = substr(p.email, i, 1) THEN ARRAY[''] END) {LETTERS} ORDER BY i",
    f"SELECT chr(g) FROM (SELECT i, g, regexp_matches(substr(p.email, i, 1), '[' || chr(g) || ']') {LETTERS} AND g > 96) s ORDER BY i",

    # Values that are made to be NULL, counted or sorted among others; rows that are equal become one.
    f"SELECT string_agg(CASE WHEN hit THEN chr(g) END, '' ORDER BY i) FROM (SELECT i, g, x IS NOT NULL AS hit FROM (SELECT i, g, CASE WHEN substr(p.email, i, 1) = chr(g) THEN 1 END x {LETTERS}) s) t",
    f"SELECT shown FROM (SELECT i, substr(email, i, 1) AS x, '' AS shown {P}, generate_series(1, 30) i WHERE id = 1 UNION ALL SELECT i, c, c FROM masked.letters, generate_series(1, 30) i) u GROUP BY i, x, shown HAVING shown <> '' AND x IN (SELECT substr(email, i, 1) {P} WHERE id = 1) ORDER BY i",
    f"SELECT max(shown) FROM (SELECT i, substr(email, i, 1) AS x, '' AS shown {P}, generate_series(1, 30) i WHERE id = 1 UNION ALL SELECT i, c, c FROM masked.letters, generate_series(1, 30) i) u GROUP BY i, x HAVING count(*) > 1 ORDER BY i",
    f"SELECT max(shown) FROM (SELECT i, x, shown, count(*) OVER (PARTITION BY i, x) n FROM (SELECT i, substr(email, i, 1) AS x, '' AS shown {P}, generate_series(1, 30) i WHERE id = 1 UNION ALL SELECT i, c, c FROM masked.letters, generate_series(1, 30) i) u) w WHERE n > 1 GROUP BY i ORDER BY i",
    f"SELECT b FROM (SELECT i, c AS a, c AS b FROM masked.letters, generate_series(1, 30) i INTERSECT SELECT i, substr(email, i, 1), chr(g) {LETTERS.replace('p.id', 'id').replace(' p,', ',')}) u ORDER BY i",
    f"SELECT chr(g) FROM generate_series(1, 30) i, generate_series(32, 122) g WHERE (SELECT count(*) FROM (SELECT chr(g) UNION SELECT substr(email, i, 1) {P} WHERE id = 1) z) = 1 ORDER BY i",
    f"SELECT chr(g) {LETTERS} AND (chr(g), 1) = (substr(p.email, i, 1), 1) ORDER BY i", f"SELECT chr(g) {LETTERS} AND (substr(p.email, i, 1), 1) IN ((chr(g), 1), ('', 2)) ORDER BY i",
    f"SELECT chr(g) {LETTERS} AND substr(p.email, i, 1) IN (VALUES (chr(g))) ORDER BY i", f"SELECT chr(g) {LETTERS} AND substr(p.email, i, 1) IN (SELECT x FROM unnest(ARRAY[chr(g)]) x) ORDER BY i",
    # Recursion, in which values move from column to column, and CTEs that stand further on.
    f"WITH RECURSIVE r(n, x, y) AS (SELECT 1, 'a'::text, 'a'::text UNION ALL SELECT n + 1, y, (SELECT full_name {P} WHERE id = 1) FROM r WHERE n < 4) SELECT x FROM r",
    f"WITH RECURSIVE r(n, x, y, z) AS (SELECT 1, 'a', 'a', 'a' UNION ALL SELECT n + 1, y, z, (SELECT upper(full_name) {P} WHERE id = 1) FROM r WHERE n < 5) SELECT x || '' FROM r",
    f"WITH RECURSIVE a AS (SELECT b.x FROM b), b AS (SELECT upper(email) AS x {P}) SELECT x FROM a", f"WITH RECURSIVE a AS (SELECT lower(x) AS x FROM b), b AS (SELECT upper(email) AS x {P}) SELECT x FROM a",
    f"WITH RECURSIVE a AS (SELECT b.c, i FROM b, {P[5:]} p, generate_series(1, 30) i WHERE b.c = substr(p.email, i, 1) AND p.id = 1), b AS (SELECT c FROM masked.letters) SELECT c FROM a ORDER BY i",
    # What a name without a table may mean, and what functions give where they stand for a table or in a condition.
    "SELECT l.c FROM masked.letters l, masked.all_mails() f, generate_series(1, 30) i WHERE l.c = substr(f.a, i, 1) AND f.a LIKE 'z%' ORDER BY i",
    "SELECT chr(g) FROM generate_series(1, 30) i, generate_series(32, 122) g, (SELECT masked.imm() AS m) s WHERE chr(g) = substr(s.m, i, 1) ORDER BY i",
    f"SELECT l.c FROM (SELECT substr(email, i, 1) AS label, i {P}, generate_series(1, 30) i WHERE id = 1) s, masked.letters l WHERE label = l.c AND EXISTS (SELECT 1 FROM masked.orders) ORDER BY s.i",
    f"SELECT upper(label) FROM (SELECT full_name AS label {P}) s, masked.letters l WHERE l.c = 'a' AND EXISTS (SELECT 1 FROM masked.orders)",
    f"SELECT o.c FROM generate_series(1, 30) i, masked.letters o, LATERAL (SELECT 1 {P} p, substr(p.email, i, 1) AS ch WHERE c = ch AND p.id = 1) x ORDER BY i",
    f"SELECT j.c FROM ((SELECT email {P} WHERE id = 1) p CROSS JOIN masked.letters) AS j, generate_series(1, 30) i WHERE j.c = substr(j.email, i, 1) ORDER BY i",
    f"WITH s AS (SELECT * {P}, masked.letters WHERE id = 1) SELECT s.c FROM s, generate_series(1, 30) i WHERE s.c = substr(s.email, i, 1) ORDER BY i",
    "SELECT j.c FROM (masked.mail(1) f CROSS JOIN masked.letters) AS j, generate_series(1, 30) i WHERE j.c = substr(j.f, i, 1) ORDER BY i",
    "SELECT upper(j.total) FROM (masked.people AS p(id, total) CROSS JOIN masked.letters) AS j", f"SELECT j.c FROM ((SELECT full_name e {P}) s CROSS JOIN masked.orders) AS j(c)",
    f"SELECT chr(g) FROM (SELECT i, generate_series(1, 122) g, generate_series(1, 122) = ascii(substr(email, i, 1)) m {P}, generate_series(1, 30) i WHERE id = 1) s WHERE m ORDER BY i",
    "SELECT r.c FROM (SELECT chr(oid::int) AS c FROM pg_catalog.pg_proc WHERE oid < 127 UNION SELECT chr(typlen + g) FROM pg_catalog.pg_type, generate_series(60, 120) g WHERE typlen = 1) r, generate_series(1, 30) i WHERE r.c = substr(masked.mail(1), i, 1) ORDER BY i",
    f"SELECT r.word FROM (SELECT (ARRAY['q', 'u', 'o', 'r', 'v', 'a', 't', 'h'])[g] AS word FROM generate_series(1, 8) g) r, generate_series(9, 16) i WHERE r.word = (SELECT lower(substr(full_name, i, 1)) {P} WHERE id = 1) ORDER BY i",

    # Documents, arrays and rows whose members hold it, and members taken out of them.
    "SELECT body FROM masked.docs", "SELECT words FROM masked.docs", "SELECT many FROM masked.docs", "SELECT many[1] FROM masked.docs",
    "SELECT pairs FROM masked.docs", "SELECT (pairs).a FROM masked.docs", "SELECT body->>'full_name' FROM masked.docs", "SELECT body['full_name'] FROM masked.docs",
    "SELECT body->'customer' FROM masked.docs", "SELECT body->'customer'->>'name' FROM masked.docs", "SELECT body #>> '{customer,name}' FROM masked.docs",
    "SELECT body->>('full' || '_name') FROM masked.docs", "SELECT jsonb_path_query(body, '$.full_name') FROM masked.docs",
    "SELECT e.v FROM masked.docs, jsonb_each_text(body) AS e(k, v)", "SELECT jsonb_extract_path_text(body, 'customer', 'name') FROM masked.docs",
    "SELECT jsonb_build_object('theme', body->>'full_name') FROM masked.docs", "SELECT json_agg(body->'full_name') FROM masked.docs",
    "SELECT words::json->>'full_name' FROM masked.docs", "SELECT body::text FROM masked.docs", "SELECT x->>'name' FROM (SELECT body->'customer' AS x FROM masked.docs) s",
    "SELECT f FROM masked.seen", "SELECT c FROM masked.seen", "SELECT masked.taken()", "SELECT array_agg(body) FROM masked.docs",

    f"SELECT w FROM unnest(ARRAY['zyxwana', 'other']) w WHERE EXISTS (SELECT 1 {P} WHERE email LIKE w || '%')",
    f"SELECT w FROM (VALUES ('zyxwana'), ('other')) v(w) WHERE w IN (SELECT split_part(email, '.', 1) {P})",
]  # fmt: skip
"""One statement each, for every way of sending it."""

STORIES = [
    ["BEGIN", f"DECLARE c CURSOR FOR SELECT email {P}", "FETCH ALL FROM c"],
    ["BEGIN", f"DECLARE c CURSOR FOR SELECT email || '' {P}", "FETCH 1 FROM c", "FETCH NEXT FROM c"],
    ["BEGIN", "DECLARE c CURSOR FOR SELECT 1", "CLOSE c", f"DECLARE c CURSOR FOR SELECT email || '' {P}", "FETCH ALL FROM c"],
    ["BEGIN", "SELECT masked.opened()", "FETCH ALL FROM own"],
    ["BEGIN", "INSERT INTO masked.letters SELECT a FROM masked.all_mails()", "SELECT reverse(c) FROM masked.letters"],
    ["BEGIN", "INSERT INTO masked.letters SELECT f.a || '' FROM masked.all_mails() AS f", "SELECT reverse(c) FROM masked.letters"],
    ["BEGIN", "INSERT INTO masked.orders (label, id) SELECT * FROM masked.outs(1)", "SELECT label FROM masked.orders"],
    ["BEGIN", f"INSERT INTO masked.orders (id, label) SELECT 77, u.* FROM unnest((SELECT array_agg(full_name) {P})) u LIMIT 1", "SELECT label FROM masked.orders"],
    ["BEGIN", "UPDATE masked.letters SET c = masked.imm()", "SELECT reverse(c) FROM masked.letters"],
    ["BEGIN", "DECLARE own CURSOR FOR SELECT 1", "CLOSE own", "SELECT masked.opened()", "FETCH ALL FROM own"],
    [f"DECLARE h CURSOR WITH HOLD FOR SELECT upper(email) {P}", "FETCH ALL FROM h"],
    [f"PREPARE q AS SELECT email || '' {P}", "EXECUTE q"],
    ["PREPARE r AS SELECT 1::text", "DEALLOCATE r", f"PREPARE r AS SELECT reverse(email) {P}", "EXECUTE r"],
    [f"DO $$ BEGIN RAISE NOTICE '%', (SELECT email {P} WHERE id = 1); END $$"],
    [f"DO $$ BEGIN RAISE EXCEPTION '%', (SELECT email {P} WHERE id = 1); END $$"],
    [f"DO $$ BEGIN RAISE EXCEPTION 'x' USING DETAIL = (SELECT email {P} WHERE id = 1), HINT = (SELECT full_name {P} WHERE id = 1); END $$"],
    [f"DO $$ BEGIN RAISE EXCEPTION 'x' USING COLUMN = (SELECT email {P} WHERE id = 1), ERRCODE = '22P02'; END $$"],
    [f"DO $$ DECLARE v text; BEGIN EXECUTE 'SELECT em' || 'ail {P} WHERE id = 1' INTO v; RAISE NOTICE '%', v; END $$"],
    ["SELECT masked.shout()"],
    ["LISTEN ch", f"SELECT pg_notify('ch', email) {P}", "SELECT 1"],
    [f"SELECT set_config('my.x', email, false) {P} WHERE id = 1", "SHOW my.x"],
    [f"SELECT set_config('my.x', email, false) {P} WHERE id = 1", "SELECT current_setting('my.x')"],
    [f"SELECT set_config('application_name', email, false) {P} WHERE id = 1", "SHOW application_name"],
    [f"CREATE TABLE masked.t1 AS SELECT email AS q {P}", "SELECT q FROM masked.t1"],
    [f"CREATE TABLE masked.t2 AS SELECT * {P}", "SELECT * FROM masked.t2"],
    [f"CREATE TEMP TABLE t3 AS SELECT email AS q {P}", "SELECT q FROM t3"],
    [f"CREATE TEMP VIEW t4 AS SELECT email AS q {P}", "SELECT q FROM t4"],
    [f"SELECT email AS q INTO TEMP t5 {P}", "SELECT q || '' FROM t5"],
    [f"INSERT INTO masked.orders SELECT 50 + id, id, 1, email {P}", "SELECT label FROM masked.orders"],
    [f"UPDATE masked.orders SET label = p.email {P} p", "SELECT label FROM masked.orders"],
    [f"WITH w AS (SELECT email e {P}) INSERT INTO masked.orders SELECT 70, 1, 1, e FROM w LIMIT 1", "SELECT label FROM masked.orders"],
    ["MERGE INTO masked.orders o USING masked.people p ON o.person = p.id AND o.id = 1 WHEN MATCHED THEN UPDATE SET label = p.email",
     "SELECT label FROM masked.orders"],
    ["BEGIN", "CREATE TEMP TABLE t6 (q text)", f"INSERT INTO t6 SELECT email {P}", "SELECT q FROM t6", "SELECT max(q) FROM t6"],
    ["BEGIN", "ALTER TABLE masked.people RENAME COLUMN full_name TO zz", "SELECT zz FROM masked.people", "SELECT upper(zz) FROM masked.people"],
    ["BEGIN", f"CREATE OR REPLACE VIEW masked.harmless AS SELECT id, full_name AS a {P}", "SELECT a FROM masked.harmless"],
    ["BEGIN", f"CREATE OR REPLACE VIEW masked.harmless AS SELECT id, full_name AS a {P}", "SELECT upper(a) FROM masked.harmless"],
    ["BEGIN", f"CREATE OR REPLACE FUNCTION masked.nothing() RETURNS text LANGUAGE sql AS 'SELECT full_name {P} WHERE id = 1'", "SELECT masked.nothing()"],
    ["BEGIN", f"CREATE FUNCTION masked.fresh() RETURNS text LANGUAGE sql AS 'SELECT full_name {P} WHERE id = 1'", "SELECT masked.fresh()"],
    ["BEGIN", f"CREATE RULE r AS ON UPDATE TO masked.orders DO INSTEAD SELECT email AS label {P}", "UPDATE masked.orders SET total = 1"],
    [f"SELECT lo_from_bytea(424242, email::bytea) {P} WHERE id = 1", "SELECT lo_get(424242)"],
    [f"SELECT pg_advisory_lock(ascii(email)) {P}", "SELECT objid, classid FROM pg_locks WHERE locktype = 'advisory'"],
    ["CREATE SEQUENCE masked.s", f"SELECT setval('masked.s', ascii(email)) {P} WHERE id = 1", "SELECT last_value FROM masked.s"],
    ["BEGIN", "ALTER TABLE masked.people ADD COLUMN zz text GENERATED ALWAYS AS (upper(full_name)) STORED", f"SELECT zz {P}"],
    ["BEGIN", "ALTER TABLE masked.orders ADD COLUMN zz text DEFAULT masked.imm()", "SELECT zz FROM masked.orders"],
    ["BEGIN", "ALTER TABLE masked.people ALTER COLUMN city TYPE text USING full_name", f"SELECT city {P}"],
    [f"SELECT 1; SELECT email {P}; SELECT upper(full_name) {P}"],
    ["SET client_min_messages = debug1", f"SELECT email::int {P}"],
    ["SET client_encoding = 'LATIN1'", f"SELECT email {P}", f"SELECT upper(full_name) {P}"],
    ["SET search_path = masked", "SELECT email FROM people", "SELECT a FROM plain"],
    ["CREATE TEMP VIEW tv AS SELECT full_name q FROM masked.people; SELECT q FROM tv"],
    ["SET search_path = masked", "CREATE TEMP VIEW orders AS SELECT id, full_name AS label FROM people", "SELECT label FROM orders", "SELECT upper(label) FROM orders"],
    [f"CREATE TEMP TABLE vt AS SELECT i, g, chr(g) = substr(p.email, i, 1) AS ok {LETTERS}", "SELECT string_agg(chr(g), '' ORDER BY i) FROM vt WHERE ok"],
    [f"CREATE TEMP VIEW vw AS SELECT i, g, chr(g) = substr(p.email, i, 1) AS ok {LETTERS}", "SELECT string_agg(chr(g), '' ORDER BY i) FROM vw WHERE ok"],
    ["BEGIN", "ALTER FUNCTION masked.nothing() RENAME TO x9", "ALTER FUNCTION masked.imm() RENAME TO nothing", "SELECT masked.nothing()"],
    ["BEGIN", "ALTER SCHEMA masked RENAME TO m9", "SELECT full_name FROM m9.people", "SELECT upper(full_name) FROM m9.people"],
    ["BEGIN", "ALTER TABLE masked.people SET SCHEMA public", "SELECT upper(full_name) FROM public.people"],
    ["BEGIN", "ALTER VIEW masked.plain RENAME COLUMN b TO z", "SELECT z FROM masked.plain"],
    ["BEGIN", f"DECLARE b BINARY CURSOR FOR SELECT full_name || '' {P}", "FETCH ALL FROM b"],
    ["BEGIN", f"DECLARE s SCROLL CURSOR FOR SELECT upper(full_name) {P}", "MOVE 2 FROM s", "FETCH BACKWARD ALL FROM s"],
    [f"PREPARE z9 AS SELECT full_name {P}", "CREATE TEMP TABLE z8 AS EXECUTE z9", "SELECT * FROM z8"],
    ["BEGIN", f"DO $$ BEGIN CREATE TEMP TABLE dd AS SELECT full_name q {P}; END $$", "SELECT q FROM dd"],
    ["BEGIN", f"DO $$ BEGIN ASSERT false, (SELECT full_name {P} WHERE id = 1); END $$"],
    ["BEGIN", "CREATE TABLE masked.lk (LIKE masked.people)", "INSERT INTO masked.lk SELECT * FROM masked.people", "ALTER TABLE masked.lk RENAME full_name TO g", "SELECT upper(g) FROM masked.lk"],
    ["BEGIN", "UPDATE masked.people SET profile = jsonb_build_object('k', full_name)", "SELECT profile FROM masked.people"],
]  # fmt: skip
"""Several statements in one session."""

COPIES = [
    "COPY masked.people TO STDOUT", "COPY masked.people TO STDOUT (FORMAT csv, HEADER)", "COPY masked.people TO STDOUT (FORMAT binary)",
    "COPY masked.people (email) TO STDOUT (FORMAT csv, FORCE_QUOTE *, QUOTE '!')", f"COPY (SELECT upper(email), notes {P}) TO STDOUT",
    f"COPY (SELECT email AS id {P}) TO STDOUT (DELIMITER '@')", f"COPY (SELECT 1, full_name {P}) TO STDOUT (FORMAT binary)",
    "COPY masked.docs TO STDOUT", "COPY masked.docs (body, words) TO STDOUT (FORMAT binary)", "COPY masked.docs TO STDOUT (FORMAT csv)",
    "COPY (SELECT body->>'full_name' FROM masked.docs) TO STDOUT", "COPY (SELECT * FROM masked.deeper) TO STDOUT", "COPY (SELECT * FROM masked.all_mails()) TO STDOUT",
    "COPY (DELETE FROM masked.orders o USING masked.people p WHERE p.id = o.person RETURNING p.email) TO STDOUT",
]  # fmt: skip

WORDS = ("zyxwana", "quorvath", "brimolda", "fenwick", "536-90-4399", "219-09-9999", "1984-02-03", "1990-10-11")
WHOLE = ("zyxwana.quorvath@example.org", "brimolda.fenwick@example.org")


def needles() -> list[str]:
    """A secret as it is, backwards, as character codes; and whole ones encoded and hashed."""
    found = [form for w in WORDS for form in (w, w[::-1], "".join(str(ord(c)) for c in w))]
    for value in WHOLE:
        data = value.encode()
        found += [
            base64.b64encode(data).decode().lower(),
            data.hex(),
            hashlib.md5(data).hexdigest(),
            hashlib.sha256(data).hexdigest(),
        ]
    return found


NEEDLES = needles()


def told(heard: list[str]) -> set[str]:
    """Return which secrets stand in what a client heard, in one cell or joined from many."""
    text = "".join(heard).lower()
    return {needle for needle in NEEDLES if needle in text}
