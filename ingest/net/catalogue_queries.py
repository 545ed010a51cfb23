"""What the proxy asks a database about itself: one query for each kind of object, each row one column of JSON.

For PostgreSQL 12 and later, for any role: what it may not see is left out by the server. They are run with an empty search_path,
so that the server spells every name that is not its own with its schema.
"""

from __future__ import annotations

from processors.statements.catalogue import MAX_OBJECTS

_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' OR n.nspname ~ '^pg_temp_'"

_NOBODYS = """NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend z
    WHERE z.objid = p.oid AND z.classid = 'pg_catalog.pg_proc'::regclass AND z.deptype = 'e')"""
"""Functions that no extension brought: what extensions do is known by their names, or they are in C and trusted as installed."""

PATH = """SELECT pg_catalog.json_build_array(pg_catalog.current_schemas(false), pg_catalog.current_setting('search_path'),
  pg_catalog.pg_backend_pid())"""
"""Asked before the search_path is emptied: where the login's names lead before anybody set one, and which process answers."""

RELATIONS = f"""
SELECT json_build_object('schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'oid', c.oid::bigint, 'rows', c.reltuples,
  'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) ELSE '' END,
  'comment', coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), ''),
  'columns', (SELECT coalesce(json_agg(json_build_array(a.attname, a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod),
      a.attnotnull, coalesce(pg_catalog.col_description(c.oid, a.attnum), ''), CASE WHEN a.attgenerated <> '' THEN coalesce((
        SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
        WHERE d.adrelid = c.oid AND d.adnum = a.attnum), '') ELSE '' END, CASE WHEN a.attgenerated = '' THEN coalesce((
        SELECT x.text FROM (SELECT coalesce((SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
          WHERE d.adrelid = c.oid AND d.adnum = a.attnum), pg_catalog.pg_get_expr(y.typdefaultbin, 0)) AS text
          FROM pg_catalog.pg_type y WHERE y.oid = a.atttypid) x WHERE x.text ~ '[(]'), '') ELSE '' END) ORDER BY a.attnum), '[]')
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'kin', (SELECT coalesce(json_agg(k.nspname || '.' || r.relname), '[]')
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class r ON r.oid IN (i.inhrelid, i.inhparent) AND r.oid <> c.oid
    JOIN pg_catalog.pg_namespace k ON k.oid = r.relnamespace WHERE c.oid IN (i.inhrelid, i.inhparent)),
  'triggers', (SELECT coalesce(json_agg(json_build_array(e.event, lower(fn.nspname || '.' || p.proname))), '[]')
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN pg_catalog.pg_namespace fn ON fn.oid = p.pronamespace
    JOIN (VALUES (4, 'insert'), (8, 'delete'), (16, 'update'), (32, 'truncate')) e (bit, event) ON t.tgtype & e.bit <> 0
    WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'),
  'rules', (SELECT coalesce(json_agg(json_build_array(CASE w.ev_type WHEN '2' THEN 'update' WHEN '3' THEN 'insert'
      WHEN '4' THEN 'delete' ELSE '' END, pg_catalog.pg_get_ruledef(w.oid))), '[]') FROM pg_catalog.pg_rewrite w
    WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN'),
  'expressions', (SELECT coalesce(json_agg(e.text), '[]') FROM (
      SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS text FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid
      UNION ALL SELECT pg_catalog.pg_get_expr(k.conbin, k.conrelid) FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'c'
      UNION ALL SELECT pg_catalog.pg_get_expr(x.indexprs, x.indrelid) FROM pg_catalog.pg_index x
        WHERE x.indrelid = c.oid AND x.indexprs IS NOT NULL
      UNION ALL SELECT pg_catalog.pg_get_expr(x.indpred, x.indrelid) FROM pg_catalog.pg_index x
        WHERE x.indrelid = c.oid AND x.indpred IS NOT NULL
      UNION ALL SELECT pg_catalog.pg_get_expr(y.partexprs, y.partrelid) FROM pg_catalog.pg_partitioned_table y
        WHERE y.partrelid = c.oid AND y.partexprs IS NOT NULL
      UNION ALL SELECT substring(pg_catalog.pg_get_triggerdef(t.oid) FROM ' WHEN \\((.*)\\) EXECUTE ')
        FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgqual IS NOT NULL
      UNION ALL SELECT substring(pg_catalog.pg_get_statisticsobjdef(s.oid) FROM ' ON (.*) FROM ')
        FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = c.oid
      UNION ALL SELECT pg_catalog.format('%I.%I()', fn.nspname, p.proname) FROM pg_catalog.pg_index x
        JOIN pg_catalog.pg_opclass o ON o.oid = ANY (x.indclass) JOIN pg_catalog.pg_amproc m ON m.amprocfamily = o.opcfamily
        JOIN pg_catalog.pg_proc p ON p.oid = m.amproc JOIN pg_catalog.pg_namespace fn ON fn.oid = p.pronamespace
        WHERE x.indrelid = c.oid AND fn.nspname <> 'pg_catalog' AND {_NOBODYS}) e WHERE e.text ~ '\\(|::[^ ]*[.]'),
  'policies', CASE WHEN c.relrowsecurity THEN (SELECT coalesce(json_agg(e.text), '[]') FROM (
      SELECT pg_catalog.pg_get_expr(y.polqual, y.polrelid) AS text FROM pg_catalog.pg_policy y WHERE y.polrelid = c.oid
      UNION ALL SELECT pg_catalog.pg_get_expr(y.polwithcheck, y.polrelid) FROM pg_catalog.pg_policy y
        WHERE y.polrelid = c.oid) e WHERE e.text ~ '[(]') ELSE '[]' END,
  'cascades', (SELECT coalesce(json_agg(json_build_array(e.event, f.nspname || '.' || r.relname, (SELECT json_agg(a.attname)
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (k.confkey)))), '[]')
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class r ON r.oid = k.conrelid
    JOIN pg_catalog.pg_namespace f ON f.oid = r.relnamespace
    CROSS JOIN LATERAL (VALUES ('delete', k.confdeltype), ('update', k.confupdtype)) e (event, action)
    WHERE k.confrelid = c.oid AND k.contype = 'f' AND e.action IN ('c', 'n', 'd')),
  'belongs', (SELECT coalesce(json_agg(json_build_array(f.nspname || '.' || r.relname, a.attname)), '[]')
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class r ON r.oid = k.confrelid
    JOIN pg_catalog.pg_namespace f ON f.oid = r.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
    WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.convalidated AND cardinality(k.conkey) = 1 AND a.attnotnull),
  'keys', (SELECT coalesce(json_agg(DISTINCT a.attname), '[]') FROM pg_catalog.pg_index x
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0]
    WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indnkeyatts = 1 AND x.indpred IS NULL),
  'wrapper', coalesce((SELECT w.fdwname FROM pg_catalog.pg_foreign_table f
    JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
    JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE f.ftrelid = c.oid), ''))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'c') AND (c.relkind = 'v' OR n.nspname !~ '^pg_temp_')
  AND ({_OURS}) LIMIT {MAX_OBJECTS + 1}"""  # noqa: S608 - constants of ours

