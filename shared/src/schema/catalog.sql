-- Every object of a database's schema, one row each: kind, schema, the relation that it belongs to, name as SQL writes it,
-- and the clauses of its definition, each at its own place, null where it has none. $1: owners and grants too.
-- What PostgreSQL itself or an extension brings is left out. One statement, so one snapshot.
WITH
of_extension AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
),
namespace AS (
    SELECT n.oid, n.nspname::text AS schema, n.nspowner, n.nspacl
    FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid)
),
relation AS (
    SELECT c.*, n.schema, quote_ident(c.relname) AS ident,
           CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'f' THEN 'foreign table'
               WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' END AS kind,
           'with (' || array_to_string(c.reloptions, ', ') || ')' AS options
    FROM pg_class c JOIN namespace n ON n.oid = c.relnamespace
    WHERE NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)
),
routine AS (
    SELECT p.*, n.schema,
           quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS ident,
           CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END AS kind
    FROM pg_proc p JOIN namespace n ON n.oid = p.pronamespace
    WHERE NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
      -- A range type's constructors come and go with it.
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')
),
own_type AS (
    SELECT t.*, n.schema, quote_ident(t.typname) AS ident,
           CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range' ELSE 'composite type' END AS kind
    FROM pg_type t JOIN namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c')
      AND NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
),
attribute AS (
    SELECT a.*, c.schema, c.ident AS relation, c.relkind, c.relispartition, quote_ident(a.attname) AS ident,
           -- The short names that everybody writes.
           regexp_replace(regexp_replace(regexp_replace(regexp_replace(format_type(a.atttypid, a.atttypmod),
               '^character varying', 'varchar'), '^character\(', 'char('),
               '^(timestamp|time)(\(\d\))? with time zone', '\1tz\2'),
               '^(timestamp|time)(\(\d\))? without time zone', '\1\2') AS type,
           CASE WHEN a.attcollation <> t.typcollation THEN 'collate ' || a.attcollation::regcollation::text END AS collation
    FROM pg_attribute a JOIN relation c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attnum > 0 AND NOT a.attisdropped
)

SELECT 'schema' AS kind, schema, NULL AS relation, quote_ident(schema) AS name, ARRAY[]::text[] AS clauses FROM namespace

UNION ALL
SELECT 'extension', n.nspname::text, NULL, quote_ident(x.extname), ARRAY['version ' || x.extversion, 'in ' || quote_ident(n.nspname)]
FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace

