-- percentile_disc of names
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY full_name) FROM v.clients
-- mode of addresses of mail
SELECT mode() WITHIN GROUP (ORDER BY email) FROM v.clients
-- a hypothetical rank beside constants
SELECT rank('Ti') WITHIN GROUP (ORDER BY full_name), cume_dist('Ti') WITHIN GROUP (ORDER BY full_name) FROM v.clients
-- nth value in a frame
SELECT nth_value(full_name, 1) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM v.clients
-- last value of a window with a name
SELECT last_value(email) OVER w, lead(phone, 1, 'none') OVER w FROM v.clients WINDOW w AS (PARTITION BY plan ORDER BY id)
-- an offset of lead that is a value
SELECT lead(c, (SELECT ascii(full_name) - 32 FROM v.clients WHERE id = 1)) OVER (ORDER BY n) FROM v.letters
-- an offset of lag in a frame of all
SELECT c, lag(n, (SELECT ascii(substr(full_name, 2, 1)) - 60 FROM v.clients WHERE id = 1)) OVER (ORDER BY n) FROM v.letters
-- a place of nth_value that is a value
SELECT nth_value(c, (SELECT ascii(full_name) - 31 FROM v.clients WHERE id = 1)) OVER (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM v.letters LIMIT 1
-- ntile by a value
SELECT ntile((SELECT ascii(full_name) FROM v.clients WHERE id = 1)) OVER (ORDER BY n) FROM v.letters
-- a frame as long as a value
SELECT n, count(*) OVER (ORDER BY n ROWS BETWEEN (SELECT ascii(full_name) - 60 FROM v.clients WHERE id = 1) PRECEDING AND CURRENT ROW) FROM v.letters
-- the first row of a frame as long as a value
SELECT max(first) FROM (SELECT first_value(c) OVER (ORDER BY n ROWS (SELECT ascii(full_name) - 40 FROM v.clients WHERE id = 1) PRECEDING) AS first FROM v.letters) q
-- a range frame as wide as a value
SELECT n, count(*) OVER (ORDER BY n RANGE BETWEEN (SELECT ascii(full_name) FROM v.clients WHERE id = 1) - 60 PRECEDING AND CURRENT ROW) FROM v.letters
-- a percentile that is a value
SELECT percentile_disc((SELECT ascii(full_name) / 200.0 FROM v.clients WHERE id = 1)) WITHIN GROUP (ORDER BY n) FROM v.letters
-- a filter of an aggregate against a value
SELECT count(*) FILTER (WHERE n < (SELECT ascii(full_name) FROM v.clients WHERE id = 1)) FROM v.letters
-- a percentage of a sample that is a value
SELECT count(*) FROM v.letters TABLESAMPLE BERNOULLI ((SELECT ascii(full_name) FROM v.clients WHERE id = 1)) REPEATABLE (1)
-- a seed of a sample that is a value
SELECT n FROM v.letters TABLESAMPLE BERNOULLI (30) REPEATABLE ((SELECT ascii(full_name) FROM v.clients WHERE id = 1))
-- as many numbers as a value says, by a condition
SELECT count(*) FROM generate_series(1, 200) g WHERE g <= (SELECT ascii(full_name) FROM v.clients WHERE id = 1)
-- numbers by a condition, shown
SELECT max(g) FROM generate_series(1, 200) g WHERE g <= (SELECT ascii(full_name) FROM v.clients WHERE id = 1)
-- places of a letter
SELECT g FROM v.clients, generate_series(1, 30) g WHERE id = 1 AND substr(full_name, g, 1) = 'a'
-- bits of a value by place
SELECT g FROM v.clients, generate_series(0, 60) g WHERE id = 1 AND get_bit(full_name::bytea, g) = 1
-- letters that a value begins with
SELECT chr(i) FROM generate_series(65, 90) i WHERE EXISTS (SELECT 1 FROM v.clients WHERE id = 1 AND full_name LIKE chr(i) || '%')
-- letters of constants that a value begins with
SELECT x FROM unnest(ARRAY['A', 'E', 'Q', 'T', 'Z']) x WHERE EXISTS (SELECT 1 FROM v.clients WHERE id = 1 AND full_name LIKE x || '%')
-- letters in JSON that a value begins with
SELECT x FROM jsonb_array_elements_text('["A", "E", "Q", "T", "Z"]') x, v.clients WHERE starts_with(full_name, x) AND id = 1
-- letters of a string to compare with
SELECT x FROM regexp_split_to_table('ABCDEFGHIJKLMNOPQRSTUVWXYZ', '') x, v.clients WHERE id = 1 AND left(full_name, 1) = x
-- recursion that a value ends
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < (SELECT ascii(full_name) FROM v.clients WHERE id = 1)) SELECT max(n) FROM r
-- recursion over the letters of a value
WITH RECURSIVE r(n, rest) AS (SELECT 1, full_name FROM v.clients WHERE id = 1 UNION ALL SELECT n + 1, substr(rest, 2) FROM r WHERE rest <> '') SELECT n FROM r
-- recursion that gathers letters
WITH RECURSIVE r(n, a) AS (SELECT 0, '' UNION ALL SELECT n + 1, a || substr((SELECT full_name FROM v.clients WHERE id = 1), n + 1, 1) FROM r WHERE n < 20) SELECT a FROM r
-- the path of a search
WITH RECURSIVE r(id, nm) AS (SELECT id, full_name FROM v.clients WHERE id = 1 UNION ALL SELECT r.id + 1, c.full_name FROM r JOIN v.clients c ON c.id = r.id + 1) SEARCH DEPTH FIRST BY nm SET path SELECT id, path FROM r
-- the path of a cycle
WITH RECURSIVE r(id, nm) AS (SELECT id, full_name FROM v.clients WHERE id = 1 UNION ALL SELECT r.id + 1, c.full_name FROM r JOIN v.clients c ON c.id = r.id + 1) CYCLE nm SET looped USING way SELECT id, looped, way::text FROM r
-- a lateral subquery
SELECT l.x FROM v.clients c, LATERAL (SELECT c.full_name || '' AS x) l
-- letters in order
SELECT l.w FROM v.clients c, LATERAL regexp_split_to_table(c.full_name, '') WITH ORDINALITY l(w, n) ORDER BY c.id, n
-- rows from several functions
SELECT a, b FROM ROWS FROM (unnest(ARRAY(SELECT full_name FROM v.clients ORDER BY id)), generate_series(1, 2)) q(a, b)
-- lateral values
SELECT z FROM v.clients c, LATERAL (VALUES (c.full_name), (c.email)) q(z)
-- values with a subquery in them
SELECT column1 || '' FROM (VALUES ((SELECT full_name FROM v.clients WHERE id = 1)), ('x')) q
-- intersection with letters
SELECT c FROM v.letters INTERSECT SELECT left(full_name, 1) FROM v.clients WHERE id = 1
-- all letters but
SELECT c FROM v.letters EXCEPT ALL SELECT left(full_name, 1) FROM v.clients
-- letters that are any of
SELECT c FROM v.letters WHERE c = ANY (SELECT left(full_name, 1) FROM v.clients)
-- letters before all
SELECT max(c) FROM v.letters WHERE c < ALL (SELECT left(full_name, 1) FROM v.clients)
-- a natural join by a new name
SELECT c2.n FROM (SELECT c AS k, n FROM v.letters) c2 NATURAL JOIN (SELECT left(full_name, 1) AS k FROM v.clients) q
-- rows compared
SELECT c FROM v.letters, v.clients WHERE (c, 1) = (left(full_name, 1), id)
-- letters between
SELECT count(*) FROM v.letters, v.clients WHERE id = 1 AND c BETWEEN 'A' AND full_name
-- arrays that overlap
SELECT c FROM v.letters, v.clients WHERE id = 1 AND ARRAY[c] && string_to_array(full_name, NULL)
-- letters as patterns
SELECT c FROM v.letters, v.clients WHERE id = 1 AND c ~ '[a-z]' AND full_name ~* c
-- a prefix operator
SELECT c FROM v.letters, v.clients WHERE id = 1 AND full_name ^@ c
-- the greater of two
SELECT c FROM v.letters, v.clients WHERE id = 1 AND greatest(left(full_name, 1), c) = c
-- ranges of numbers
SELECT c FROM v.letters, v.clients WHERE id = 1 AND n <@ int4range(ascii(full_name), ascii(full_name) + 1)
-- groups that have a value
SELECT c FROM v.letters, v.clients WHERE id = 1 GROUP BY c HAVING max(left(full_name, 1)) = c
-- nearest first
SELECT c FROM v.letters ORDER BY abs(n - (SELECT ascii(full_name) FROM v.clients WHERE id = 1)) LIMIT 1
-- distinct by a comparison
SELECT DISTINCT ON (c = (SELECT left(full_name, 1) FROM v.clients WHERE id = 1)) c FROM v.letters ORDER BY c = (SELECT left(full_name, 1) FROM v.clients WHERE id = 1), c
-- as many rows as a value, fetched first
SELECT c FROM v.letters ORDER BY n FETCH FIRST (SELECT ascii(full_name) - 40 FROM v.clients WHERE id = 1) ROWS ONLY
-- parts of an array, as rows without their values
SELECT generate_subscripts(string_to_array(full_name, NULL), 1) FROM v.clients WHERE id = 1
-- members of an array, counted
SELECT count(*) FROM v.clients, jsonb_array_elements(to_jsonb(string_to_array(full_name, NULL))) WHERE id = 1
-- an array filled as long as a value
SELECT 1 FROM unnest(array_fill(1, ARRAY[(SELECT ascii(full_name) FROM v.clients WHERE id = 1)]))
-- a table of a repeated string
SELECT 1 FROM v.clients, string_to_table(repeat('a,', ascii(full_name)), ',') WHERE id = 1
-- numbers from normal_rand
SELECT 1 FROM normal_rand((SELECT ascii(full_name) FROM v.clients WHERE id = 1), 0, 1)
-- days up to a date
SELECT count(*) FROM v.clients, generate_series(DATE '1950-01-01', birth_date, '1 year') WHERE id = 1
-- a letter by its number of a constant
SELECT substr('ABCDEFGHIJKLMNOPQRSTUVWXYZ', ascii(full_name) - 64, 1), (ARRAY['a', 'b', 'c', 'd', 'e'])[ascii(full_name) - 80] FROM v.clients
-- a member of a constant document
SELECT '{"T": 1, "Q": 2, "M": 3}'::jsonb -> left(full_name, 1) FROM v.clients
-- a translation
SELECT translate(full_name, 'abcdefgh', 'ijklmnop'), replace(full_name, 'a', 'b') FROM v.clients
-- a rotation of letters by join
SELECT string_agg(l.c, '' ORDER BY i) FROM generate_series(1, 8) i, v.clients k, v.letters l WHERE k.id = 1 AND l.n = ascii(substr(k.full_name, i, 1)) + 1
-- records made of JSON
SELECT full_name || '' AS q FROM json_populate_record(NULL::v.clients, (SELECT row_to_json(c) FROM v.clients c WHERE id = 1))
-- records with their own description
SELECT r.full_name FROM jsonb_to_record((SELECT to_jsonb(c) FROM v.clients c WHERE id = 1)) AS r(full_name text)
-- sets of records
SELECT r.label FROM jsonb_to_recordset((SELECT jsonb_agg(jsonb_build_object('label', full_name)) FROM v.clients)) AS r(label text)
-- a path over a document
SELECT jsonb_path_query_array(to_jsonb(c), '$.*') FROM v.clients c
-- a path with variables
SELECT jsonb_path_query('{"a": ["x", "y"]}', '$x', jsonb_build_object('x', full_name)) FROM v.clients
-- places that a path finds
SELECT g FROM generate_series(65, 90) g, v.clients c WHERE id = 1 AND jsonb_path_exists(to_jsonb(c), '$.full_name ? (@ starts with $l)', jsonb_build_object('l', chr(g)))
-- a member by a key put together
SELECT to_jsonb(c) ->> ('full' || '_name') FROM v.clients c
-- a member by subscript
SELECT (to_jsonb(c))['full_name'] FROM v.clients c
-- documents joined
SELECT '{"city": 1}'::jsonb || jsonb_build_object('city', full_name) FROM v.clients
-- a document with a value put in
SELECT jsonb_insert('{"city": []}', '{city,0}', to_jsonb(full_name)), jsonb_set_lax('{"x": 1}', '{x}', to_jsonb(full_name)) FROM v.clients
-- keys that are values
SELECT json_object_keys(json_build_object(full_name, 1)), jsonb_object(ARRAY[full_name, 'x']) FROM v.clients
-- keys of an aggregate
SELECT jsonb_object_agg(full_name, 1) FROM v.clients
-- a document's inner member
SELECT body -> 'card' -> 'owner' ->> 'name', body #>> '{card,owner,name}', jsonb_path_query_first(body, '$.card.owner.name') FROM v.docs
-- a table of XML
SELECT q FROM v.clients, XMLTABLE('/r/x' PASSING xmlelement(name r, xmlelement(name x, full_name)) COLUMNS q text PATH '.')
-- a table of a stored document
SELECT q FROM v.docs, XMLTABLE('/p/full_name' PASSING page COLUMNS q text PATH '.')
-- a path in a stored document
SELECT (xpath('//full_name/text()', page))[1]::text, xmlserialize(CONTENT page AS text) FROM v.docs
-- a path's existence, by letters
SELECT c FROM v.letters, v.docs WHERE c ~ '[A-Z]' AND xpath_exists(('//full_name[starts-with(., "' || c || '")]')::text, page)
-- a document's value, by letters
SELECT c FROM v.letters, v.docs WHERE c ~ '[A-Z]' AND jsonb_path_exists(body, '$.full_name ? (@ starts with $l)', jsonb_build_object('l', c))
-- a path put together, by letters
SELECT c FROM v.letters, v.docs WHERE c ~ '[A-Z]' AND body @? ('$.full_name ? (@ starts with "' || c || '")')::jsonpath
-- a member of a document, by letters
SELECT c FROM v.letters, v.docs WHERE body ->> 'full_name' LIKE c || '%'
-- a pair of a document, by letters
SELECT c FROM v.letters, v.docs WHERE starts_with(attrs -> 'full_name', c)
-- XML of several kinds
SELECT xmlcomment(full_name), xmlpi(name php, full_name), xmlconcat(xmlelement(name a, email)), xmlelement(name b, xmlattributes(full_name AS c)), xmlroot(xmlforest(full_name), VERSION '1.0') FROM v.clients
-- XML of a cursor
DECLARE x CURSOR FOR SELECT full_name FROM v.clients;
SELECT cursor_to_xml('x', 10, true, false, '')
-- XML of a schema
SELECT schema_to_xml('v', true, false, '')
-- XML of a table with its description
SELECT table_to_xml_and_xmlschema('v.clients', true, false, '')
-- lexemes
SELECT to_tsvector('simple', full_name)::text, tsvector_to_array(to_tsvector('simple', full_name)) FROM v.clients
-- lexemes as rows
SELECT (unnest(to_tsvector('simple', full_name))).lexeme FROM v.clients
-- a headline
SELECT ts_headline('simple', full_name, to_tsquery('simple', 'zzz')) FROM v.clients
-- statistics of lexemes
SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', full_name) FROM v.clients')
-- statistics of lexemes, put together
SELECT word FROM ts_stat(format('SELECT to_tsvector(''simple'', %I) FROM v.clients', 'full_name'))
-- a parser's words
SELECT p.token FROM v.clients, ts_parse('default', full_name) p
-- a parser explained
SELECT token, lexemes FROM v.clients, ts_debug('simple', full_name)
-- a query of words
SELECT plainto_tsquery('simple', full_name), querytree(plainto_tsquery('simple', full_name)), numnode(phraseto_tsquery('simple', home_address)) FROM v.clients
-- words of a query rewritten by a query
SELECT ts_rewrite('a & b', 'SELECT ''a''::tsquery, plainto_tsquery(''simple'', full_name) FROM v.clients WHERE id = 1')
-- words that match a text
SELECT c FROM v.letters, v.clients WHERE id = 1 AND c ~ '[a-z]' AND to_tsvector('simple', full_name) @@ to_tsquery('simple', c || ':*')
-- a lexeme of a dictionary
SELECT ts_lexize('simple', full_name), array_to_tsvector(ARRAY[full_name]) FROM v.clients
-- hstore of a row
SELECT hstore(c), hstore(c) -> 'full_name' FROM v.clients c
-- pairs of hstore
SELECT (each(hstore(c))).value FROM v.clients c
-- hstore's arrays
SELECT %% hstore(c), avals(hstore(c)), hstore_to_json(hstore(c)) FROM v.clients c
-- keys of hstore that are values
SELECT skeys(hstore(full_name, '1')), slice(hstore('a', full_name), ARRAY['a']) FROM v.clients
-- a record out of hstore
SELECT (populate_record(NULL::v.clients, hstore(c))).full_name FROM v.clients c
-- a stored hstore
SELECT attrs -> 'full_name', attrs['full_name'], svals(attrs) FROM v.docs
-- text without case
SELECT full_name::citext, lower(full_name::citext), regexp_matches(full_name::citext, '.*') FROM v.clients
-- letters without case
SELECT c FROM v.letters, v.clients WHERE id = 1 AND left(full_name, 1)::citext = c::citext
-- trigrams
SELECT show_trgm(full_name) FROM v.clients
-- similarities
SELECT similarity(full_name, 'Tarvok'), word_similarity('Tarvok', full_name), full_name <-> 'Tarvok' FROM v.clients
-- similar letters
SELECT c FROM v.letters, v.clients WHERE id = 1 AND c ~ '[a-z]' AND word_similarity(c || c, full_name) > 0
-- ciphers
SELECT encrypt(full_name::bytea, 'k', 'aes'), armor(full_name::bytea), hmac(full_name, 'k', 'md5'), digest(full_name, 'sha1') FROM v.clients
-- a cipher undone
SELECT convert_from(decrypt(encrypt(full_name::bytea, 'k', 'aes'), 'k', 'aes'), 'UTF8') FROM v.clients
-- a seeded hash
SELECT crypt(full_name, 'ab'), uuid_generate_v5(uuid_ns_dns(), full_name), hashtext(full_name), hashtextextended(full_name, 1) FROM v.clients
-- sounds
SELECT soundex(full_name), metaphone(full_name, 20), dmetaphone(full_name), levenshtein(full_name, 'Tarvok'), difference(full_name, 'Tarvok') FROM v.clients
-- sounds as letters
SELECT c FROM v.letters, v.clients WHERE id = 1 AND c ~ '[A-Z]' AND soundex(full_name) LIKE c || '%'
-- a crosstab
SELECT * FROM crosstab('SELECT id, 1, full_name FROM v.clients ORDER BY 1') AS q(id int, x text)
-- a tree of connections
SELECT * FROM connectby('v.clients', 'full_name', 'city', 'Bremen', 0) AS q(keyid text, parent text, level int)
-- a table of paths
SELECT * FROM xpath_table('id', '''<a>''||full_name||''</a>''', 'v.clients', '/a', 'true') AS q(id int, x text)
-- letters unaccented
SELECT unaccent(full_name), text2ltree(regexp_replace(full_name, ' ', '_')) FROM v.clients
-- cubes and segments
SELECT cube(ascii(full_name)), sort(ARRAY[ascii(full_name), 1]) FROM v.clients
-- functions of formats
SELECT format('%2$s %1$s', id, full_name), format('%*s|', ascii(full_name), 'x'), format('%s', VARIADIC ARRAY[full_name]) FROM v.clients
-- functions of encodings
SELECT encode(convert_to(full_name, 'UTF8'), 'escape'), convert(full_name::bytea, 'UTF8', 'LATIN1'), textsend(full_name), record_send(c) FROM v.clients c
-- regular expressions of 15
SELECT regexp_substr(full_name, '\w+'), regexp_count(full_name, 'a'), regexp_instr(full_name, 'o'), regexp_like(full_name, '^T') FROM v.clients
-- matches as rows
SELECT (regexp_matches(full_name, '.', 'g'))[1] FROM v.clients WHERE id = 1
-- a part by pattern
SELECT substring(full_name FROM '#"%#" %' FOR '#'), substring(full_name SIMILAR '%#"a%#"%' ESCAPE '#'), normalize(full_name, NFD) FROM v.clients
-- names taken apart
SELECT parse_ident(replace(full_name, ' ', '.')), quote_ident(full_name), quote_nullable(full_name), unistr(full_name) FROM v.clients
-- bits
SELECT ('x' || encode(full_name::bytea, 'hex'))::bit(64)::bigint, bit_count(full_name::bytea), set_byte('\x00', 0, ascii(full_name)), ascii(full_name)::bit(8) & B'11110000' FROM v.clients
-- aggregates of bits
SELECT bit_or(ascii(full_name)), bit_xor(ascii(full_name)), sum(ascii(full_name)), bool_or(full_name LIKE 'T%'), every(full_name > 'M') FROM v.clients
-- lines through values
SELECT regr_intercept(ascii(full_name), id), corr(ascii(full_name), id), stddev_pop(ascii(full_name)) FROM v.clients
-- shapes
SELECT point(ascii(full_name), 1), circle(point(0, 0), ascii(full_name)), lseg(point(0, 0), point(ascii(full_name), 0)) <-> point(0, 1) FROM v.clients
-- ranges of dates
SELECT daterange(birth_date, NULL), lower(daterange(birth_date, birth_date, '[]')), range_agg(daterange(birth_date, birth_date, '[]')) FROM v.clients GROUP BY birth_date
-- multiranges taken apart
SELECT unnest(datemultirange(daterange(birth_date, birth_date + 1))) FROM v.clients
-- days since
SELECT birth_date - DATE '1970-01-01', age(DATE '2024-01-01', birth_date), date_trunc('day', birth_date), (birth_date, birth_date) OVERLAPS (DATE '1984-02-03', DATE '1984-02-04') FROM v.clients
-- parts of a date
SELECT extract(doy FROM birth_date), to_char(birth_date, 'J'), date_part('year', birth_date), isfinite(birth_date), make_date(2000, extract(month FROM birth_date)::int, 1) FROM v.clients
-- buckets
SELECT width_bucket(extract(year FROM birth_date), 1900, 2000, 100), width_bucket(full_name, ARRAY['A', 'M', 'Z']), date_bin('1 day', birth_date::timestamp, '1900-01-01') FROM v.clients
-- addresses of networks
SELECT host(last_ip), last_ip - inet '0.0.0.0', set_masklen(last_ip, 24), network(last_ip), inet_merge(last_ip, last_ip), abbrev(last_ip), masklen(last_ip) FROM v.clients
-- hosts in a network, by number
SELECT g FROM v.clients, generate_series(0, 255) g WHERE id = 1 AND last_ip << ((g || '.0.0.0/8')::inet)
-- words for money
SELECT cash_words(ascii(full_name)::text::money), to_hex(ascii(full_name)), to_char(ascii(full_name), 'RN') FROM v.clients
-- the sizes of things
SELECT pg_column_size(full_name), octet_length(full_name), bit_length(full_name), length(c::text), pg_column_size(c), pg_size_pretty(ascii(full_name)::bigint) FROM v.clients c
-- names of types with a modifier
SELECT format_type(1043, ascii(full_name)), pg_typeof(full_name), num_nulls(full_name) FROM v.clients
-- rows of rows
SELECT ROW(c.*), (ROW(c.*)::v.clients).full_name, c::v.clients::text, ARRAY[c], (ARRAY[c])[1].full_name FROM v.clients c
-- rows out of an array
SELECT (unnest(ARRAY(SELECT c FROM v.clients c))).*
-- a row of a subquery spread
SELECT (x).full_name, (x).email FROM (SELECT c AS x FROM v.clients c) s
-- a row as a scalar
SELECT (SELECT c FROM v.clients c WHERE id = 1), COALESCE(NULL, c), NULLIF(c, NULL) FROM v.clients c
-- distinct rows
SELECT DISTINCT c FROM v.clients c
-- rows as text of an array
SELECT array_to_string(array_agg(c), '|'), array_agg(c)::text FROM v.clients c
-- rows not the same as constants
SELECT c IS DISTINCT FROM ROW(1, 'Tarvok Elmsworth', 'x', 'x', DATE '1984-02-03', inet '1.1.1.1', 'x', 'x', 'x', 'x', 1, DATE '2024-01-02')::v.clients, full_name = 'Tarvok Elmsworth' FROM v.clients c
-- functions of the server's own for text
SELECT textcat(full_name, ''), text_larger(full_name, ''), textlike(full_name, 'T%'), nameout(full_name::name), record_out(c) FROM v.clients c
-- places in arrays
SELECT array_position(ARRAY['T', 'Q', 'M'], left(full_name, 1)), array_remove(ARRAY['T', 'Q'], left(full_name, 1)), array_replace(ARRAY['T'], left(full_name, 1), 'x') FROM v.clients
-- a view
SELECT a, t FROM v.roster
-- a view with a barrier
SELECT b || '' FROM v.safe
-- a function in FROM
SELECT * FROM v.lookup(1), v.fixed() f
-- a function of each row
SELECT (SELECT q FROM v.lookup(c.id) q) FROM v.clients c
-- the server's statistics as text
SELECT histogram_bounds::text, most_common_vals::text, correlation FROM pg_stats WHERE tablename = 'clients' AND attname = 'full_name'
-- what others run, by the function behind the view
SELECT query FROM pg_stat_get_activity(NULL) WHERE query LIKE '%marker%' AND pid <> pg_backend_pid()
-- what others run, by number
SELECT pg_stat_get_backend_activity(b) FROM pg_stat_get_backend_idset() b WHERE pg_stat_get_backend_activity(b) LIKE '%marker%' AND pg_stat_get_backend_pid(b) <> pg_backend_pid()
-- what others ran, by statistics of statements
SELECT query FROM public.pg_stat_statements WHERE query LIKE '%marker2%'
-- what others ran, by the function behind it
SELECT query FROM public.pg_stat_statements(true) WHERE query LIKE '%marker2%'
-- copy with other separators
COPY (SELECT full_name, id FROM v.clients) TO STDOUT WITH (FORMAT csv, DELIMITER 'a', QUOTE 'o', HEADER)
-- copy with a word for null
COPY v.clients (full_name, email) TO STDOUT WITH (NULL 'T', DELIMITER '|')
-- copy in binary
COPY (SELECT id, full_name, to_jsonb(c) FROM v.clients c) TO STDOUT (FORMAT binary)
-- copy of what an update returns
COPY (UPDATE v.clients SET visits = visits WHERE id = 1 RETURNING full_name) TO STDOUT
-- copy of a whole table in quotes
COPY v.clients TO STDOUT (FORMAT csv, FORCE_QUOTE *, NULL 'x')
-- copy of a row
COPY (SELECT c FROM v.clients c) TO STDOUT
-- a cursor that scrolls
DECLARE s SCROLL CURSOR WITH HOLD FOR SELECT full_name || '' FROM v.clients ORDER BY id;
FETCH LAST FROM s;
FETCH BACKWARD 2 FROM s;
FETCH ABSOLUTE 1 FROM s
-- a binary cursor
DECLARE s BINARY CURSOR FOR SELECT full_name, birth_date, last_ip FROM v.clients ORDER BY id;
FETCH ALL FROM s
-- the rows of a cursor, counted by moving
DECLARE s CURSOR FOR SELECT g FROM generate_series(1, 200) g WHERE g < (SELECT ascii(full_name) FROM v.clients WHERE id = 1);
MOVE ALL IN s
-- a prepared statement of SQL
PREPARE p AS SELECT full_name || '' FROM v.clients WHERE id = $1;
EXECUTE p(1);
DEALLOCATE p
-- a function's value for a parameter
PREPARE p(text) AS SELECT $1;
EXECUTE p(v.lookup(1));
DEALLOCATE p
-- a function's value for the number of rows
PREPARE p(int) AS SELECT n FROM v.letters ORDER BY n LIMIT $1;
EXECUTE p(ascii(v.lookup(1)) - 40);
DEALLOCATE p
-- a function's value for a condition
PREPARE p(text) AS SELECT n FROM v.letters WHERE c = $1;
EXECUTE p(left(v.lookup(1), 1));
DEALLOCATE p
-- a function's value explained
PREPARE p(text) AS SELECT n FROM v.letters WHERE c = $1;
EXPLAIN EXECUTE p(left(v.lookup(1), 1));
DEALLOCATE p
-- a plan with a value folded into it
EXPLAIN (VERBOSE, COSTS OFF) SELECT v.fixed(), * FROM v.letters WHERE c = left(v.fixed(), 1)
-- rows of a plan
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT n FROM v.letters WHERE n < (SELECT ascii(full_name) FROM v.clients WHERE id = 1)
-- an update that returns
UPDATE v.clients SET visits = visits + 1 WHERE id = 1 RETURNING full_name, left(email, 3)
-- an insert that returns a query's values
INSERT INTO v.sink (k) VALUES (1) RETURNING (SELECT full_name FROM v.clients WHERE id = 1)
-- a delete that returns another table's
DELETE FROM v.orders o USING v.clients c WHERE c.id = o.client RETURNING c.full_name || ''
-- an upsert that gives back a value
INSERT INTO v.letters VALUES ('A', 1) ON CONFLICT (c) DO UPDATE SET c = (SELECT full_name FROM v.clients WHERE id = 1) RETURNING c
-- an update of a clear column
UPDATE v.clients SET city = full_name;
SELECT city || '' FROM v.clients
-- several columns from one query
UPDATE v.orders SET (label, total) = (SELECT full_name, ascii(full_name) FROM v.clients c WHERE c.id = client);
SELECT label, total FROM v.orders
-- bits written where they are shown
UPDATE v.clients SET visits = CASE WHEN full_name LIKE 'T%' THEN 1 ELSE 0 END;
SELECT visits FROM v.clients ORDER BY id
-- a row marked for its letter
UPDATE v.letters SET n = 0 FROM v.clients WHERE id = 1 AND c = left(full_name, 1);
SELECT c FROM v.letters WHERE n = 0
-- a merge that marks
MERGE INTO v.letters l USING v.clients k ON k.id = 1 AND l.c = left(k.full_name, 1) WHEN MATCHED THEN UPDATE SET n = 0;
SELECT c FROM v.letters WHERE n = 0
-- a merge that inserts
MERGE INTO v.sink s USING v.clients c ON s.n = -1 WHEN NOT MATCHED THEN INSERT (w, k) VALUES (c.full_name, ascii(c.full_name));
SELECT w, k FROM v.sink
-- a merge whose condition chooses
MERGE INTO v.orders o USING v.clients c ON c.id = o.client WHEN MATCHED AND ascii(c.full_name) > 80 THEN UPDATE SET label = 'high' WHEN MATCHED THEN UPDATE SET label = 'low';
SELECT id, label FROM v.orders ORDER BY id
-- an insert in a CTE
WITH w AS (INSERT INTO v.sink (w) SELECT full_name FROM v.clients RETURNING w) SELECT w || '' FROM w
-- a sequence set
SELECT setval('v.counter', ascii(full_name)) FROM v.clients WHERE id = 1;
SELECT last_value FROM v.counter
-- a sequence moved as often as a value says
SELECT count(nextval('v.counter')) FROM generate_series(1, (SELECT ascii(full_name) FROM v.clients WHERE id = 1));
SELECT last_value FROM v.counter
-- a sequence moved by a condition
SELECT CASE WHEN ascii(full_name) > 80 THEN nextval('v.counter') ELSE 0 END FROM v.clients;
SELECT last_value, is_called FROM v.counter
-- a lock with a value's number
SELECT pg_advisory_xact_lock(ascii(full_name)) FROM v.clients WHERE id = 1;
SELECT objid FROM pg_locks WHERE locktype = 'advisory'
-- a setting
SELECT set_config('my.x', full_name, false) FROM v.clients WHERE id = 1;
SHOW my.x
-- a setting of the server's
SELECT set_config('application_name', full_name, true) FROM v.clients WHERE id = 1;
SELECT current_setting('application_name')
-- a seed
SELECT setseed(0);
SELECT setseed(ascii(full_name) / 200.0) FROM v.clients WHERE id = 1;
SELECT random()
-- a notification (committed)
SELECT pg_notify('ch', full_name) FROM v.clients WHERE id = 1
-- a large object
SELECT lo_from_bytea(4711, full_name::bytea) FROM v.clients WHERE id = 1;
SELECT lo_get(4711)
-- a message to the log of changes
SELECT pg_logical_emit_message(true, 'x', full_name) FROM v.clients
-- a warning that names a number
SELECT pg_cancel_backend(1000000 + ascii(full_name)) FROM v.clients WHERE id = 1
-- a message of a block
DO $$ DECLARE t text; BEGIN SELECT full_name INTO t FROM v.clients WHERE id = 1; RAISE NOTICE '%', t; END $$
-- an error's code of a block
DO $$ DECLARE t text; BEGIN SELECT upper(left(full_name, 5)) INTO t FROM v.clients WHERE id = 1; RAISE EXCEPTION 'x' USING ERRCODE = t; END $$
-- a block that writes
DO $$ BEGIN UPDATE v.orders SET label = (SELECT full_name FROM v.clients WHERE id = 1); END $$;
SELECT label FROM v.orders
-- a block that writes a variable
DO $$ DECLARE t text; BEGIN SELECT full_name INTO t FROM v.clients WHERE id = 1; INSERT INTO v.sink (w) VALUES (t); END $$;
SELECT w FROM v.sink
-- a block that counts with a sequence
DO $$ DECLARE i int; BEGIN FOR i IN 1 .. (SELECT ascii(full_name) FROM v.clients WHERE id = 1) LOOP PERFORM nextval('v.counter'); END LOOP; END $$;
SELECT last_value FROM v.counter
-- a block that counts with rows
DO $$ DECLARE i int; BEGIN FOR i IN 1 .. (SELECT ascii(full_name) FROM v.clients WHERE id = 1) LOOP INSERT INTO v.sink (w) VALUES ('x'); END LOOP; END $$;
SELECT count(*) FROM v.sink
-- a block that chooses what it writes
DO $$ BEGIN IF (SELECT ascii(full_name) > 82 FROM v.clients WHERE id = 1) THEN INSERT INTO v.sink (w) VALUES ('high'); ELSE INSERT INTO v.sink (w) VALUES ('low'); END IF; END $$;
SELECT w FROM v.sink
-- a block that sets a setting
DO $$ BEGIN PERFORM set_config('my.y', (SELECT full_name FROM v.clients WHERE id = 1), false); END $$;
SELECT current_setting('my.y')
-- a block that opens a cursor
DO $$ DECLARE c refcursor := 'z'; BEGIN OPEN c FOR SELECT full_name || '' FROM v.clients; END $$;
FETCH ALL FROM z
-- a block that locks by number
DO $$ BEGIN PERFORM pg_advisory_xact_lock((SELECT ascii(full_name) FROM v.clients WHERE id = 1)); END $$;
SELECT objid FROM pg_locks WHERE locktype = 'advisory'
-- a block that notifies (committed)
DO $$ BEGIN PERFORM pg_notify('ch', (SELECT full_name FROM v.clients WHERE id = 1)); END $$
-- parts that are null where a letter is the one
SELECT nullif(left(full_name, 1), 'T'), nullif(left(full_name, 1), 'Q'), CASE WHEN full_name < 'R' THEN full_name END FROM v.clients ORDER BY id
-- documents that are null where a letter is the one
SELECT CASE WHEN full_name < 'R' THEN to_jsonb(full_name) END, nullif(ARRAY[left(full_name, 1)], ARRAY['T']) FROM v.clients ORDER BY id
