-- Fills each table that has no rows with a few, by the types of its columns, after those that it refers to. What the
-- constraints refuse is left out. It says each table that it has filled, by its number, which outlives its name.
DO $seed$
DECLARE
  wanted CONSTANT int := 20;
  history CONSTANT text[] := ARRAY['alembic_version', 'django_migrations'];
  one record;
  part record;
  columns text;
  filled text;
  bare text;
  value text;
  is_filled boolean;
  is_ready boolean;
  progress boolean := true;
BEGIN
  SET CONSTRAINTS ALL IMMEDIATE;
  WHILE progress LOOP
    progress := false;
    FOR one IN
      SELECT c.oid, c.oid::regclass AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema|lakebase)' AND c.relname <> ALL (history)
      ORDER BY c.oid
    LOOP
      EXECUTE format('SELECT EXISTS (SELECT FROM %s)', one.name) INTO is_filled;
      CONTINUE WHEN is_filled;
      columns := ''; filled := ''; bare := ''; is_ready := true;
      FOR part IN
        SELECT a.attname, a.attnotnull, a.atttypid, a.atttypmod, t.typtype, t.typcategory, t.typname,
               format_type(a.atttypid, a.atttypmod) AS type, f.confrelid AS target, f.confrelid::regclass AS target_name,
               f.column AS target_column, k.words
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN LATERAL (
          SELECT o.confrelid, (SELECT r.attname FROM pg_attribute r WHERE r.attrelid = o.confrelid AND r.attnum =
                 o.confkey[array_position(o.conkey, a.attnum)]) AS column
          FROM pg_constraint o WHERE o.conrelid = a.attrelid AND o.contype = 'f' AND a.attnum = ANY (o.conkey)
          ORDER BY array_length(o.conkey, 1) DESC LIMIT 1
        ) f ON true
        -- The words that a constraint allows, as SQLAlchemy and Django write choices.
        LEFT JOIN LATERAL (
          SELECT array_agg(m.word[1]) AS words
          FROM pg_constraint o, regexp_matches(pg_get_constraintdef(o.oid), '''([^'']+)''', 'g') AS m(word)
          WHERE o.conrelid = a.attrelid AND o.contype = 'c' AND o.conkey = ARRAY[a.attnum]
        ) k ON true
        WHERE a.attrelid = one.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.atthasdef AND a.attidentity = ''
        ORDER BY a.attnum
      LOOP
        value := CASE
          WHEN part.target = one.oid THEN CASE WHEN part.attnotnull THEN NULL ELSE 'NULL' END
          WHEN part.target IS NOT NULL THEN format(
            '(SELECT r.%I FROM %s r ORDER BY r.ctid OFFSET (n - 1) %% greatest(1, (SELECT count(*) FROM %s)) LIMIT 1)',
            part.target_column, part.target_name, part.target_name)
          WHEN part.words IS NOT NULL THEN format('(%L::text[])[1 + n %% %s]::%s', part.words, cardinality(part.words), part.type)
          WHEN part.typtype = 'e' THEN format(
            '(enum_range(NULL::%s))[1 + n %% cardinality(enum_range(NULL::%s))]', part.type, part.type)
          WHEN part.typcategory = 'A' THEN '''{}'''
          WHEN part.typcategory = 'N' THEN 'n'
          WHEN part.typcategory = 'B' THEN 'n % 2 = 0'
          WHEN part.typname IN ('timestamp', 'timestamptz', 'date') THEN 'now() - n * interval ''1 day'''
          WHEN part.typname = 'interval' THEN 'n * interval ''1 minute'''
          WHEN part.typname = 'uuid' THEN 'md5(n::text)::uuid'
          WHEN part.typname IN ('json', 'jsonb') THEN '''{}'''
          WHEN part.typname = 'bytea' THEN 'decode(md5(n::text), ''hex'')'
          WHEN part.typname = 'tsvector' THEN '''seed'''
          WHEN part.typname IN ('varchar', 'bpchar') AND part.atttypmod > 4 THEN
            format('right(%L || n, %s)', part.attname || ' ', part.atttypmod - 4)
          WHEN part.typcategory = 'S' THEN format('%L || n', part.attname || ' ')
        END;
        is_filled := false;
        IF part.target IS NOT NULL AND part.target <> one.oid AND part.attnotnull THEN
          EXECUTE format('SELECT NOT EXISTS (SELECT FROM %s)', part.target_name) INTO is_filled;
        END IF;
        is_ready := is_ready AND NOT is_filled AND (value IS NOT NULL OR NOT part.attnotnull);
        columns := columns || format(', %I', part.attname);
        filled := filled || ', ' || format('(%s)::%s', coalesce(value, 'NULL'), part.type);
        bare := bare || ', ' || CASE WHEN part.attnotnull THEN format('(%s)::%s', value, part.type) ELSE 'NULL' END;
      END LOOP;
      CONTINUE WHEN NOT is_ready OR columns = '';
      is_filled := false;
      FOR row IN 1..wanted LOOP
        FOREACH value IN ARRAY ARRAY[filled, bare] LOOP
          BEGIN
            EXECUTE format('INSERT INTO %s (%s) SELECT %s FROM (SELECT %s::int AS n) AS s',
              one.name, substr(columns, 3), substr(value, 3), row);
            is_filled := true;
            EXIT;
          EXCEPTION WHEN integrity_constraint_violation OR data_exception OR raise_exception THEN
            NULL;
          END;
        END LOOP;
      END LOOP;
      IF is_filled THEN
        progress := true;
        RAISE NOTICE 'seeded %', one.oid;
      END IF;
    END LOOP;
  END LOOP;
END
$seed$;

-- What an application with a class for each table asks: all columns that it knows.
SELECT format('SELECT %s FROM %s;', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), c.oid::regclass)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema|lakebase)' AND a.attnum > 0 AND NOT a.attisdropped
  AND c.relname NOT IN ('alembic_version', 'django_migrations')
GROUP BY c.oid ORDER BY c.oid;
