-- like, counted
SELECT count(*) FROM hr."Staff" WHERE "FULL_NAME" LIKE 'T%';
-- like, ids
SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" LIKE 'T%';
-- starts with operator
SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" ^@ 'T';
-- similar to
SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" SIMILAR TO '(T|U)%';
-- regex
SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" ~* '^t';
-- in a list
SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" IN ('Tarvok Elmsworth', 'x');
-- any of a literal
SELECT "ID" FROM hr."Staff" WHERE 'Tarvok Elmsworth' = ANY (ARRAY["FULL_NAME"]);
-- like any
SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" LIKE ANY ('{T%,U%}');
-- between symmetric
SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" BETWEEN SYMMETRIC 'Z' AND 'R';
-- row of constants
SELECT "ID" FROM hr."Staff" WHERE ("FULL_NAME", "ID") > ('R', 0);
-- is distinct from
SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" IS DISTINCT FROM 'Tarvok Elmsworth';
-- not, and or
SELECT "ID" FROM hr."Staff" WHERE NOT ("FULL_NAME" < 'R' OR "ID" < 0);
-- coalesce
SELECT "ID" FROM hr."Staff" WHERE coalesce("FULL_NAME", 'x') > 'R';
-- coalesce with the rest
SELECT "ID" FROM hr."Staff" WHERE coalesce(nullif("FULL_NAME" > 'R', false), "ID" < 0);
-- case
SELECT "ID" FROM hr."Staff" WHERE CASE WHEN "FULL_NAME" > 'R' THEN true END;
-- function
SELECT "ID" FROM hr."Staff" WHERE left("FULL_NAME", 1) = 'T';
-- length
SELECT "ID" FROM hr."Staff" WHERE length("FULL_NAME") > 10;
-- date parts
SELECT "ID" FROM hr."Staff" WHERE extract(year FROM "Born") < 1985;
-- overlaps
SELECT "ID" FROM hr."Staff" WHERE ("Born", "Born") OVERLAPS ('1980-01-01', '1985-01-01');
-- network
SELECT "ID" FROM hr."Staff" WHERE "IP" << '10.0.0.0/8';
-- document
SELECT id FROM hr.dossiers WHERE doc->'member'->>'full_name' LIKE 'T%';
-- document contained
SELECT id FROM hr.dossiers WHERE doc @> '{"member": {"full_name": "Tarvok Elmsworth"}}';
-- document by path
SELECT id FROM hr.dossiers WHERE doc @? '$.member.full_name ? (@ starts with "T")';
-- document cast to text
SELECT id FROM hr.dossiers WHERE doc::text LIKE '%Tarvok%';
-- document's plain json
SELECT id FROM hr.dossiers WHERE plain->'member'->>'last_name' > 'F';
-- xml
SELECT id FROM hr.dossiers WHERE xpath_exists('//full_name[starts-with(., "T")]', page);
-- hstore
SELECT id FROM hr.dossiers WHERE attrs->'last_name' < 'F';
-- hstore contained
SELECT id FROM hr.dossiers WHERE attrs @> 'last_name=>Elmsworth';
-- composite's field
SELECT "ID" FROM hr."Staff" WHERE (kin[1]).full_name > 'R';
-- composite's row
SELECT "ID" FROM hr."Staff" WHERE kin[1] > ROW('R', '', '')::hr.contact;
-- exists over unnest
SELECT "ID" FROM hr."Staff" s WHERE EXISTS (SELECT FROM unnest(s.kin) k WHERE k.full_name > 'R');
-- range
SELECT id FROM hr.spans WHERE born @> '1985-01-01'::date;
-- multirange
SELECT id FROM hr.spans WHERE birthdays && '{[1980-01-01,1985-01-01)}';
-- row as text
SELECT "ID" FROM hr."Staff" s WHERE s::text LIKE '%Tarvok%';
-- row as json
SELECT "ID" FROM hr."Staff" s WHERE to_jsonb(s)->>'FULL_NAME' > 'R';
-- row compared
SELECT "ID" FROM hr."Staff" s WHERE s > ROW(0, 'R', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::hr."Staff" AND s."FULL_NAME" > 'R';
-- through a view
SELECT dept FROM hr."V One" WHERE city < 'B';
-- through two views
SELECT amount FROM hr.v_two WHERE plan > 'R' ORDER BY 1;
-- view with a flag
SELECT id FROM hr.v_flag WHERE late;
-- view with a cohort
SELECT count(*) FROM hr.v_flag WHERE cohort = 'old';
-- view that filters itself
SELECT id FROM hr.v_ids;
-- materialised view
SELECT id FROM hr.mv WHERE n > 'R';
-- materialised view's length
SELECT id FROM hr.mv WHERE len > 10;
-- generated column
SELECT "ID" FROM hr."Staff" WHERE "Initial" = 'T';
-- function's table
SELECT a FROM hr.team('claims') WHERE b > 'R';
-- function's row
SELECT 1 WHERE (hr.best())."FULL_NAME" > 'R';
-- function's count
SELECT i FROM generate_series(1, 3) i WHERE hr.rank_of(i) = 0;
-- partition
SELECT id FROM hr.claims_old WHERE diagnosis LIKE 'E%';
-- partition's parent
SELECT id FROM hr.claims WHERE diagnosis LIKE 'E%';
-- inherited
SELECT code FROM hr.brokers WHERE last_name > 'M';
-- order
SELECT "ID" FROM hr."Staff" ORDER BY "FULL_NAME";
-- order by a position
SELECT "FULL_NAME", "ID" FROM hr."Staff" ORDER BY 1;
-- order by an alias
SELECT "FULL_NAME" AS plan, "ID" FROM hr."Staff" ORDER BY plan;
-- order by a row
SELECT "ID" FROM hr."Staff" ORDER BY ROW("FULL_NAME");
-- order by a document
SELECT "ID" FROM hr."Staff" s ORDER BY to_jsonb(s)->'FULL_NAME';
-- order by a subquery
SELECT "ID" FROM hr."Staff" s ORDER BY (SELECT t."FULL_NAME" FROM hr."Staff" t WHERE t."ID" = s."ID");
-- order in a subquery
SELECT id FROM (SELECT "ID" AS id FROM hr."Staff" ORDER BY "FULL_NAME" LIMIT 1) q;
-- order through a view
SELECT id FROM hr."V One" ORDER BY city;
-- order by a view's interval
SELECT id FROM hr."V One" ORDER BY held;
-- order by a window
SELECT "ID" FROM hr."Staff" ORDER BY row_number() OVER (ORDER BY "FULL_NAME");
-- order by a function
SELECT i FROM generate_series(1, 3) i ORDER BY hr.rank_of(i);
-- order by a case
SELECT "ID" FROM hr."Staff" ORDER BY CASE WHEN "FULL_NAME" > 'R' THEN 0 ELSE 1 END, "ID";
-- distinct
SELECT DISTINCT left("FULL_NAME", 1), "Dept" FROM hr."Staff" WHERE "ID" < 3 ORDER BY 1;
-- distinct of a flag
SELECT count(*) FROM (SELECT DISTINCT "FULL_NAME" < 'B' FROM hr."Staff") q;
-- distinct on
SELECT DISTINCT ON ("Dept") "ID" FROM hr."Staff" WHERE "ID" < 3 ORDER BY "Dept", "FULL_NAME";
-- group by
SELECT count(*) FROM hr."Staff" GROUP BY left("FULL_NAME", 1) < 'B';
-- group by, number of groups
SELECT 1 FROM hr."Staff" GROUP BY "FULL_NAME" < 'B';
-- grouping sets
SELECT count(*) FROM hr."Staff" GROUP BY GROUPING SETS (("FULL_NAME" < 'B'), ("Dept")) ORDER BY 1;
-- having
SELECT "Dept" FROM hr."Staff" GROUP BY "Dept" HAVING min("FULL_NAME") < 'B' ORDER BY 1;
-- having with a filter
SELECT "Dept" FROM hr."Staff" GROUP BY "Dept" HAVING count(*) FILTER (WHERE "FULL_NAME" < 'B') > 0 ORDER BY 1;
-- union of flags
SELECT "FULL_NAME" < 'B' FROM hr."Staff" UNION SELECT NULL;
-- except of names
SELECT "FULL_NAME" FROM hr."Staff" EXCEPT SELECT 'Tarvok Elmsworth';
-- intersect with a constant
SELECT "FULL_NAME" FROM hr."Staff" INTERSECT VALUES ('Tarvok Elmsworth');
-- in the select list's exists
SELECT "ID" FROM hr."Staff" s WHERE EXISTS (SELECT FROM hr."Staff" t WHERE t."ID" = s."ID" AND t."FULL_NAME" > 'R');
-- in a subquery
SELECT id FROM hr.claims WHERE staff IN (SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" > 'R');
-- join's condition
SELECT c.id FROM hr.claims c JOIN hr."Staff" s ON s."ID" = c.staff AND s."FULL_NAME" > 'R' ORDER BY 1;
-- left join's condition
SELECT c.id, s."Dept" FROM hr.claims c LEFT JOIN hr."Staff" s ON s."ID" = c.staff AND s."FULL_NAME" > 'R' ORDER BY 1;
-- join of masked with masked by inequality
SELECT s."ID", t."ID" FROM hr."Staff" s JOIN hr."Staff" t ON s."FULL_NAME" < t."FULL_NAME" ORDER BY 1, 2;
-- fk join of masked with masked through a view
SELECT b.door FROM hr.badges b JOIN hr."Staff" s ON s."E-Mail" = b.holder WHERE s."Born" < '1985-01-01' ORDER BY 1;
-- fk holder
SELECT door FROM hr.badges WHERE holder > 'r' ORDER BY 1;
-- cte
WITH x AS (SELECT "ID" AS id, "FULL_NAME" AS n FROM hr."Staff") SELECT id FROM x WHERE n > 'R';
-- cte's flag
WITH x AS (SELECT "ID" AS id, "FULL_NAME" > 'R' AS f FROM hr."Staff") SELECT id FROM x WHERE f;
-- lateral flag
SELECT s."ID" FROM hr."Staff" s, LATERAL (SELECT s."FULL_NAME" > 'R' AS f) l WHERE l.f;
-- lateral filter
SELECT s."ID" FROM hr."Staff" s CROSS JOIN LATERAL (SELECT 1 WHERE s."FULL_NAME" > 'R') l;
-- function's rows by a flag
SELECT s."ID" FROM hr."Staff" s, unnest(CASE WHEN s."FULL_NAME" > 'R' THEN ARRAY[1] END) u;
-- values of a flag
SELECT v.x IS NULL FROM hr."Staff" s, LATERAL (VALUES (nullif(s."FULL_NAME" < 'B', true))) v(x) WHERE v.x IS NULL;
-- recursion's end
WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r JOIN hr."Staff" s ON s."ID" = r.i WHERE s."FULL_NAME" < 'R') SELECT count(*) FROM r;
-- limit with ties
SELECT count(*) FROM (SELECT "ID" FROM hr."Staff" ORDER BY "FULL_NAME" < 'B' FETCH FIRST 1 ROWS WITH TIES) q;
-- update's count
UPDATE hr."Staff" SET pay = pay WHERE "FULL_NAME" < 'B';
-- delete using
DELETE FROM hr.claims c USING hr."Staff" s WHERE s."ID" = c.staff AND s."FULL_NAME" < 'B';
-- insert's count
INSERT INTO hr.pad (k) SELECT 1 FROM hr."Staff" WHERE "FULL_NAME" < 'B';
-- insert's on conflict
INSERT INTO hr.pad (n) VALUES (1) ON CONFLICT (n) DO UPDATE SET k = 5 WHERE EXISTS (SELECT FROM hr."Staff" WHERE "FULL_NAME" LIKE 'T%');
-- merge's count
MERGE INTO hr.pad p USING hr."Staff" s ON p.n = s."ID" AND s."FULL_NAME" < 'B' WHEN MATCHED THEN DELETE;
-- merge's when
MERGE INTO hr.pad p USING hr."Staff" s ON p.n = s."ID" WHEN MATCHED AND s."FULL_NAME" < 'B' THEN DELETE;
-- create as
CREATE TABLE hr.i1 AS SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" < 'B';
-- copy's count
COPY (SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" > 'R') TO STDOUT;
-- cursor's move
DECLARE ci CURSOR FOR SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" > 'R';
FETCH ALL FROM ci;
-- prepared
PREPARE pi AS SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" > $1;
EXECUTE pi('R');
-- explain analyze
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT FROM hr."Staff" WHERE "FULL_NAME" < 'B';
-- case errs
SELECT 1 / CASE WHEN "FULL_NAME" LIKE 'T%' THEN 0 ELSE 1 END FROM hr."Staff";
-- case in an aggregate errs
SELECT sum(1 / CASE WHEN "FULL_NAME" LIKE 'T%' THEN 0 ELSE 1 END) FROM hr."Staff";
-- subquery errs
SELECT (SELECT 1 FROM hr."Staff" WHERE "FULL_NAME" < 'B');
-- cast errs
SELECT nullif(left("FULL_NAME", 1), 'Q')::int FROM hr."Staff" WHERE "ID" = 1 AND left("FULL_NAME", 1) <> 'Q';
-- division by a length
SELECT 1 / (length("FULL_NAME") - 16) FROM hr."Staff";
-- power of a letter
SELECT exp(ascii("FULL_NAME") * 8.6) FROM hr."Staff" WHERE "ID" = 1;
-- array bound by a letter
SELECT array_fill(1, ARRAY[(ascii("FULL_NAME") - 82) * 100000000]) FROM hr."Staff" WHERE "ID" = 1;
-- unique index
CREATE UNIQUE INDEX ON hr."Staff" (("FULL_NAME" < 'B')) WHERE "ID" < 3;
-- citext by a guess
INSERT INTO hr.logins VALUES ('TARVOK.elmsworth@example.org') ON CONFLICT (email) DO NOTHING;
-- locked rows
SELECT 1 FROM hr."Staff" WHERE "FULL_NAME" < 'B' FOR UPDATE SKIP LOCKED;
-- nextval by a condition
SELECT "ID", nextval('hr.turns') IS NULL FROM hr."Staff" WHERE "FULL_NAME" > 'R';
-- sampling
SELECT count(*) FROM hr."Staff" TABLESAMPLE system (100) WHERE "FULL_NAME" < 'B';
-- several statements, each a question
SELECT 1 FROM hr."Staff" WHERE "FULL_NAME" < 'B'; SELECT 1 FROM hr."Staff" WHERE "FULL_NAME" < 'B';
-- a do block
DO $$ BEGIN IF EXISTS (SELECT FROM hr."Staff" WHERE "FULL_NAME" LIKE 'T%') THEN PERFORM 1/0; END IF; END $$;
-- full text
SELECT "ID" FROM hr."Staff" WHERE to_tsvector('simple', "FULL_NAME") @@ 'tarvok';
-- trigram
SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" % 'Tarvok Elmswort';
-- citext
SELECT tries FROM hr.logins WHERE email = 'tarvok.elmsworth@EXAMPLE.org';
-- bytes
SELECT "ID" FROM hr."Staff" WHERE token > '\x7000';
-- whole-row null test of a nullif
SELECT "ID" FROM hr."Staff" WHERE ROW(nullif(left("FULL_NAME", 1), 'T')) IS NULL;
-- own function in a filter
SELECT "ID" FROM hr."Staff" WHERE hr.same("FULL_NAME", 'Tarvok Elmsworth');
-- own operator in a filter
SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" OPERATOR(hr.===) 'Tarvok Elmsworth';
-- statistics of conditions
SELECT n_distinct FROM pg_stats WHERE tablename = 'Staff' AND histogram_bounds::text LIKE '%Tarvok%';
-- filter in a window
SELECT "ID" FROM (SELECT "ID", count(*) FILTER (WHERE "FULL_NAME" > 'R') OVER (PARTITION BY "ID") AS f FROM hr."Staff") q WHERE f = 1;
-- ordered aggregate
SELECT array_length(array_agg("ID" ORDER BY "FULL_NAME") FILTER (WHERE "FULL_NAME" < 'B'), 1) FROM hr."Staff";
-- count of a distinct case
SELECT 1 FROM hr."Staff" HAVING count(DISTINCT "FULL_NAME" < 'B') = 2;
-- row_number by name
SELECT "ID", row_number() OVER (ORDER BY "FULL_NAME") FROM hr."Staff" ORDER BY 1;
-- rank by a birth date
SELECT "ID", rank() OVER (ORDER BY "Born") FROM hr."Staff" ORDER BY 1;
-- ntile by ssn
SELECT "ID", ntile(2) OVER (PARTITION BY 1 ORDER BY "SSN") FROM hr."Staff" ORDER BY 1;
-- lag of ids by name
SELECT "ID", lag("ID") OVER (ORDER BY "FULL_NAME") FROM hr."Staff" ORDER BY 1;
-- sum of pay in a named window by name
SELECT "ID", sum(pay) OVER w FROM hr."Staff" WINDOW w AS (ORDER BY "FULL_NAME") ORDER BY 1;
-- window that inherits another
SELECT "ID", first_value("ID") OVER (w ORDER BY "FULL_NAME") FROM hr."Staff" WINDOW w AS (PARTITION BY "Dept") ORDER BY 1;
-- range between on birth days
SELECT "ID", count(*) OVER (ORDER BY "Born" RANGE BETWEEN '3650 days' PRECEDING AND CURRENT ROW) FROM hr."Staff" ORDER BY 1;
-- groups with exclude
SELECT "ID", count(*) OVER (ORDER BY length("FULL_NAME") GROUPS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM hr."Staff" ORDER BY 1;
-- nth_value with a frame
SELECT nth_value("Dept", 2) OVER (ORDER BY "FULL_NAME" ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING), nth_value("ID", 2) OVER (ORDER BY "FULL_NAME" ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM hr."Staff";
-- partition by a name's first letter
SELECT "ID", count(*) OVER (PARTITION BY "FULL_NAME" < 'R') FROM hr."Staff" ORDER BY 1;
-- cube
SELECT "Dept", left("FULL_NAME", 1), sum(pay) FROM hr."Staff" GROUP BY CUBE (1, 2) ORDER BY 1, 2, 3;
-- case with a subquery that looks at names
SELECT "ID", CASE WHEN EXISTS (SELECT FROM hr."Staff" t WHERE t."ID" = s."ID" AND t."FULL_NAME" > 'R') THEN 'late' END FROM hr."Staff" s ORDER BY 1;
-- exists in the select list
SELECT EXISTS (SELECT FROM hr."Staff" WHERE "FULL_NAME" LIKE 'T%'), EXISTS (SELECT FROM hr."Staff" WHERE "Born" < '1955-01-01');
-- scalar subquery counting
SELECT (SELECT count(*) FROM hr."Staff" t WHERE t."FULL_NAME" <= s."FULL_NAME") AS k, s."ID" FROM hr."Staff" s ORDER BY 2;
-- array of a subquery of ids in an order
SELECT ARRAY(SELECT "ID" FROM hr."Staff" ORDER BY "FULL_NAME");
-- array of a subquery, cut by an order
SELECT (ARRAY(SELECT "ID" FROM hr."Staff" ORDER BY "Born"))[1];
-- subquery limited by order
SELECT (SELECT "ID" FROM hr."Staff" ORDER BY "FULL_NAME" LIMIT 1);
-- distinct on by a name
SELECT DISTINCT ON ("Dept") "Dept", "ID" FROM hr."Staff" WHERE "ID" < 3 ORDER BY "Dept", "FULL_NAME";
-- distinct on a condition
SELECT DISTINCT ON ("FULL_NAME" > 'R') "ID" FROM hr."Staff" ORDER BY "FULL_NAME" > 'R', "ID";
-- order by a name, ids shown
SELECT id FROM (SELECT "ID" AS id, row_number() OVER () AS r FROM (SELECT "ID" FROM hr."Staff" ORDER BY "FULL_NAME") q) z WHERE r = 1;
-- with ordinality over an ordered array
SELECT u.* FROM unnest(ARRAY(SELECT "ID" FROM hr."Staff" ORDER BY "SSN")) WITH ORDINALITY u;
-- fetch first with ties
SELECT count(*) FROM (SELECT "ID" FROM hr."Staff" ORDER BY length("FULL_NAME") FETCH FIRST 1 ROWS WITH TIES) q;
-- temp table of order
CREATE TEMP TABLE t_ord (n serial, id int);
INSERT INTO t_ord (id) SELECT "ID" FROM hr."Staff" ORDER BY "FULL_NAME";
SELECT n, id FROM t_ord ORDER BY n;
-- update where, by condition on names, seen in a shown column
UPDATE hr.claims SET state = 'late' FROM hr."Staff" s WHERE s."ID" = staff AND s."FULL_NAME" > 'R';
SELECT id, state FROM hr.claims ORDER BY id;
-- delete by a condition, then look
DELETE FROM hr.claims USING hr."Staff" s WHERE s."ID" = staff AND s."FULL_NAME" > 'R';
SELECT id FROM hr.claims ORDER BY id;
-- insert in an order, numbered by its sequence
INSERT INTO hr.pad (k) SELECT "ID" FROM hr."Staff" ORDER BY "FULL_NAME" RETURNING n, k;
-- insert ids by a condition, shown later
INSERT INTO hr.pad (k) SELECT "ID" FROM hr."Staff" WHERE "FULL_NAME" > 'R';
SELECT k FROM hr.pad ORDER BY n;
-- insert on conflict, where
INSERT INTO hr.pad (n, w) VALUES (1, 'x') ON CONFLICT (n) DO UPDATE SET w = 'hit' WHERE (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1) LIKE 'T%';
SELECT w FROM hr.pad ORDER BY n;
-- merge with a condition on a name
MERGE INTO hr.pad p USING hr."Staff" s ON p.n = s."ID" WHEN MATCHED AND s."FULL_NAME" > 'R' THEN DELETE WHEN MATCHED THEN UPDATE SET k = 77;
SELECT n, k FROM hr.pad ORDER BY n;
-- copy of ids in order of names, numbered
COPY (SELECT "ID", row_number() OVER (ORDER BY "FULL_NAME") FROM hr."Staff" ORDER BY 1) TO STDOUT;
-- explain rows estimated by a condition
EXPLAIN SELECT * FROM hr."Staff" WHERE "FULL_NAME" > 'R';
-- an advisory lock by a condition
SELECT pg_try_advisory_xact_lock("ID") FROM hr."Staff" WHERE "FULL_NAME" > 'R';
SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() ORDER BY 1;
-- ctid of what a condition changed
UPDATE hr."Staff" SET pay = pay WHERE "FULL_NAME" > 'R';
SELECT "ID", ctid FROM hr."Staff" ORDER BY 1;
-- fk to masked, through a view
SELECT b.door, s."ID" FROM hr.badges b JOIN hr."Staff" s ON s."E-Mail" = b.holder AND b.holder < 'q' ORDER BY 1;
-- badge by masked against masked, different value sets
SELECT b.n, s."ID" FROM hr.badges b JOIN hr."Staff" s ON b.holder <> s."E-Mail" AND b.holder < s."E-Mail" ORDER BY 1, 2;
-- masked name against a masked mail
SELECT s."ID", p.id FROM hr."Staff" s JOIN hr.persons p ON position(lower(p.last_name) IN s."E-Mail") > 0 ORDER BY 1, 2;
-- do block that notices by a condition
DO $$ BEGIN IF (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1) > 'R' THEN RAISE NOTICE 'late'; END IF; END $$;
-- division by zero under a condition
SELECT 1 / (CASE WHEN "FULL_NAME" LIKE 'T%' THEN 0 ELSE 1 END) FROM hr."Staff";
-- division by zero under exists
SELECT 1 / (SELECT count(*) FROM hr."Staff" WHERE "FULL_NAME" LIKE 'T%') FROM hr.alphabet LIMIT 1;
-- smallint out of range, under a comparison
SELECT (CASE WHEN "FULL_NAME" > 'R' THEN 99999 ELSE 1 END)::int2 FROM hr."Staff" WHERE "ID" = 1;
-- check not valid, validated
ALTER TABLE hr."Staff" ADD CONSTRAINT c2 CHECK ("FULL_NAME" NOT LIKE 'T%') NOT VALID;
ALTER TABLE hr."Staff" VALIDATE CONSTRAINT c2;
-- index that errs
CREATE INDEX ON hr."Staff" ((1 / (ascii("FULL_NAME") - 84)));
-- index with a predicate that errs
CREATE INDEX ON hr."Staff" ("ID") WHERE 1 / (ascii("FULL_NAME") - 84) > 0;
-- partial unique index by a condition
CREATE UNIQUE INDEX ON hr."Staff" ("Dept") WHERE "FULL_NAME" > 'B';
-- exclusion constraint added
ALTER TABLE hr."Staff" ADD EXCLUDE USING gist ("Dept" WITH =) WHERE ("FULL_NAME" > 'B');
-- statistics by expression
CREATE STATISTICS hr.st2 ON (1 / (ascii("FULL_NAME") - 84)), ("ID" + 1) FROM hr."Staff";
ANALYZE hr."Staff";
-- assert in a do
DO $$ BEGIN ASSERT (SELECT "FULL_NAME" < 'R' FROM hr."Staff" WHERE "ID" = 1), 'late'; END $$;
-- a cursor that fails halfway
DECLARE cf CURSOR FOR SELECT 1 / (ascii("FULL_NAME") - 84) FROM hr."Staff";
FETCH 1 FROM cf;
FETCH ALL FROM cf;
-- group by that errs
SELECT count(*) FROM hr."Staff" GROUP BY 1 / (ascii("FULL_NAME") - 84);
-- order by that errs
SELECT "ID" FROM hr."Staff" ORDER BY 1 / (ascii("FULL_NAME") - 84);
-- window that errs
SELECT sum(1) OVER (ORDER BY 1 / (ascii("FULL_NAME") - 84)) FROM hr."Staff";
-- delete that errs for a value
DELETE FROM hr."Staff" WHERE 1 / (ascii("FULL_NAME") - 84) = 5;
-- insert a duplicate by a condition
INSERT INTO hr.alphabet SELECT 'A' FROM hr."Staff" WHERE "FULL_NAME" LIKE 'T%';
-- rollup over a case
SELECT CASE WHEN "FULL_NAME" < 'B' THEN 'late' ELSE 'early' END AS b, count(*) FROM hr."Staff" GROUP BY ROLLUP (1) ORDER BY 1;
-- group by an expression that is shown only by its count
SELECT count(*) FROM hr."Staff" GROUP BY "FULL_NAME" < 'B' ORDER BY 1;
-- notifications so many
SELECT pg_notify('ch', i::text) FROM generate_series(1, 3) i, hr."Staff" WHERE "ID" = i AND "FULL_NAME" < 'B';
-- rows locked by a condition
SELECT count(*) FROM (SELECT 1 FROM hr."Staff" WHERE "FULL_NAME" < 'B' FOR UPDATE) q;
SELECT "ID" FROM hr."Staff" WHERE xmax <> 0 ORDER BY 1;
-- xmin of what a condition changed
UPDATE hr."Staff" SET pay = pay WHERE "FULL_NAME" < 'B';
SELECT "ID" FROM hr."Staff" WHERE xmin = pg_current_xact_id()::xid ORDER BY 1;
-- statistics of a transaction's rows
UPDATE hr."Staff" SET pay = pay WHERE "FULL_NAME" < 'B';
SELECT pg_stat_get_xact_tuples_updated('hr."Staff"'::regclass), n_tup_upd FROM pg_stat_xact_user_tables WHERE relname = 'Staff';
-- regclass of a value
SELECT to_regclass('hr.' || lower(left("FULL_NAME", 1)) || 'x') IS NULL, to_regtype("Dept") FROM hr."Staff" WHERE "FULL_NAME" < 'B';
-- more than one row under a condition
SELECT (SELECT 1 FROM hr."Staff" WHERE "FULL_NAME" < 'B');
-- merge that matches twice
MERGE INTO hr.pad p USING (SELECT 1 AS x FROM hr."Staff" WHERE "FULL_NAME" > 'A' AND "FULL_NAME" < 'B') s ON p.n = s.x WHEN MATCHED THEN UPDATE SET k = 1;
-- on conflict twice
INSERT INTO hr.pad (n) SELECT 1 FROM hr."Staff" WHERE "FULL_NAME" < 'B' ON CONFLICT (n) DO UPDATE SET k = 1;
