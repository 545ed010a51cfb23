-- cast to int
SELECT "FULL_NAME"::int FROM hr."Staff";
-- cast to a date through text
SELECT ("Dept" || "FULL_NAME")::date FROM hr."Staff";
-- cast to an enum
SELECT "FULL_NAME"::hr.grade FROM hr."Staff";
-- cast to json
SELECT "FULL_NAME"::jsonb FROM hr."Staff";
-- cast to a range
SELECT "FULL_NAME"::int4range FROM hr."Staff";
-- cast to a composite
SELECT "FULL_NAME"::hr.contact FROM hr."Staff";
-- cast to an array
SELECT "FULL_NAME"::int[] FROM hr."Staff";
-- cast to xml
SELECT ('<' || "FULL_NAME")::xml FROM hr."Staff";
-- cast to regrole and regtype
SELECT split_part("FULL_NAME", ' ', 1)::regtype FROM hr."Staff";
-- cast to inet and uuid
SELECT "FULL_NAME"::uuid FROM hr."Staff";
-- cast to bit
SELECT "FULL_NAME"::bit(4) FROM hr."Staff";
-- cast to lsn and tid
SELECT "FULL_NAME"::pg_lsn FROM hr."Staff";
-- cast to tsquery
SELECT ("FULL_NAME" || ' | & ')::tsquery FROM hr."Staff";
-- cast to ltree and hstore
SELECT ("FULL_NAME" || '=')::hstore FROM hr."Staff";
-- cast to money
SELECT "FULL_NAME"::money FROM hr."Staff";
-- cast to interval
SELECT "FULL_NAME"::interval FROM hr."Staff";
-- to_number and to_date
SELECT to_date("FULL_NAME", 'YYYY-MM-DD') FROM hr."Staff";
-- unknown time zone
SELECT now() AT TIME ZONE "FULL_NAME" FROM hr."Staff";
-- unknown encoding
SELECT convert_to('x', "FULL_NAME") FROM hr."Staff";
-- unknown setting
SELECT current_setting("FULL_NAME") FROM hr."Staff";
-- unknown part of a date
SELECT date_part("FULL_NAME", now()) FROM hr."Staff";
-- unknown hash
SELECT digest('x', "FULL_NAME") FROM hr."Staff";
-- bad decode
SELECT decode("FULL_NAME", 'hex') FROM hr."Staff";
-- unique violation in the masked table
UPDATE hr."Staff" SET "E-Mail" = (SELECT "E-Mail" FROM hr."Staff" WHERE "ID" = 1) WHERE "ID" = 2;
-- not null violation shows the row
UPDATE hr."Staff" SET "ID" = NULL WHERE "ID" = 1;
-- not null violation in a partition
UPDATE hr.claims_new SET filed = NULL;
-- partition's constraint
UPDATE hr.claims_old SET filed = '2028-01-01';
-- foreign key violation
UPDATE hr.badges SET holder = (SELECT "FULL_NAME" || '@x' FROM hr."Staff" WHERE "ID" = 1);
-- exclusion violation
INSERT INTO hr.desks SELECT phone, '[2,3)', 'y' FROM hr.desks;
-- foreign key added to guesses
ALTER TABLE hr.guesses ADD CONSTRAINT g1 UNIQUE (w);
ALTER TABLE hr."Staff" ADD FOREIGN KEY ("FULL_NAME") REFERENCES hr.guesses (w);
-- type changed to a date
ALTER TABLE hr."Staff" ALTER "SSN" TYPE date USING "SSN"::date;
-- set not null under a generated column
ALTER TABLE hr."Staff" ADD COLUMN flag int GENERATED ALWAYS AS (nullif(ascii("FULL_NAME"), 84)) STORED NOT NULL;
-- raise in a function of one's own
SELECT hr.boom("FULL_NAME") FROM hr."Staff";
-- raise under a where
SELECT 1 FROM hr."Staff" WHERE hr.boom("FULL_NAME") = 1;
-- raise in a do
DO $$ DECLARE n text; BEGIN SELECT "FULL_NAME" INTO n FROM hr."Staff" WHERE "ID" = 1; RAISE EXCEPTION '%', n; END $$;
-- dynamic SQL in a do
DO $$ BEGIN EXECUTE 'SELECT ' || (SELECT quote_ident("FULL_NAME") FROM hr."Staff" WHERE "ID" = 1); END $$;
-- an error caught in a do, and noticed
DO $$ BEGIN PERFORM (SELECT "FULL_NAME"::int FROM hr."Staff" WHERE "ID" = 1); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLERRM; END $$;
-- a json member to a record of another type
SELECT * FROM hr.dossiers, jsonb_to_record(doc->'member') AS x(full_name int);
-- an xml value cast
SELECT * FROM hr.dossiers, xmltable('/f/member' PASSING page COLUMNS n int PATH 'full_name');
-- copy that fails
COPY (SELECT "FULL_NAME"::int FROM hr."Staff") TO STDOUT;
-- prepared and failing
PREPARE pf AS SELECT "FULL_NAME"::int FROM hr."Staff" WHERE "ID" = $1;
EXECUTE pf(1);
-- update that errs for a value
UPDATE hr.pad SET k = 1 / (SELECT ascii("FULL_NAME") - 84 FROM hr."Staff" WHERE "ID" = 1);
-- a setting's value
SET LOCAL hr.z = 'x';
SELECT set_config('timezone', "FULL_NAME", true) FROM hr."Staff";
-- explain analyze that fails
EXPLAIN ANALYZE SELECT "FULL_NAME"::int FROM hr."Staff";
-- enum's label by a value
SELECT enum_range(left("FULL_NAME", 6)::hr.grade, NULL) FROM hr."Staff";
-- a rule's index of an array
SELECT (string_to_array("FULL_NAME", ' '))[1]::int FROM hr."Staff";