SMALL = 1000
"""Rows of a table of which nobody asks what share of it a statement changes."""
MAX_SIZES = 20_000
"""Tables whose statistics are read: the largest."""

SIZES = f"""
SELECT json_build_object('schema', n.nspname, 'name', c.relname, 'rows', c.reltuples::bigint,
  'columns', (SELECT coalesce(json_agg(json_build_array(s.attname,
      greatest(coalesce(s.most_common_freqs[1], 0), CASE WHEN s.n_distinct > 0 THEN 1 / s.n_distinct
        WHEN s.n_distinct < 0 THEN 1 / greatest(-s.n_distinct * c.reltuples, 1) ELSE 1 END), s.null_frac,
      CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid
          AND a.attnum = i.indkey[0] WHERE i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1
          AND a.attname = s.attname AND a.atttypid IN (20, 21, 23))
        THEN s.histogram_bounds::text::bigint[] END,
      CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = s.attname
          AND a.atttypid = 16)
        THEN coalesce(s.most_common_freqs[array_position(s.most_common_vals::text::boolean[], true)], 0) END)), '[]')
    FROM pg_catalog.pg_stats s WHERE s.schemaname = n.nspname AND s.tablename = c.relname
      AND s.inherited = (c.relkind = 'p')))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.reltuples >= {SMALL} AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY c.reltuples DESC LIMIT {MAX_SIZES}"""  # noqa: S608 - constants of ours
"""Numbers alone: which values are common would be secrets. Of whole keys also the ends: they count rows."""

FUNCTIONS = f"""
SELECT json_build_object('schema', n.nspname, 'name', p.proname, 'language', l.lanname, 'volatility', p.provolatile,
  'body', p.prosrc, 'oid', p.oid::bigint, 'definer', p.prosecdef,
  'defaults', coalesce(pg_catalog.pg_get_expr(p.proargdefaults, 0), ''), 'settings', coalesce(to_json(p.proconfig), '[]'),
  'calls', (SELECT coalesce(json_agg(lower(w.nspname || '.' || f.proname)), '[]') FROM pg_catalog.pg_aggregate a
    JOIN pg_catalog.pg_proc f ON f.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
      a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn) JOIN pg_catalog.pg_namespace w ON w.oid = f.pronamespace
    WHERE a.aggfnoid = p.oid),
  'result', coalesce((SELECT t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace w ON w.oid = t.typnamespace
    WHERE t.oid = p.prorettype AND w.nspname <> 'pg_catalog'), ''),
  'takes', (SELECT coalesce(json_agg(DISTINCT t.typname), '[]') FROM unnest(p.proargtypes) a
    JOIN pg_catalog.pg_type t ON t.oid = a JOIN pg_catalog.pg_namespace w ON w.oid = t.typnamespace
    WHERE w.nspname <> 'pg_catalog'),
  'arguments', (SELECT coalesce(json_agg(a.name ORDER BY a.n), '[]') FROM unnest(p.proargnames) WITH ORDINALITY a (name, n)
    WHERE a.name <> '' AND coalesce(p.proargmodes[a.n], 'i') IN ('i', 'v')),
  'extension', coalesce((SELECT x.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
    WHERE d.objid = p.oid AND d.classid = 'pg_catalog.pg_proc'::regclass AND d.deptype = 'e' LIMIT 1), ''),
  'definition', CASE WHEN l.lanname = 'sql' AND p.prokind <> 'a' AND p.prosrc = ''
    THEN pg_catalog.pg_get_functiondef(p.oid) ELSE '' END)
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE {_OURS} LIMIT {MAX_OBJECTS + 1}"""  # noqa: S608 - constants of ours

