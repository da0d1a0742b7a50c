-- What the event triggers of `check` tell. The SQLSTATE is ours, so that the gateway can tell these messages from the
-- application's own, and take them out.
CREATE SCHEMA lakebase_check;
GRANT USAGE ON SCHEMA lakebase_check TO PUBLIC;

CREATE FUNCTION lakebase_check.tell() RETURNS event_trigger LANGUAGE plpgsql AS $lakebase$
DECLARE
    said jsonb;
    called_by text;
BEGIN
    GET DIAGNOSTICS called_by = PG_CONTEXT;
    said := pg_catalog.jsonb_build_object(
        'event', tg_event,
        'tag', tg_tag,
        'at', pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()),
        'transaction', pg_catalog.date_part('epoch', pg_catalog.now()),
        'context', pg_catalog.left(called_by, 20000),
        'role', current_user,
        'search_path', pg_catalog.current_setting('search_path'),
        'lock_timeout', pg_catalog.current_setting('lock_timeout'),
        'statement_timeout', pg_catalog.current_setting('statement_timeout'),
        -- Relations of the system have a smaller oid.
        'locks', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(held.relation::pg_catalog.int8, held.mode))
            FROM pg_catalog.pg_locks AS held
            WHERE held.pid = pg_catalog.pg_backend_pid() AND held.locktype = 'relation' AND held.granted
                AND held.relation::pg_catalog.int8 >= 16384));
    CASE tg_event
        WHEN 'ddl_command_end' THEN
            said := said || pg_catalog.jsonb_build_object('objects', (
                SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                    'type', made.object_type, 'name', made.object_identity, 'relation', made.objid::pg_catalog.int8))
                FROM pg_catalog.pg_event_trigger_ddl_commands() AS made));
        WHEN 'sql_drop' THEN
            said := said || pg_catalog.jsonb_build_object('objects', (
                SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                    'type', gone.object_type, 'name', gone.object_identity, 'relation', gone.objid::pg_catalog.int8,
                    'original', gone.original))
                FROM pg_catalog.pg_event_trigger_dropped_objects() AS gone
                WHERE gone.original OR gone.normal));
        WHEN 'table_rewrite' THEN
            said := said || pg_catalog.jsonb_build_object(
                'rewritten', pg_catalog.pg_event_trigger_table_rewrite_oid()::pg_catalog.int8,
                'reason', pg_catalog.pg_event_trigger_table_rewrite_reason());
        ELSE
    END CASE;
    RAISE INFO USING ERRCODE = 'LB001', MESSAGE = said::text;
END
$lakebase$;

CREATE EVENT TRIGGER lakebase_check_start ON ddl_command_start EXECUTE FUNCTION lakebase_check.tell();
CREATE EVENT TRIGGER lakebase_check_end ON ddl_command_end EXECUTE FUNCTION lakebase_check.tell();
CREATE EVENT TRIGGER lakebase_check_drop ON sql_drop EXECUTE FUNCTION lakebase_check.tell();
CREATE EVENT TRIGGER lakebase_check_rewrite ON table_rewrite EXECUTE FUNCTION lakebase_check.tell()
