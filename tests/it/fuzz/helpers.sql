CREATE SCHEMA fz;

-- Runs the statements one by one, passes over those that fail, and tries these once more at the end:
-- rows may refer to rows that come later. Gives the messages of what failed.
CREATE FUNCTION fz.all(statements text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    failed text[] := '{}';
    messages text[] := '{}';
BEGIN
    FOR pass IN 1..2 LOOP
        failed := '{}';
        messages := '{}';
        FOREACH statement IN ARRAY statements LOOP
            BEGIN
                SET CONSTRAINTS ALL DEFERRED;
                EXECUTE statement;
                SET CONSTRAINTS ALL IMMEDIATE;
            EXCEPTION WHEN OTHERS THEN
                failed := failed || statement;
                messages := messages || (SQLERRM || ': ' || statement);
            END;
        END LOOP;
        EXIT WHEN failed = '{}' OR failed = statements;
        statements := failed;
    END LOOP;
    RETURN messages;
END $$;

-- What is wrong with the next value of the sequence of this column; NULL if nothing is.
CREATE FUNCTION fz.next_value(relation text, own_rows text, attribute text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    sequence text := pg_get_serial_sequence(relation, attribute);
    last bigint;
    called boolean;
    next bigint;
    step bigint;
    taken bigint;
BEGIN
    IF sequence IS NULL THEN RETURN NULL; END IF;
    EXECUTE 'SELECT last_value, is_called FROM ' || sequence INTO last, called;
    SELECT seqincrement INTO step FROM pg_sequence WHERE seqrelid = sequence::regclass;
    BEGIN
        next := nextval(sequence);
    EXCEPTION WHEN OTHERS THEN
        RETURN SQLERRM;
    END;
    PERFORM setval(sequence, last, called);
    EXECUTE format('SELECT min(%I) FROM %s WHERE sign(%s) * %I >= sign(%s) * %s',
                   attribute, own_rows, step, attribute, step, next) INTO taken;
    RETURN 'nextval gives ' || next || ', and there is ' || taken;
END $$;

-- Everything about the schema that a person would notice, as text.
CREATE FUNCTION fz.fingerprint() RETURNS text LANGUAGE sql AS $$
    WITH relation AS (
        SELECT c.oid::regclass::text AS name, c.*, c.oid AS id FROM pg_class AS c
        WHERE relnamespace = 'public'::regnamespace
           OR relnamespace = to_regnamespace('tableferry') AND relname ~ 'stage|shadow'
    ), line(text) AS (
        SELECT concat_ws(' ', name, relkind, relpersistence, reloptions, relacl, relrowsecurity,
                         relreplident, relispartition, pg_get_expr(relpartbound, id),
                         relowner::regrole)
        FROM relation
        UNION ALL
        SELECT concat_ws(' ', name, rank() OVER (PARTITION BY id ORDER BY attnum), attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
                         attgenerated, attstattarget, attoptions, pg_get_expr(adbin, adrelid))
        FROM relation JOIN pg_attribute ON attrelid = id LEFT JOIN pg_attrdef ON adrelid = id AND adnum = attnum
        WHERE attnum > 0 AND NOT attisdropped AND relkind <> 'i'
        UNION ALL
        SELECT concat_ws(' ', name, conname, pg_get_constraintdef(pg_constraint.oid), convalidated, conislocal)
        FROM relation JOIN pg_constraint ON conrelid = relation.id
        UNION ALL
        SELECT concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid, indisreplident, indisclustered)
        FROM relation JOIN pg_index ON indexrelid = id
        UNION ALL
        SELECT concat_ws(' ', name, tgfoid::regproc, tgenabled, tgtype, CASE WHEN NOT tgisinternal THEN pg_get_triggerdef(pg_trigger.oid) END)
        FROM relation JOIN pg_trigger ON tgrelid = relation.id
        UNION ALL
        SELECT concat_ws(' ', name, polname, polcmd, pg_get_expr(polqual, polrelid))
        FROM relation JOIN pg_policy ON polrelid = relation.id
        UNION ALL
        SELECT concat_ws(' ', name, rulename, pg_get_ruledef(pg_rewrite.oid))
        FROM relation JOIN pg_rewrite ON ev_class = relation.id
        UNION ALL
        SELECT concat_ws(' ', inhrelid::regclass, 'below', inhparent::regclass)
        FROM pg_inherits JOIN relation ON inhrelid = id
    )
    SELECT string_agg(text, E'\n' ORDER BY text COLLATE "C") FROM line
$$;