BUILTINS = """
SELECT json_build_array(p.oid::bigint, p.proname) FROM pg_catalog.pg_proc p
WHERE p.pronamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) LIMIT 20000"""

SYSTEM = """
SELECT json_build_array(c.oid::bigint, n.nspname || '.' || c.relname, (SELECT json_agg(json_build_array(a.attnum, a.attname))
  FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v') AND n.nspname IN ('pg_catalog', 'information_schema') LIMIT 1000"""

EVENT_TRIGGERS = """
SELECT to_json(lower(n.nspname || '.' || p.proname)) FROM pg_catalog.pg_event_trigger e
JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE e.evtenabled <> 'D' LIMIT 1000"""

OPERATORS = f"""
SELECT json_build_array(o.oprname, w.nspname, lower(n.nspname || '.' || p.proname)) FROM pg_catalog.pg_operator o
JOIN pg_catalog.pg_namespace w ON w.oid = o.oprnamespace
JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname <> 'pg_catalog' AND {_NOBODYS} LIMIT 20000"""  # noqa: S608 - constants of ours

TYPES = f"""
SELECT json_build_object('oid', t.oid::bigint, 'name', t.typname,
  'makes', (SELECT coalesce(json_agg(lower(w.nspname || '.' || p.proname)), '[]') FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid JOIN pg_catalog.pg_namespace w ON w.oid = p.pronamespace
    WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass AND {_NOBODYS} AND (
      d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid
      OR d.classid = 'pg_catalog.pg_constraint'::regclass
        AND d.objid IN (SELECT k.oid FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid))),
  'casts', (SELECT coalesce(json_agg(lower(w.nspname || '.' || p.proname)), '[]') FROM pg_catalog.pg_cast c
    JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc JOIN pg_catalog.pg_namespace w ON w.oid = p.pronamespace
    WHERE t.oid IN (c.castsource, c.casttarget) AND w.nspname <> 'pg_catalog' AND {_NOBODYS}
      AND (n.nspname <> 'pg_catalog' OR NOT EXISTS (SELECT 1 FROM pg_catalog.pg_type s JOIN pg_catalog.pg_namespace m
        ON m.oid = s.typnamespace WHERE s.oid IN (c.castsource, c.casttarget) AND m.nspname <> 'pg_catalog'))),
  'compares', (SELECT coalesce(json_agg(DISTINCT lower(w.nspname || '.' || p.proname)), '[]') FROM pg_catalog.pg_opclass o
    JOIN pg_catalog.pg_amproc m ON m.amprocfamily = o.opcfamily JOIN pg_catalog.pg_proc p ON p.oid = m.amproc
    JOIN pg_catalog.pg_namespace w ON w.oid = p.pronamespace
    WHERE o.opcintype = t.oid AND o.opcdefault AND w.nspname <> 'pg_catalog' AND {_NOBODYS}),
  'parts', (SELECT coalesce(json_agg(a.atttypid::bigint), '[]') FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0 AND a.atttypid >= 16384),
  'base', t.typbasetype::bigint, 'element', t.typelem::bigint)
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE ({_OURS}) AND t.typtype IN ('b', 'c', 'd', 'r', 'm') AND (t.typtype <> 'c' OR EXISTS (
    SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND a.atttypid >= 16384)
    OR EXISTS (SELECT 1 FROM pg_catalog.pg_cast c WHERE t.oid IN (c.castsource, c.casttarget))
    OR EXISTS (SELECT 1 FROM pg_catalog.pg_opclass o WHERE o.opcintype = t.oid))
  OR t.oid IN (SELECT unnest(ARRAY[c.castsource, c.casttarget]) FROM pg_catalog.pg_cast c WHERE c.oid >= 16384)
LIMIT {MAX_OBJECTS}"""  # noqa: S608 - constants of ours
"""Types that did not come with the server (their numbers begin at FirstNormalObjectId), or that have casts that did not."""
