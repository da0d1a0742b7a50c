-- Every relation of the database that is not the system's, an extension's or the sensor's own.
SELECT c.oid AS oid, n.nspname::text AS schema, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
    c.relkind::text AS kind, pg_get_userbyid(c.relowner)::text AS owner,
    coalesce(pg_relation_filenode(c.oid), 0) AS file,
    -- A table without a page of its own may have the index of what it keeps out of line, whose first page is always there.
    CASE WHEN c.relkind IN ('r', 'm') AND pg_relation_size(c.oid) > 0 THEN pg_table_size(c.oid)
        WHEN c.relkind IN ('i', 'S') THEN pg_relation_size(c.oid) ELSE 0 END AS bytes,
    c.reltuples::float8 AS rows, c.relispopulated AS populated, i.indrelid AS of_table, coalesce(i.indisvalid, true) AS valid,
    coalesce((SELECT array_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        || ' ' || a.privilege_type)
        FROM aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner), '{}') AS grants,
    (SELECT array_agg(quote_ident(a.attname) ORDER BY k.place)
        FROM pg_index p, unnest(p.indkey) WITH ORDINALITY AS k (attribute, place), pg_attribute a
        WHERE p.indrelid = c.oid AND p.indisprimary AND a.attrelid = c.oid AND a.attnum = k.attribute) AS primary_key,
    (SELECT array_agg(attnum || ' ' || quote_ident(attname)) FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND c.relkind = 'r') AS columns,
    pg_stat_get_tuples_inserted(c.oid) AS inserted, pg_stat_get_tuples_updated(c.oid) AS updated,
    pg_stat_get_tuples_deleted(c.oid) AS deleted, pg_stat_get_numscans(c.oid) AS scans
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index i ON i.indexrelid = c.oid
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'lakebase_check')
    AND c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S', 'i', 'I')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
