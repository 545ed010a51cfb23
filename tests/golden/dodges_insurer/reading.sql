-- quoted name, upper case
SELECT "FULL_NAME" FROM hr."Staff";
-- unicode-escaped name of a column
SELECT U&"FULL\005FNAME" FROM hr."Staff";
-- TABLE of a quoted name
TABLE hr."Staff";
-- domain over a domain
SELECT "E-Mail" FROM hr."Staff";
-- cast of a domain down and up
SELECT "E-Mail"::hr.mail::text::hr.work_mail FROM hr."Staff";
-- array of composites
SELECT kin FROM hr."Staff";
-- field of an element of composites
SELECT kin[1].full_name FROM hr."Staff";
-- field of an element in parentheses
SELECT (kin[1]).phone FROM hr."Staff";
-- unnest of composites by columns
SELECT k.* FROM hr."Staff" s, unnest(s.kin) k;
-- unnest of composites renamed
SELECT k.b FROM hr."Staff" s, unnest(s.kin) AS k(b, c, d);
-- unnest in the select list, expanded
SELECT (unnest(kin)).* FROM hr."Staff";
-- rows from with composites
SELECT z.* FROM ROWS FROM (unnest((SELECT kin FROM hr."Staff" WHERE "ID" = 1)), generate_series(1, 2)) AS z(p, q, r, s);
-- slice of composites
SELECT (kin[1:1])::text FROM hr."Staff";
-- array_to_json of composites
SELECT array_to_json(kin)->0->>'kind', array_to_json(kin)->0->>'full_name' FROM hr."Staff";
-- row of a view
SELECT v FROM hr."V One" v;
-- column of a whole-row column of a view
SELECT (whole)."FULL_NAME" FROM hr.v_row;
-- whole-row column expanded
SELECT (whole).* FROM hr.v_row;
-- kin of a view
SELECT (first_kin).full_name FROM hr.v_row;
-- view that renames into a harmless word
SELECT city FROM hr."V One";
-- view over a view
SELECT plan, code FROM hr.v_two;
-- aggregate in a view
SELECT top, first FROM hr.v_agg;
-- interval since birth in a view
SELECT held FROM hr."V One";
-- flag in a view
SELECT late, cohort FROM hr.v_flag;
-- materialised view
SELECT n, len FROM hr.mv;
-- generated column
SELECT "Initial" FROM hr."Staff";
-- function with a table for a result
SELECT b FROM hr.team('claims');
-- function with a table for a result, in the select list
SELECT (hr.team('claims')).b;
-- function with a table, row to json
SELECT to_json(t) FROM hr.team('claims') t;
-- function giving a row, field by function notation
SELECT "FULL_NAME"(hr.best());
-- function giving a row, attribute
SELECT (hr.best())."Born";
-- function giving a count
SELECT hr.rank_of(i) FROM generate_series(1, 3) i;
-- function notation on the table
SELECT "FULL_NAME"(s) FROM hr."Staff" s;
-- partition by itself
SELECT diagnosis FROM hr.claims_old;
-- partition with columns in another order
SELECT * FROM hr.claims_new;
-- parent of partitions with only
SELECT diagnosis FROM ONLY hr.claims UNION ALL SELECT diagnosis FROM hr.claims;
-- parent of inheritance
SELECT first_name, last_name FROM hr.persons;
-- child of inheritance
SELECT last_name, code FROM hr.brokers;
-- row of a child cast to its parent
SELECT (b::hr.persons).last_name FROM hr.brokers b;
-- tableoid beside a value
SELECT tableoid::regclass, last_name FROM hr.persons;
-- range of dates of birth
SELECT born FROM hr.spans;
-- lower bound
SELECT lower(born) FROM hr.spans;
-- upper of a phone range
SELECT upper(phone), lower_inc(phone) FROM hr.spans;
-- multirange
SELECT birthdays FROM hr.spans;
-- unnest of a multirange
SELECT unnest(birthdays) FROM hr.spans;
-- range_agg
SELECT range_agg(born) FROM hr.spans;
-- range_merge
SELECT range_merge(birthdays) FROM hr.spans;
-- range intersect
SELECT born * daterange('1900-01-01', '2100-01-01') FROM hr.spans;
-- range minus
SELECT daterange('1900-01-01', '2100-01-01') - daterange(lower(born), NULL) FROM hr.spans;
-- range contains, per candidate
SELECT y, born @> make_date(y, 1, 1) FROM hr.spans, generate_series(1940, 2005) y;
-- range joined with a calendar
SELECT y FROM hr.spans JOIN generate_series(1940, 2005) y ON born @> make_date(y, 1, 1);
-- width_bucket of a birth date
SELECT width_bucket(extract(epoch FROM "Born")::float8, -1e9, 1e9, 100) FROM hr."Staff";
-- width_bucket by an array of thresholds
SELECT width_bucket("FULL_NAME", (SELECT array_agg(c ORDER BY c) FROM hr.alphabet)) FROM hr."Staff";
-- json path into a document
SELECT jsonb_path_query(doc, '$.member.full_name') FROM hr.dossiers;
-- json path with a variable
SELECT jsonb_path_query_first(doc, '$.**.full_name', '{}') FROM hr.dossiers;
-- json path matching, by like_regex
SELECT jsonb_path_exists(doc, '$.member.full_name ? (@ starts with "T")') FROM hr.dossiers;
-- json match operator
SELECT doc @@ '$.member.full_name starts with "Q"' FROM hr.dossiers;
-- json containment, as shown
SELECT doc @> '{"member": {"full_name": "Tarvok Elmsworth"}}' FROM hr.dossiers;
-- json subscripts
SELECT doc['member']['full_name'] FROM hr.dossiers;
-- json path array
SELECT doc #>> '{member,contacts,0,email}' FROM hr.dossiers;
-- json path array put together
SELECT doc #>> ARRAY['mem' || 'ber', lower('FULL_NAME')] FROM hr.dossiers;
-- json minus
SELECT doc - 'plan' - 'born' FROM hr.dossiers;
-- json delete path
SELECT doc #- '{member,contacts}' FROM hr.dossiers;
-- jsonb_set moves nothing, but shows
SELECT jsonb_set(doc, '{plan}', doc->'member'->'full_name')->>'plan' FROM hr.dossiers;
-- jsonb_insert
SELECT jsonb_insert(doc, '{zz}', doc#>'{member,full_name}')->'zz' FROM hr.dossiers;
-- jsonb concatenation under another key
SELECT jsonb_build_object('plan', doc->'member') FROM hr.dossiers;
-- jsonb_pretty
SELECT jsonb_pretty(doc) FROM hr.dossiers;
-- json_each_text
SELECT value FROM hr.dossiers, jsonb_each_text(doc->'member');
-- json_each, nested
SELECT e2.* FROM hr.dossiers, jsonb_each(doc) e, jsonb_each(CASE WHEN jsonb_typeof(e.value) = 'object' THEN e.value ELSE '{}' END) e2;
-- jsonb_to_record with other names
SELECT x.* FROM hr.dossiers, jsonb_to_record(doc) AS x(member text, plan text);
-- jsonb_populate_record
SELECT (jsonb_populate_record(NULL::hr.contact, doc->'member')).* FROM hr.dossiers;
-- jsonb_populate_recordset
SELECT p.w FROM hr.dossiers, jsonb_populate_recordset(NULL::hr.pad, jsonb_build_array(jsonb_build_object('w', doc->'born'))) p;
-- json_strip_nulls
SELECT json_strip_nulls(plain) FROM hr.dossiers;
-- json_object of two arrays
SELECT json_object(ARRAY['x'], ARRAY["FULL_NAME"]) FROM hr."Staff";
-- json_object keys of values
SELECT json_object_keys(json_build_object("FULL_NAME", 1)) FROM hr."Staff";
-- jsonb_object_agg with names as keys
SELECT jsonb_object_agg("FULL_NAME", 1) FROM hr."Staff";
-- to_jsonb of a row, by an array path
SELECT to_jsonb(s) #>> '{FULL_NAME}' FROM hr."Staff" s;
-- to_jsonb minus ids
SELECT to_jsonb(s) - 'ID' - 'Dept' FROM hr."Staff" s;
-- row_to_json of a subquery renamed
SELECT row_to_json(q) FROM (SELECT "FULL_NAME" AS plan FROM hr."Staff") q;
-- json_agg ordered by name
SELECT json_agg("ID" ORDER BY "Dept", "FULL_NAME") FROM hr."Staff";
-- array_agg of ids ordered by a name
SELECT array_agg("ID" ORDER BY "FULL_NAME") FROM hr."Staff";
-- string_agg of ids ordered by ssn
SELECT string_agg("ID"::text, ',' ORDER BY "SSN") FROM hr."Staff";
-- aggregate with distinct on a name
SELECT array_agg(DISTINCT "FULL_NAME") FROM hr."Staff";
-- filter on an aggregate
SELECT array_agg("ID") FILTER (WHERE "FULL_NAME" > 'M') FROM hr."Staff";
-- count with a filter
SELECT count(*) FILTER (WHERE "FULL_NAME" LIKE 'T%'), count(*) FILTER (WHERE "FULL_NAME" LIKE 'Q%') FROM hr."Staff";
-- sum of a case
SELECT sum(CASE WHEN "FULL_NAME" LIKE 'T%' THEN pay ELSE 0 END) FROM hr."Staff";
-- bit_or of letters
SELECT bit_or(ascii("FULL_NAME")) FROM hr."Staff";
-- mode
SELECT mode() WITHIN GROUP (ORDER BY "FULL_NAME") FROM hr."Staff";
-- percentile_disc of ids by name cannot be, but of names can
SELECT percentile_disc(ARRAY[0, 0.5, 1]) WITHIN GROUP (ORDER BY "FULL_NAME") FROM hr."Staff";
-- percentile_cont of birth
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY "Born" - '1900-01-01'::date) FROM hr."Staff";
-- corr and regression
SELECT corr(length("FULL_NAME"), pay), regr_slope(ascii("FULL_NAME"), pay) FROM hr."Staff";
-- stddev of lengths
SELECT stddev(length("E-Mail")), avg(length("E-Mail")) FROM hr."Staff";
-- own aggregate
SELECT hr.glue("FULL_NAME" ORDER BY "ID") FROM hr."Staff";
-- count of distinct letters
SELECT count(DISTINCT left("FULL_NAME", 1)) + count(DISTINCT length("FULL_NAME")) * 10, max(length("FULL_NAME")) FROM hr."Staff";
-- window filter
SELECT "ID", count(*) FILTER (WHERE "FULL_NAME" < 'B') OVER () FROM hr."Staff" ORDER BY 1;
-- grouping sets
SELECT "FULL_NAME", grouping("FULL_NAME"), count(*) FROM hr."Staff" GROUP BY GROUPING SETS (("FULL_NAME"), ());
-- union all with harmless words
SELECT w FROM hr.pad UNION ALL SELECT "FULL_NAME" FROM hr."Staff";
-- union with a value
SELECT 'a' UNION SELECT "Dept" FROM hr."Staff" UNION ALL SELECT diagnosis FROM hr.claims;
-- except of guesses
SELECT w FROM hr.guesses EXCEPT SELECT "FULL_NAME" FROM hr."Staff";
-- intersect all of guesses
SELECT w FROM hr.guesses INTERSECT ALL SELECT "FULL_NAME" FROM hr."Staff";
-- in a subquery
SELECT k FROM hr.guesses WHERE w IN (SELECT "FULL_NAME" FROM hr."Staff") ORDER BY k;
-- not in
SELECT k FROM hr.guesses WHERE w NOT IN (SELECT "FULL_NAME" FROM hr."Staff") ORDER BY k;
-- exists
SELECT k FROM hr.guesses g WHERE EXISTS (SELECT FROM hr."Staff" s WHERE s."FULL_NAME" = g.w) ORDER BY k;
-- any of an array
SELECT k FROM hr.guesses WHERE w = ANY (ARRAY(SELECT "FULL_NAME" FROM hr."Staff")) ORDER BY k;
-- all of an array
SELECT k FROM hr.guesses WHERE w < ALL (ARRAY(SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" < 3)) ORDER BY k;
-- row comparison
SELECT k FROM hr.guesses WHERE (w, 1) >= (SELECT "FULL_NAME", 1 FROM hr."Staff" WHERE "ID" = 1) ORDER BY k;
-- is distinct from
SELECT k FROM hr.guesses WHERE w IS NOT DISTINCT FROM (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1);
-- is distinct from, a row
SELECT k FROM hr.guesses WHERE ROW(w) IS NOT DISTINCT FROM ROW((SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1));
-- between symmetric
SELECT c FROM hr.alphabet, hr."Staff" WHERE "ID" = 1 AND c BETWEEN SYMMETRIC "FULL_NAME" AND '0' ORDER BY c;
-- similar to
SELECT c FROM hr.alphabet, hr."Staff" WHERE "ID" = 1 AND c ~ '[A-Z]' AND "FULL_NAME" SIMILAR TO c || '%' ORDER BY c;
-- like with the letters on the right, escape
SELECT c FROM hr.alphabet, hr."Staff" WHERE "ID" = 1 AND c ~ '[A-Z]' AND "FULL_NAME" LIKE c || '%' ESCAPE '!' ORDER BY c;
-- position
SELECT c, position(c IN "FULL_NAME") FROM hr.alphabet, hr."Staff" WHERE "ID" = 1 AND c ~ '[A-Z]' ORDER BY c;
-- operator of one's own
SELECT k FROM hr.guesses, hr."Staff" WHERE w OPERATOR(hr.===) "FULL_NAME" ORDER BY k;
-- function of one's own compares
SELECT k FROM hr.guesses, hr."Staff" WHERE hr.same(w, "FULL_NAME") ORDER BY k;
-- boolean of a comparison joined on
SELECT k FROM hr.guesses JOIN hr."Staff" ON starts_with("FULL_NAME", w) ORDER BY k;
-- using
SELECT k FROM hr.guesses JOIN (SELECT "FULL_NAME" AS w FROM hr."Staff") s USING (w) ORDER BY k;
-- natural join
SELECT k FROM hr.guesses NATURAL JOIN (SELECT "FULL_NAME" AS w FROM hr."Staff") s ORDER BY k;
-- natural join through a view's star
SELECT k FROM (SELECT w AS plan, k FROM hr.guesses) g NATURAL JOIN hr.v_two ORDER BY k;
-- natural join without a common column, then a filter
SELECT n FROM hr.alphabet NATURAL JOIN (SELECT left("FULL_NAME", 1) AS x FROM hr."Staff") s WHERE c = x ORDER BY n;
-- full join shows who is missing
SELECT g.k, s."ID" FROM hr.guesses g FULL JOIN hr."Staff" s ON s."FULL_NAME" = g.w ORDER BY 1, 2;
-- left join and is null
SELECT g.k FROM hr.guesses g LEFT JOIN hr."Staff" s ON s."FULL_NAME" = g.w WHERE s."ID" IS NULL ORDER BY 1;
-- case as a join condition
SELECT k FROM hr.guesses, hr."Staff" WHERE CASE "FULL_NAME" WHEN w THEN true ELSE false END ORDER BY k;
-- nullif of a guess
SELECT k FROM hr.guesses, hr."Staff" WHERE nullif(w, "FULL_NAME") IS NULL ORDER BY k;
-- coalesce of nullif
SELECT coalesce(nullif("FULL_NAME", 'Tarvok Elmsworth'), 'hit') FROM hr."Staff" WHERE "ID" = 1;
-- coalesce shows a harmless word or another
SELECT coalesce(CASE WHEN "FULL_NAME" LIKE 'T%' THEN "Dept" END, 'no') FROM hr."Staff";
-- greatest of a letter and a name
SELECT greatest("FULL_NAME", 'R') FROM hr."Staff";
-- least of a date
SELECT least("Born", '1980-01-01') FROM hr."Staff";
-- nullif gives NULL or a harmless word
SELECT nullif("Dept", CASE WHEN "FULL_NAME" > 'R' THEN "Dept" END) FROM hr."Staff";
-- lateral
SELECT g.k, l.x FROM hr.guesses g, LATERAL (SELECT count(*) AS x FROM hr."Staff" WHERE "FULL_NAME" = g.w) l ORDER BY 1;
-- lateral function of a name
SELECT s."ID", l FROM hr."Staff" s, LATERAL length(s."FULL_NAME") l ORDER BY 1;
-- lateral values
SELECT s."ID", v.x FROM hr."Staff" s, LATERAL (VALUES (s."FULL_NAME"), (s."Dept")) v(x) ORDER BY 1, 2;
-- lateral with a series cut by a length
SELECT s."ID", count(g) FROM hr."Staff" s, LATERAL generate_series(1, length(s."FULL_NAME")) g GROUP BY 1 ORDER BY 1;
-- cte
WITH a AS (SELECT "FULL_NAME" x FROM hr."Staff"), b AS MATERIALIZED (SELECT x AS y FROM a) SELECT y FROM b;
-- cte hides a table of the same name
WITH "Staff" AS (SELECT "FULL_NAME" AS "Dept" FROM hr."Staff") SELECT "Dept" FROM "Staff";
-- cte that writes, returning
WITH u AS (UPDATE hr."Staff" SET pay = pay + 1 RETURNING "FULL_NAME" AS w) SELECT w FROM u;
-- recursive over the boss
WITH RECURSIVE r AS (SELECT "ID", "FULL_NAME"::text AS p FROM hr."Staff" WHERE boss IS NULL UNION ALL SELECT s."ID", r.p || '/' || s."FULL_NAME" FROM hr."Staff" s JOIN r ON s.boss = r."ID") SELECT p FROM r;
-- recursive that spells
WITH RECURSIVE r(n, t) AS (SELECT 1, (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1) UNION ALL SELECT n + 1, substr(t, 2) FROM r WHERE t <> '') SELECT n FROM r;
-- recursive with search depth first
WITH RECURSIVE r(id) AS (SELECT 1 UNION ALL SELECT s."ID" FROM hr."Staff" s, r WHERE s.boss = r.id) SEARCH DEPTH FIRST BY id SET o SELECT r.id, o, (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = r.id) FROM r;
-- recursive with cycle mark by a value
WITH RECURSIVE r(id, x) AS (SELECT 1, (SELECT "Initial" FROM hr."Staff" WHERE "ID" = 1) UNION ALL SELECT id + 1, chr(ascii(x) + 1) FROM r WHERE id < 60 AND x < 'Z') CYCLE x SET c USING p SELECT count(*) FROM r;
-- values
VALUES ((SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1), 2);
-- select without a list, times
SELECT FROM hr."Staff" s, generate_series(1, ascii(s."FULL_NAME"));
-- limit by a value
SELECT c FROM hr.alphabet ORDER BY n LIMIT (SELECT length("FULL_NAME") FROM hr."Staff" WHERE "ID" = 1);
-- offset by a value
SELECT c FROM hr.alphabet ORDER BY n OFFSET (SELECT ascii("FULL_NAME") - 32 FROM hr."Staff" WHERE "ID" = 1) LIMIT 1;
-- tablesample by a value
SELECT count(*) FROM hr.alphabet TABLESAMPLE bernoulli ((SELECT ascii("FULL_NAME") - 32 FROM hr."Staff" WHERE "ID" = 1)) REPEATABLE (1);
-- tablesample seed by a value
SELECT array_agg(n) FROM hr.alphabet TABLESAMPLE bernoulli (50) REPEATABLE ((SELECT ascii("FULL_NAME") FROM hr."Staff" WHERE "ID" = 1));
-- hashes
SELECT hashtext("FULL_NAME"), hashtextextended("FULL_NAME", 0), hash_record(ROW("FULL_NAME")) FROM hr."Staff";
-- hash of a date
SELECT hashint4(extract(year FROM "Born")::int), date_mii("Born", 1) FROM hr."Staff";
-- hmac
SELECT hmac("FULL_NAME", 'k', 'sha256'), digest("FULL_NAME", 'md5') FROM hr."Staff";
-- crypt
SELECT crypt("FULL_NAME", '$1$abcdefgh') FROM hr."Staff";
-- sha of convert_to
SELECT sha512(convert_to("FULL_NAME", 'UTF8')), md5("E-Mail") FROM hr."Staff";
-- pgp and armor
SELECT armor("FULL_NAME"::bytea), dearmor(armor(token)) FROM hr."Staff";
-- encrypt with a known key
SELECT encrypt("FULL_NAME"::bytea, 'k', 'aes'), pgp_sym_decrypt(pgp_sym_encrypt("FULL_NAME", 'k'), 'k') FROM hr."Staff";
-- encode of bytes
SELECT encode(token, 'escape'), encode(token, 'hex') FROM hr."Staff";
-- bytes
SELECT get_byte(token, 0), get_bit(token, 3), bit_count(token), substring(token FROM 1 FOR 2) FROM hr."Staff";
-- bytes by a series
SELECT i, get_byte("FULL_NAME"::bytea, i) FROM hr."Staff", generate_series(0, 5) i WHERE "ID" = 1 ORDER BY i;
-- length in several ways
SELECT length("FULL_NAME"), octet_length("FULL_NAME"), bit_length("FULL_NAME"), char_length("SSN") + ascii("SSN"), pg_column_size("FULL_NAME") FROM hr."Staff";
-- pg_column_size of a row
SELECT pg_column_size(s.*) FROM hr."Staff" s;
-- full text
SELECT to_tsvector('simple', "FULL_NAME"), ts_headline("FULL_NAME", to_tsquery('x')), numnode(plainto_tsquery('simple', "FULL_NAME")) FROM hr."Staff";
-- ts_rank of a guess
SELECT ts_rank(to_tsvector('simple', "FULL_NAME"), to_tsquery('simple', 'tarvok')) FROM hr."Staff";
-- ts_stat
SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', "FULL_NAME") FROM hr."Staff"');
-- ts_debug and ts_parse
SELECT t.token FROM hr."Staff" s, ts_parse('default', s."FULL_NAME") t;
-- levenshtein and the like
SELECT levenshtein("FULL_NAME", 'Tarvok Elmsworth'), soundex("FULL_NAME"), metaphone("FULL_NAME", 9), dmetaphone("FULL_NAME") FROM hr."Staff";
-- trigrams
SELECT similarity("FULL_NAME", 'Tarvok'), show_trgm("FULL_NAME"), word_similarity('Tarvok', "FULL_NAME") FROM hr."Staff";
-- distance operator in the list
SELECT "FULL_NAME" <-> 'Tarvok Elmsworth' FROM hr."Staff";
-- trigram operator as a condition of a join
SELECT k FROM hr.guesses JOIN hr."Staff" ON "FULL_NAME" % w ORDER BY k;
-- format
SELECT format('%1$s and %2$I and %1$L', "FULL_NAME", "Dept") FROM hr."Staff";
-- overlay and translate
SELECT overlay("FULL_NAME" PLACING 'x' FROM 2), translate("FULL_NAME", 'abc', 'xyz') FROM hr."Staff";
-- regexp family
SELECT regexp_count("FULL_NAME", '[aeiou]'), regexp_instr("FULL_NAME", ' '), regexp_substr("FULL_NAME", '\w+'), regexp_like("FULL_NAME", '^T') FROM hr."Staff";
-- regexp_split
SELECT regexp_split_to_array("FULL_NAME", ' ') FROM hr."Staff";
-- regexp_matches in from, once a match
SELECT s."ID", count(*) FROM hr."Staff" s, regexp_matches(s."FULL_NAME", '[aeiou]', 'g') m GROUP BY 1 ORDER BY 1;
-- string_to_table
SELECT count(*) FROM hr."Staff", string_to_table("E-Mail", NULL);
-- normalize and unistr
SELECT normalize("FULL_NAME", NFD), unistr("FULL_NAME"), quote_nullable("FULL_NAME") FROM hr."Staff";
-- to_ascii, unaccent, initcap, rpad
SELECT unaccent("FULL_NAME"), initcap("FULL_NAME"), rpad("FULL_NAME", 5) FROM hr."Staff";
-- collate
SELECT "FULL_NAME" COLLATE "C" FROM hr."Staff";
-- concat_ws variadic
SELECT concat_ws('-', VARIADIC ARRAY["FULL_NAME", "Dept"]) FROM hr."Staff";
-- num_nonnulls, with a nullif
SELECT num_nulls(nullif(left("FULL_NAME", 1), 'T'), nullif(left("FULL_NAME", 1), 'Q')) FROM hr."Staff";
-- is null of a nullif
SELECT nullif(left("FULL_NAME", 1), 'T') IS NULL FROM hr."Staff";
-- count of a nullif
SELECT count(nullif(left("FULL_NAME", 1), 'T')), count(nullif(left("FULL_NAME", 1), 'Q')) FROM hr."Staff";
-- row is null
SELECT ROW(nullif(left("FULL_NAME", 1), 'T')) IS NULL FROM hr."Staff";
-- is true of a comparison
SELECT ("FULL_NAME" > 'R') IS TRUE, ("FULL_NAME" > 'R') IS UNKNOWN, "Born" IS DISTINCT FROM '1984-02-03' FROM hr."Staff";
-- overlaps
SELECT ("Born", interval '10 years') OVERLAPS (date '1985-01-01', date '1987-01-01') FROM hr."Staff";
-- inet
SELECT host("IP"), network(set_masklen("IP", 8)), "IP" << '10.0.0.0/8', "IP" - '0.0.0.0', family("IP") + masklen("IP"), abbrev("IP"), hostmask("IP") FROM hr."Staff";
-- inet ordering against a subnet in a join
SELECT o FROM generate_series(0, 255) o, hr."Staff" WHERE "ID" = 1 AND "IP" <<= (o || '.0.0.0/8')::inet;
-- date parts
SELECT extract(doy FROM "Born"), date_part('year', "Born"), date_trunc('month', "Born"), to_char("Born", 'YYYY'), age("Born"), "Born" - date '2000-01-01', isfinite("Born") FROM hr."Staff";
-- at time zone
SELECT "Born" AT TIME ZONE 'UTC', ("Born"::timestamp)::time, "Born" + 1, make_date(extract(year FROM "Born")::int, 1, 1) FROM hr."Staff";
-- series from a birth date
SELECT count(*) FROM hr."Staff", generate_series("Born", '2024-01-01', '1 year') WHERE "ID" = 1;
-- money, numeric and bit casts
SELECT ascii("FULL_NAME")::money, ascii("FULL_NAME")::bit(8), ascii("FULL_NAME")::float8, to_hex(ascii("FULL_NAME")), chr(ascii("FULL_NAME")) FROM hr."Staff";
-- geometric types
SELECT point(ascii("FULL_NAME"), 1) <-> point(0, 0), box(point(0, 0), point(ascii("FULL_NAME"), 1)), circle(point(0, 0), length("FULL_NAME")) FROM hr."Staff";
-- uuid and macaddr from a hash
SELECT md5("FULL_NAME")::uuid, left(md5("FULL_NAME"), 12)::macaddr, uuid_generate_v5(uuid_ns_dns(), "FULL_NAME") FROM hr."Staff";
-- ltree of a name
SELECT replace("FULL_NAME", ' ', '_')::ltree, nlevel(replace("FULL_NAME", ' ', '.')::ltree) FROM hr."Staff";
-- hstore of a row
SELECT hstore(s) -> 'FULL_NAME', hstore(s) -> ARRAY['Dept', 'SSN'] FROM hr."Staff" s;
-- hstore's parts
SELECT attrs -> 'last_name', svals(attrs), hstore_to_json(attrs), slice(attrs, ARRAY['last_name']) FROM hr.dossiers;
-- each of hstore
SELECT e.value FROM hr.dossiers d, each(d.attrs) e;
-- hstore out of values
SELECT hstore("FULL_NAME", 'x'), akeys(hstore("FULL_NAME", 'x')) FROM hr."Staff";
-- cube and intarray of codes
SELECT cube(ascii("FULL_NAME")), sort(ARRAY[ascii("FULL_NAME"), 80]), idx(ARRAY[84, 81], ascii("FULL_NAME")) FROM hr."Staff";
-- xpath
SELECT xpath('//full_name/text()', page), xpath_exists('//full_name[starts-with(., "T")]', page) FROM hr.dossiers;
-- xmltable
SELECT x.* FROM hr.dossiers, xmltable('/f/member' PASSING page COLUMNS plan text PATH 'full_name', len int PATH 'string-length(full_name)') x;
-- xmlagg
SELECT xmlagg(xmlelement(name plan, "FULL_NAME") ORDER BY "ID") FROM hr."Staff";
-- xmlexists
SELECT xmlexists('//full_name[contains(., "Tarvok")]' PASSING page) FROM hr.dossiers;
-- xslt and xml2
SELECT xpath_string(page::text, '//full_name'), xpath_bool(page::text, '//full_name[contains(., "T")]'), xpath_number(page::text, 'string-length(//full_name)') FROM hr.dossiers;
-- xml attributes, pi and roots
SELECT xmlpi(name plan, "FULL_NAME"), xmlroot(xmlelement(name p, xmlattributes("FULL_NAME" AS plan)), version '1.0'), xmlconcat(xmlcomment("Dept"), xmlcomment("FULL_NAME")) FROM hr."Staff";
-- crosstab
SELECT * FROM crosstab('SELECT "Dept", "ID", "FULL_NAME" FROM hr."Staff" ORDER BY 1, 2') AS c(d text, a text, b text);
-- cursor_to_xml
DECLARE cx CURSOR FOR SELECT "FULL_NAME" FROM hr."Staff";
SELECT cursor_to_xml('cx', 5, false, false, '');
-- database and schema to xml
SELECT schema_to_xml('hr', true, false, '');
-- query_to_xml with a made-up text
SELECT query_to_xml('SELECT ' || quote_ident('FULL_NAME') || ' FROM hr."Staff"', false, true, '');
-- cursor backwards
DECLARE cb SCROLL CURSOR FOR SELECT "FULL_NAME", "ID" FROM hr."Staff" ORDER BY 2;
MOVE LAST IN cb;
FETCH BACKWARD 2 FROM cb;
FETCH ABSOLUTE 1 FROM cb;
FETCH RELATIVE 1 FROM cb;
-- cursor, binary
DECLARE cbin BINARY CURSOR FOR SELECT "FULL_NAME", "Born", "IP", token, kin FROM hr."Staff";
FETCH ALL FROM cbin;
-- prepared in SQL
PREPARE p1 AS SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = $1;
EXECUTE p1(1);
-- prepared as a create table
PREPARE p4 AS SELECT "FULL_NAME" AS plan FROM hr."Staff";
CREATE TEMP TABLE from_p4 AS EXECUTE p4;
TABLE from_p4;
-- temp table by a select into, renamed
SELECT "FULL_NAME" AS plan, "ID" INTO TEMP t_into FROM hr."Staff";
SELECT plan FROM t_into;
-- temp table filled by a condition
CREATE TEMP TABLE t_cond AS SELECT n FROM hr.alphabet, hr."Staff" WHERE "ID" = 1 AND n = ascii("FULL_NAME");
SELECT n FROM t_cond;
-- temp table of ids by a condition, counted later
CREATE TEMP TABLE t_flag AS SELECT "ID" AS id, "FULL_NAME" > 'R' AS f FROM hr."Staff";
SELECT id, f FROM t_flag ORDER BY id;
SELECT count(*) FROM t_flag WHERE f;
-- temp table of lengths
CREATE TEMP TABLE t_len AS SELECT "ID" AS id, length("FULL_NAME") AS points FROM hr."Staff";
SELECT sum(points), max(points) FROM t_len;
-- temp view
CREATE TEMP VIEW t_view AS SELECT "FULL_NAME" AS plan FROM hr."Staff";
SELECT plan FROM t_view;
-- temp table like the table
CREATE TEMP TABLE t_like (LIKE hr."Staff" INCLUDING ALL);
INSERT INTO t_like ("ID", "FULL_NAME", "Dept") SELECT "ID", "FULL_NAME", "FULL_NAME" FROM hr."Staff";
SELECT "Dept", "Initial" FROM t_like;
-- temp table that inherits
CREATE TEMP TABLE t_inh () INHERITS (hr.persons);
INSERT INTO t_inh SELECT "ID", "Dept", "FULL_NAME" FROM hr."Staff";
SELECT last_name FROM t_inh;
-- temp table, default by a value
CREATE TEMP TABLE t_def (x int, w text);
ALTER TABLE t_def ALTER w SET DEFAULT 'x';
INSERT INTO t_def SELECT 1, "FULL_NAME" FROM hr."Staff" ON CONFLICT DO NOTHING;
SELECT w FROM t_def;
-- temp table by column type change
CREATE TEMP TABLE t_using AS SELECT "ID" AS id, "FULL_NAME" AS a FROM hr."Staff";
ALTER TABLE t_using ALTER a TYPE int USING ascii(a);
SELECT a FROM t_using;
-- update of shown by masked
UPDATE hr.pad SET w = (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1);
SELECT w FROM hr.pad;
-- update from
UPDATE hr.pad SET k = length(s."FULL_NAME") FROM hr."Staff" s WHERE s."ID" = pad.n;
SELECT k FROM hr.pad;
-- update of a multi column
UPDATE hr.pad SET (w, k) = (SELECT "FULL_NAME", ascii("FULL_NAME") FROM hr."Staff" WHERE "ID" = n);
SELECT w, k FROM hr.pad;
-- update of a document
UPDATE hr.pad SET j = jsonb_build_object('x', (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1));
SELECT j FROM hr.pad;
-- update by a case
UPDATE hr."Staff" SET "Dept" = CASE WHEN "FULL_NAME" > 'R' THEN 'late' ELSE 'early' END;
SELECT "ID", "Dept" FROM hr."Staff" ORDER BY 1;
-- update own row's shown column by a masked one
UPDATE hr."Staff" SET "Dept" = "FULL_NAME";
SELECT "Dept" FROM hr."Staff";
-- update swaps columns
UPDATE hr."Staff" SET "Dept" = "SSN", "SSN" = "Dept" RETURNING "Dept";
-- update an array of composites' fields
UPDATE hr."Staff" SET kin[1].kind = "FULL_NAME" WHERE "ID" = 1 RETURNING kin[1].kind;
-- delete by a guess, returning the guess
DELETE FROM hr.guesses WHERE w IN (SELECT "FULL_NAME" FROM hr."Staff") RETURNING k;
-- delete in a cte, returning
WITH d AS (DELETE FROM hr.guesses g USING hr."Staff" s WHERE g.w = s."FULL_NAME" RETURNING g.k) SELECT sum(k) FROM d;
-- insert by a condition
INSERT INTO hr.pad (k) SELECT n FROM hr.alphabet, hr."Staff" WHERE "ID" = 1 AND c = left("FULL_NAME", 1);
SELECT k FROM hr.pad ORDER BY n;
-- insert on conflict sets by a value
INSERT INTO hr.pad (n, w) VALUES (1, 'x') ON CONFLICT (n) DO UPDATE SET w = (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1) RETURNING w;
-- insert on conflict in the masked table, excluded
INSERT INTO hr."Staff" ("ID", "FULL_NAME", "Dept") VALUES (1, 'x', 'y') ON CONFLICT ("ID") DO UPDATE SET "Dept" = "Staff"."FULL_NAME" RETURNING "Dept";
-- insert into an alphabet that has it already, do nothing
INSERT INTO hr.alphabet SELECT left("FULL_NAME", 1), 999 FROM hr."Staff" ON CONFLICT DO NOTHING;
INSERT INTO hr.alphabet SELECT left("FULL_NAME", 1), 998 FROM hr."Staff" WHERE "ID" = 1 ON CONFLICT (c) DO UPDATE SET n = excluded.n;
SELECT n FROM hr.alphabet WHERE n > 990 OR c IN ('T', 'Q') ORDER BY n;
-- merge
MERGE INTO hr.guesses g USING hr."Staff" s ON g.w = s."FULL_NAME" WHEN MATCHED THEN UPDATE SET k = k + 100;
SELECT k FROM hr.guesses ORDER BY k;
-- merge inserts
MERGE INTO hr.pad p USING hr."Staff" s ON p.k = -1 WHEN NOT MATCHED THEN INSERT (w) VALUES (s."FULL_NAME");
SELECT w FROM hr.pad;
-- truncate by nothing, copy of a view
COPY (SELECT city FROM hr."V One") TO STDOUT;
-- copy of a table
COPY hr."Staff" TO STDOUT;
-- copy of columns, csv
COPY hr."Staff" ("ID", "FULL_NAME") TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *);
-- copy, binary
COPY hr."Staff" ("FULL_NAME", "Born", "IP", token, kin) TO STDOUT (FORMAT binary);
-- copy with a delimiter and a null word
COPY hr."Staff" ("FULL_NAME", "Dept") TO STDOUT (DELIMITER '|', NULL 'none');
-- copy csv with a quote of one's own
COPY (SELECT "FULL_NAME", "Dept" || '"' FROM hr."Staff") TO STDOUT (FORMAT csv, QUOTE '''', ESCAPE '\', DELIMITER ';');
-- copy of a partitioned query
COPY (SELECT * FROM hr.claims) TO STDOUT;
-- copy of a partition
COPY hr.claims_new TO STDOUT;
-- copy of what update returns
COPY (UPDATE hr."Staff" SET pay = 1 RETURNING "FULL_NAME", "Dept") TO STDOUT;
-- copy of a join by guesses
COPY (SELECT k FROM hr.guesses JOIN hr."Staff" ON w = "FULL_NAME" ORDER BY k) TO STDOUT;
-- copy of ranges, binary
COPY hr.spans TO STDOUT (FORMAT binary);
-- statistics
SELECT most_common_vals::text, histogram_bounds::text, n_distinct FROM pg_stats WHERE schemaname = 'hr' AND attname IN ('FULL_NAME', 'E-Mail');
-- extended statistics
SELECT most_common_vals, most_common_freqs FROM pg_stats_ext WHERE statistics_name = 'ext';
-- expression statistics
SELECT most_common_vals, most_common_val_nulls FROM pg_stats_ext;
-- statistics in json
SELECT to_json(s)->>'histogram_bounds' FROM pg_stats s WHERE tablename = 'mv' AND attname = 'n';
-- activity of others
SELECT query FROM pg_stat_activity WHERE query LIKE '%marker%' AND pid <> pg_backend_pid();
-- activity, cut
SELECT substr(query, 8, 30) FROM pg_stat_activity WHERE query LIKE '%marker%' AND pid <> pg_backend_pid();
-- activity by the function behind
SELECT g.query FROM pg_stat_get_activity(NULL) g WHERE g.query LIKE '%marker%' AND pid <> pg_backend_pid();
-- activity's length of a query
SELECT length(query) FROM pg_stat_activity WHERE query LIKE '%marker%' AND pid <> pg_backend_pid();
-- statements of others
SELECT query FROM pg_stat_statements WHERE query LIKE '%marker2%' AND query NOT LIKE '%pg_stat%';
-- a default's definition
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'hr.rules'::regclass;
-- a default in the information schema
SELECT column_default FROM information_schema.columns WHERE table_schema = 'hr' AND column_name = 'owner';
-- a check's definition
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'hr.rules'::regclass AND contype = 'c';
-- a check in the information schema
SELECT check_clause FROM information_schema.check_constraints WHERE constraint_schema = 'hr' AND check_clause LIKE '%kind%';
-- a view's definition
SELECT pg_get_viewdef('hr.v_const'::regclass), definition FROM pg_views WHERE viewname = 'v_const';
-- an index' predicate
SELECT indexdef FROM pg_indexes WHERE indexname = 'pad_part';
-- an index' predicate by the catalogue
SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = 'hr.pad_part'::regclass;
-- labels of an enum
SELECT enumlabel FROM pg_enum WHERE enumtypid = 'hr.signatory'::regtype;
-- labels of an enum by its range
SELECT enum_range(NULL::hr.signatory), enum_first(NULL::hr.signatory);
-- a comment
SELECT obj_description('hr.pad'::regclass), (SELECT description FROM pg_description WHERE objoid = 'hr.pad'::regclass AND objsubid = 0);
-- large object, written and read apart
SELECT lo_from_bytea(777001, convert_to("FULL_NAME", 'UTF8')) FROM hr."Staff" WHERE "ID" = 1;
SELECT convert_from(lo_get(777001), 'UTF8');
-- a sequence
SELECT setval('hr.turns', ascii("FULL_NAME")) FROM hr."Staff" WHERE "ID" = 1;
SELECT last_value FROM hr.turns;
-- nextval in a case
SELECT CASE WHEN "FULL_NAME" > 'R' THEN nextval('hr.turns') ELSE 0 END FROM hr."Staff";
SELECT last_value, is_called FROM hr.turns;
-- a setting
SELECT set_config('hr.x', "FULL_NAME", false) FROM hr."Staff" WHERE "ID" = 1;
SELECT current_setting('hr.x', true);
-- the application's name
SELECT set_config('application_name', (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1), false);
-- a setting in a condition
SELECT "ID" FROM hr."Staff" WHERE set_config('hr.y', "FULL_NAME", false) IS NOT NULL;
SHOW hr.y;
-- an advisory lock
SELECT pg_advisory_xact_lock(ascii("FULL_NAME")) FROM hr."Staff" WHERE "ID" = 1;
SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
-- statistics of functions called
SELECT count(hr.rank_of("ID")) FROM hr."Staff" WHERE "FULL_NAME" < 'B';
-- a schema named by what is set
SELECT set_config('search_path', (SELECT CASE WHEN "FULL_NAME" > 'R' THEN 'hr' ELSE 'public' END FROM hr."Staff" WHERE "ID" = 1), true), current_schema();
-- password and login
SELECT "Password" FROM hr.logins;
-- citext equality with a guess shown
SELECT email = 'TARVOK.ELMSWORTH@example.org' FROM hr.logins ORDER BY tries;
-- citext split
SELECT split_part(email, '@', 1), regexp_replace(email, '@.*', ''), strpos(email, 'q') FROM hr.logins;
-- fk holder shown
SELECT holder FROM hr.badges;
-- multidimensional array of names
SELECT ARRAY[ARRAY["FULL_NAME", "Dept"], ARRAY["Dept", "FULL_NAME"]] FROM hr."Staff";
-- array functions
SELECT array_to_string(ARRAY["FULL_NAME", "Dept"], ','), array_position(ARRAY['T', 'Q'], left("FULL_NAME", 1)), cardinality(string_to_array("FULL_NAME", 'a')), array_remove(ARRAY['T', 'Q'], left("FULL_NAME", 1)), array_replace(ARRAY['T'], left("FULL_NAME", 1), 'hit') FROM hr."Staff";
-- array contains
SELECT ARRAY['T', 'U'] @> ARRAY[left("FULL_NAME", 1)], left("FULL_NAME", 1) = ANY ('{T,U}') FROM hr."Staff";
-- trim_array and array_fill by a value
SELECT array_length(array_fill(0, ARRAY[ascii("FULL_NAME")]), 1), array_upper(trim_array(ARRAY[1, 2, 3], ("FULL_NAME" > 'R')::int), 1) FROM hr."Staff";
-- a subscript by a value
SELECT (ARRAY['a', 'b'])[1 + ("FULL_NAME" > 'R')::int] FROM hr."Staff";
-- a word by a value
SELECT (string_to_array('early late', ' '))[CASE WHEN "FULL_NAME" > 'R' THEN 2 ELSE 1 END], split_part('early late', ' ', 1 + ("FULL_NAME" > 'R')::int) FROM hr."Staff";
-- repeat and lpad by a value
SELECT repeat('x', ascii("FULL_NAME")), lpad('x', ascii("FULL_NAME")), left('abcdefghijklmnopqrstuvwxyz', ascii("FULL_NAME") - 64) FROM hr."Staff";
-- random by a seed
SELECT setseed(0.5);
SELECT setseed(1.0 / ascii("FULL_NAME")) FROM hr."Staff" WHERE "ID" = 1;
SELECT random();
-- a comparison of rows of a table with rows
SELECT s = t, s.* < t.*, ROW(s."FULL_NAME", 1) < ROW('R', 1) FROM hr."Staff" s, hr."Staff" t WHERE s."ID" = 1 AND t."ID" = 2;
-- pg_typeof by a case and a document
SELECT pg_typeof("FULL_NAME"), jsonb_typeof(CASE WHEN "FULL_NAME" > 'R' THEN '1'::jsonb ELSE '""' END) FROM hr."Staff";
-- having with a guess table
SELECT g.k FROM hr.guesses g, hr."Staff" s GROUP BY g.k, g.w HAVING bool_or(g.w = s."FULL_NAME") ORDER BY 1;
-- order of guesses by distance
SELECT k FROM (SELECT k, row_number() OVER (ORDER BY levenshtein(w, (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1))) r FROM hr.guesses) q WHERE r = 1;
-- order by in a subquery with limit, guesses
SELECT w FROM hr.guesses ORDER BY similarity(w, (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1)) DESC LIMIT 1;
-- min of a case over guesses
SELECT min(CASE WHEN s."FULL_NAME" = g.w THEN g.k END) FROM hr.guesses g, hr."Staff" s;
-- sum over a join of masked and shown
SELECT sum(g.k * (s."FULL_NAME" = g.w)::int) FROM hr.guesses g, hr."Staff" s;
-- do block that raises
DO $$ BEGIN RAISE NOTICE '%', (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1); END $$;
-- notice by a function
SELECT hr.say("FULL_NAME") FROM hr."Staff";
-- notice so many times
SELECT hr.say('x' || "ID") FROM hr."Staff" WHERE "FULL_NAME" > 'R';
-- copy of documents
COPY (SELECT doc, plain, page, attrs FROM hr.dossiers) TO STDOUT;
-- hstore as it is
SELECT attrs, attrs::text FROM hr.dossiers;
-- copy of documents, binary
COPY (SELECT doc, attrs FROM hr.dossiers) TO STDOUT (FORMAT binary);
-- copy of a table of documents, csv
COPY hr.dossiers TO STDOUT (FORMAT csv);
-- composite in a domain
SELECT ROW(s."FULL_NAME", s."Dept", 'x')::hr.contact FROM hr."Staff" s;
-- composite array built and indexed by a name
SELECT (ARRAY[ROW("FULL_NAME", 'a', 'b')::hr.contact])[1].full_name FROM hr."Staff";
-- composite to json by a column of the composite
SELECT to_jsonb(kin[1])->>'kind', to_jsonb(kin[1])->>'full_name' FROM hr."Staff";
-- composite compared with a constant
SELECT kin[1] = ROW('Alwina Prost', '+49 30 5551235', 'wife')::hr.contact FROM hr."Staff";
-- composite in a lateral with a filter shown
SELECT s."ID", (SELECT count(*) FROM unnest(s.kin) k WHERE k.full_name > 'R') FROM hr."Staff" s ORDER BY 1;
-- jsonb_populate of an array of composites
SELECT (jsonb_populate_record(NULL::hr.contact, to_jsonb(kin[1]))).full_name FROM hr."Staff";
-- unnest with two arrays
SELECT a, b FROM hr."Staff" s, unnest(ARRAY[s."Dept"], ARRAY[s."FULL_NAME"]) AS u(a, b);
-- range of text made by names
SELECT lower(int4range(ascii("FULL_NAME"), NULL)), int8range(0, ascii("FULL_NAME")) @> 85::bigint FROM hr."Staff";
-- range aggregate over dates of birth
SELECT range_intersect_agg(daterange("Born", NULL)), multirange(daterange("Born", NULL)) FROM hr."Staff" GROUP BY "Born";
-- range adjacent to a constant
SELECT born -|- daterange('1900-01-01', '1984-02-03'), born << '[2100-01-01,)', isempty(born - '[1990-01-01,2100-01-01)') FROM hr.spans;
-- xmltable with a path through any
SELECT x.* FROM hr.dossiers, xmltable('/f/*' PASSING page COLUMNS plan text PATH '.') x;
-- xmltable with a default
SELECT x.plan FROM hr.dossiers d, hr."Staff" s, xmltable('/f' PASSING d.page COLUMNS plan text PATH 'none' DEFAULT s."FULL_NAME") x;
-- xmltable of an element made of a name
SELECT x.plan FROM hr."Staff" s, xmltable('/p' PASSING xmlelement(name p, s."FULL_NAME") COLUMNS plan text PATH '.') x;
-- xmlforest of a row, cut
SELECT substr(xmlforest(s."FULL_NAME" AS plan)::text, 7, 4) FROM hr."Staff" s;
-- json path with a filter shown as an array
SELECT jsonb_path_query_array(doc, '$.member.contacts[*].email') FROM hr.dossiers;
-- json path's keyvalue
SELECT jsonb_path_query(doc, '$.member.keyvalue()') FROM hr.dossiers;
-- json existence of a key that is a value
SELECT jsonb_build_object("FULL_NAME", 1) ? 'Tarvok Elmsworth' FROM hr."Staff";
-- json contained by
SELECT doc <@ '{"member": {"full_name": "Tarvok Elmsworth", "contacts": [{"kind": "work", "email": "tarvok.elmsworth@example.org"}]}, "born": "1984-02-03", "plan": "gold"}' FROM hr.dossiers;
-- json equality
SELECT doc->'member'->'full_name' = '"Tarvok Elmsworth"' FROM hr.dossiers;
-- json ordering
SELECT doc > '{"a": 1, "b": 2, "c": {"full_name": "R"}}', max(doc->'member'->>'full_name') OVER () FROM hr.dossiers;
-- json array elements of contacts
SELECT e->>'email', e->>'kind' FROM hr.dossiers, jsonb_array_elements(doc->'member'->'contacts') e;
-- json length of a value
SELECT length(doc->'member'->>'full_name'), length(doc::text), pg_column_size(doc) FROM hr.dossiers;
-- json text searched
SELECT to_tsvector('simple', doc), jsonb_to_tsvector('simple', doc, '["string"]') FROM hr.dossiers;
-- json text as words
SELECT position('Tarvok' IN doc::text) > 0, doc::text LIKE '%Tarvok%', doc::text ~ 'Quilby' FROM hr.dossiers;
-- json hashed
SELECT md5(doc::text), jsonb_hash(doc), hashtext(plain::text) FROM hr.dossiers;
-- json split
SELECT string_to_array(doc::text, '"') FROM hr.dossiers;
-- json counted
SELECT count(*) FILTER (WHERE doc->'member'->>'full_name' LIKE 'T%') FROM hr.dossiers;
-- hstore asked
SELECT attrs ? 'last_name', attrs @> 'last_name=>Elmsworth', attrs->'last_name' > 'F' FROM hr.dossiers;
-- hstore changed
SELECT attrs || 'x=>y', attrs - 'plan'::text, delete(attrs, 'plan') FROM hr.dossiers;
-- enum of a case
SELECT (CASE WHEN "FULL_NAME" > 'R' THEN 'lead' ELSE 'junior' END)::hr.grade FROM hr."Staff";
-- bytes compared
SELECT token > '\x7000'::bytea, token = '\x7461'::bytea, position('\x61'::bytea IN token), md5(token) FROM hr."Staff";
-- view's check through information
SELECT view_definition FROM information_schema.views WHERE table_name = 'v_const';
-- policy's text
SELECT prosrc FROM pg_proc WHERE proname = 'team' AND prosrc LIKE '%nothing%' UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'hr.rules'::regclass;
-- definition cut
SELECT pg_get_viewdef('hr.v_const'::regclass, true) || '', format('%s', pg_get_viewdef('hr.v_const'::regclass)) FROM pg_class WHERE relname = 'v_const';
-- definition in json
SELECT json_agg(pg_get_expr(adbin, adrelid)) FROM pg_attrdef WHERE adrelid = 'hr.rules'::regclass;
-- definition in an array
SELECT array_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = 'hr.signatory'::regtype;
-- labels as psql lists them
SELECT pg_catalog.array_to_string(ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder), E'\n') FROM pg_catalog.pg_type t WHERE typname = 'signatory';
-- a default in a copy
COPY (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'hr.rules'::regclass) TO STDOUT;
-- a comment in a copy, binary
COPY (SELECT obj_description('hr.pad'::regclass)) TO STDOUT (FORMAT binary);
-- definition through a cursor
DECLARE cd CURSOR FOR SELECT pg_get_viewdef('hr.v_const'::regclass);
FETCH ALL FROM cd;
-- definition prepared
PREPARE pd AS SELECT pg_get_viewdef('hr.v_const'::regclass);
EXECUTE pd;
-- definition into a temp table
CREATE TEMP TABLE td AS SELECT pg_get_viewdef('hr.v_const'::regclass) AS t;
SELECT t FROM td;
-- enum value as a column's default text
INSERT INTO hr.pad (w) SELECT enumlabel FROM pg_enum WHERE enumtypid = 'hr.signatory'::regtype RETURNING w;
-- debug output of a plan
SET LOCAL client_min_messages = log;
SET LOCAL debug_print_plan = on;
SELECT 1 FROM hr.guesses WHERE w = (SELECT "FULL_NAME" FROM hr."Staff" WHERE "ID" = 1) OR w = 'none' LIMIT 0;