UNION ALL
SELECT kind, schema, NULL, ident, ARRAY[CASE typtype
    WHEN 'e' THEN (SELECT string_agg(quote_literal(l.enumlabel), ', ' ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid)
    WHEN 'r' THEN (SELECT 'of ' || format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid)
    ELSE (SELECT '(' || coalesce(string_agg(concat_ws(' ', a.ident, a.type, a.collation), ', ' ORDER BY a.attnum), '') || ')'
          FROM attribute a WHERE a.attrelid = t.typrelid) END]
FROM own_type t WHERE typtype <> 'd'

UNION ALL
SELECT kind, schema, NULL, ident, ARRAY[
    format_type(typbasetype, typtypmod),
    CASE WHEN typnotnull THEN 'not null' END,
    'default ' || typdefault,
    (SELECT string_agg(quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname)
     FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')]
FROM own_type t WHERE typtype = 'd'

UNION ALL
SELECT c.kind, c.schema, NULL, c.ident, ARRAY[
    format_type(s.seqtypid, NULL),
    CASE WHEN s.seqincrement <> 1 THEN 'increment ' || s.seqincrement END,
    CASE WHEN s.seqstart <> 1 THEN 'start ' || s.seqstart END,
    CASE WHEN s.seqmin <> 1 THEN 'minimum ' || s.seqmin END,
    CASE WHEN s.seqmax NOT IN (32767, 2147483647, 9223372036854775807) THEN 'maximum ' || s.seqmax END,
    CASE WHEN s.seqcache <> 1 THEN 'cache ' || s.seqcache END,
    CASE WHEN s.seqcycle THEN 'cycle' END,
    (SELECT 'owned by ' || a.relation || '.' || a.ident FROM pg_depend d JOIN attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
     WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'a')]
FROM relation c JOIN pg_sequence s ON s.seqrelid = c.oid
-- An identity column has its own.
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i')

UNION ALL
SELECT kind, schema, NULL, ident, ARRAY[
    CASE relpersistence WHEN 'u' THEN 'unlogged' END,
    CASE relkind WHEN 'p' THEN 'partitioned by ' || pg_get_partkeydef(c.oid) END,
    (SELECT CASE WHEN c.relispartition THEN 'partition of ' ELSE 'inherits ' END || string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
     FROM pg_inherits i WHERE i.inhrelid = c.oid),
    pg_get_expr(relpartbound, c.oid),
    CASE WHEN relrowsecurity THEN 'row level security' END,
    CASE WHEN relforcerowsecurity THEN 'forced on the owner' END,
    options]
FROM relation c WHERE relkind IN ('r', 'p', 'f')

UNION ALL
SELECT 'column', a.schema, a.relation, a.relation || '.' || a.ident, ARRAY[
    a.type,
    CASE WHEN a.attnotnull THEN 'not null' END,
    CASE a.attgenerated WHEN '' THEN 'default ' || pg_get_expr(d.adbin, d.adrelid) END,
    CASE a.attidentity WHEN 'a' THEN 'generated always as identity' WHEN 'd' THEN 'generated by default as identity' END,
    CASE WHEN a.attgenerated <> '' THEN 'generated always as (' || pg_get_expr(d.adbin, d.adrelid) || ')' END,
    a.collation]
FROM attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
-- A partition has the columns of the whole.
WHERE a.relkind IN ('r', 'p', 'f') AND NOT a.relispartition

UNION ALL
SELECT 'constraint', c.schema, c.ident, c.ident || '.' || quote_ident(k.conname), ARRAY[pg_get_constraintdef(k.oid)]
FROM pg_constraint k JOIN relation c ON c.oid = k.conrelid
WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.conislocal AND k.conparentid = 0

UNION ALL
SELECT 'index', i.schema, c.ident, i.ident, ARRAY[pg_get_indexdef(i.oid), CASE WHEN NOT x.indisvalid THEN 'invalid' END]
FROM pg_index x JOIN relation i ON i.oid = x.indexrelid JOIN relation c ON c.oid = x.indrelid
WHERE NOT i.relispartition
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u', 'x'))

UNION ALL
SELECT kind, schema, NULL, ident, ARRAY[options, btrim(pg_get_viewdef(oid), E' \n;')] FROM relation WHERE relkind IN ('v', 'm')

UNION ALL
SELECT kind, schema, NULL, ident, ARRAY[btrim(pg_get_functiondef(oid), E' \n')] FROM routine WHERE prokind <> 'a'

UNION ALL
SELECT p.kind, p.schema, NULL, p.ident, ARRAY[
    'sfunc ' || g.aggtransfn,
    'stype ' || format_type(g.aggtranstype, NULL),
    'finalfunc ' || nullif(g.aggfinalfn::oid, 0)::regproc,
    'initcond ' || quote_literal(g.agginitval)]
FROM routine p JOIN pg_aggregate g ON g.aggfnoid = p.oid

UNION ALL
SELECT 'trigger', c.schema, c.ident, c.ident || '.' || quote_ident(t.tgname), ARRAY[
    pg_get_triggerdef(t.oid),
    CASE t.tgenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas' WHEN 'A' THEN 'always' END]
FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND t.tgparentid = 0

UNION ALL
SELECT 'policy', c.schema, c.ident, c.ident || '.' || quote_ident(p.polname), ARRAY[
    CASE WHEN NOT p.polpermissive THEN 'restrictive' END,
    'for ' || CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' ELSE 'all' END,
    'to ' || (SELECT string_agg(CASE r WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(r)) END, ', ' ORDER BY r) FROM unnest(p.polroles) r),
    'using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
    'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')']
FROM pg_policy p JOIN relation c ON c.oid = p.polrelid

UNION ALL
SELECT 'rule', c.schema, c.ident, c.ident || '.' || quote_ident(r.rulename), ARRAY[pg_get_ruledef(r.oid)]
FROM pg_rewrite r JOIN relation c ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'

UNION ALL
SELECT 'owner', o.schema, NULL, o.name, ARRAY[quote_ident(pg_get_userbyid(o.owner))]
FROM (
    SELECT schema, 'schema ' || quote_ident(schema) AS name, nspowner AS owner FROM namespace
    UNION ALL SELECT schema, kind || ' ' || quote_ident(schema) || '.' || ident, relowner FROM relation WHERE kind IS NOT NULL
    UNION ALL SELECT schema, kind || ' ' || quote_ident(schema) || '.' || ident, proowner FROM routine
    UNION ALL SELECT schema, kind || ' ' || quote_ident(schema) || '.' || ident, typowner FROM own_type
) o WHERE $1

UNION ALL
SELECT 'grant', o.schema, NULL, o.name || ' to ' || CASE g.grantee WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
    ARRAY[string_agg(lower(g.privilege_type) || CASE WHEN g.is_grantable THEN ' with grant option' ELSE '' END, ', ' ORDER BY g.privilege_type)]
FROM (
    SELECT schema, 'schema ' || quote_ident(schema) AS name, coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM namespace
    UNION ALL SELECT schema, kind || ' ' || quote_ident(schema) || '.' || ident,
        coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) FROM relation WHERE kind IS NOT NULL
    UNION ALL SELECT schema, kind || ' ' || quote_ident(schema) || '.' || ident, coalesce(proacl, acldefault('f', proowner)) FROM routine
) o, aclexplode(o.acl) g
WHERE $1 GROUP BY o.schema, o.name, g.grantee
