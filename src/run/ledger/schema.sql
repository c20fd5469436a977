CREATE TABLE IF NOT EXISTS tableferry.ledger (
    one       boolean     NOT NULL DEFAULT true,
    version   integer     NOT NULL,
    pruned_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT ledger_pkey PRIMARY KEY (one),
    CONSTRAINT ledger_one CHECK (one)
);
COMMENT ON TABLE tableferry.ledger IS 'One row about the ledger itself';
COMMENT ON COLUMN tableferry.ledger.one IS 'Always true: the table has one row';
COMMENT ON COLUMN tableferry.ledger.version IS 'Version of these tables; a tableferry that only knows older versions refuses to run';
COMMENT ON COLUMN tableferry.ledger.pruned_at IS 'When runs older than history_keep were last deleted';

CREATE TABLE IF NOT EXISTS tableferry.run (
    run_id       uuid        NOT NULL,
    job          text        NOT NULL,
    state        text        NOT NULL,
    trigger      text        NOT NULL,
    due_at       timestamptz,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    heartbeat_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    instance     text        NOT NULL,
    attempts     integer     NOT NULL,
    source_lsn   pg_lsn,
    snapshot_at  timestamptz,
    error        text,
    CONSTRAINT run_pkey PRIMARY KEY (run_id),
    CONSTRAINT run_state CHECK (state IN ('running', 'committed', 'rolled_back', 'cancelled', 'lost'))
);
COMMENT ON TABLE tableferry.run IS 'One row for each run of a job';
COMMENT ON COLUMN tableferry.run.run_id IS 'The run, as in tableferry''s log and JSON report';
COMMENT ON COLUMN tableferry.run.job IS 'The job''s name in the configuration';
COMMENT ON COLUMN tableferry.run.state IS 'running; committed: the target holds the run''s rows, published by the same transaction that set this state; rolled_back or cancelled: the target is unchanged, except for the tables in run_table; lost: the run''s heartbeat stopped';
COMMENT ON COLUMN tableferry.run.trigger IS 'What started the run: manual, schedule, signal, missed, after, request';
COMMENT ON COLUMN tableferry.run.due_at IS 'The fire time, if the schedule started the run';
COMMENT ON COLUMN tableferry.run.started_at IS 'When the run began, by the clock of tableferry''s host';
COMMENT ON COLUMN tableferry.run.finished_at IS 'When the run ended, by the same clock; for a committed run the time just before its COMMIT';
COMMENT ON COLUMN tableferry.run.heartbeat_at IS 'The run''s last heartbeat, by this server''s clock; a running run sends one every few seconds';
COMMENT ON COLUMN tableferry.run.instance IS 'Host name and process ID of the tableferry that ran it';
COMMENT ON COLUMN tableferry.run.attempts IS 'Number of attempts';
COMMENT ON COLUMN tableferry.run.source_lsn IS 'WAL position of the source that the copied snapshot includes at least';
COMMENT ON COLUMN tableferry.run.snapshot_at IS 'When the copied snapshot was taken, by the source''s clock';
COMMENT ON COLUMN tableferry.run.error IS 'Why the run failed, or for a committed run the statement of sql.after_commit; never contains values of rows';

ALTER TABLE tableferry.run ADD COLUMN IF NOT EXISTS retried text[];
COMMENT ON COLUMN tableferry.run.retried IS 'Why each attempt before the last one failed, in order; never contains values of rows';

CREATE INDEX IF NOT EXISTS run_job_started_at ON tableferry.run (job, started_at DESC);

CREATE TABLE IF NOT EXISTS tableferry.fire (
    job    text        NOT NULL,
    due_at timestamptz NOT NULL,
    run_id uuid        NOT NULL,
    CONSTRAINT fire_pkey PRIMARY KEY (job, due_at)
);
COMMENT ON TABLE tableferry.fire IS 'The run of each fire time: if several daemons have the job, the first to insert the row runs it';
COMMENT ON COLUMN tableferry.fire.job IS 'The job';
COMMENT ON COLUMN tableferry.fire.due_at IS 'The fire time of its schedule';
COMMENT ON COLUMN tableferry.fire.run_id IS 'The run; updated when the run was lost or cancelled and another daemon takes over the fire time';

CREATE TABLE IF NOT EXISTS tableferry.run_table (
    run_id        uuid   NOT NULL,
    target        text   NOT NULL,
    source        text   NOT NULL,
    mode          text   NOT NULL,
    format        text   NOT NULL,
    rows_read     bigint NOT NULL,
    rows_written  bigint NOT NULL,
    rows_inserted bigint NOT NULL,
    rows_updated  bigint NOT NULL,
    rows_deleted  bigint NOT NULL,
    bytes         bigint NOT NULL,
    watermark     text,
    CONSTRAINT run_table_pkey PRIMARY KEY (run_id, target),
    CONSTRAINT run_table_run FOREIGN KEY (run_id) REFERENCES tableferry.run (run_id) ON DELETE CASCADE
);
COMMENT ON TABLE tableferry.run_table IS 'One row for each table that a run published, written by the transaction that published it';
COMMENT ON COLUMN tableferry.run_table.run_id IS 'The run';
COMMENT ON COLUMN tableferry.run_table.target IS 'The relation that was written';
COMMENT ON COLUMN tableferry.run_table.source IS 'The relation that was read, or (query)';
COMMENT ON COLUMN tableferry.run_table.mode IS 'append, truncate, swap, merge, upsert';
COMMENT ON COLUMN tableferry.run_table.format IS 'Format of COPY: binary or text';
COMMENT ON COLUMN tableferry.run_table.rows_read IS 'Rows that the source sent';
COMMENT ON COLUMN tableferry.run_table.rows_written IS 'Rows that the target took';
COMMENT ON COLUMN tableferry.run_table.rows_inserted IS 'Rows that were inserted into the target';
COMMENT ON COLUMN tableferry.run_table.rows_updated IS 'Rows that were updated in the target';
COMMENT ON COLUMN tableferry.run_table.rows_deleted IS 'Rows that were deleted from the target';
COMMENT ON COLUMN tableferry.run_table.bytes IS 'Bytes of COPY data';
COMMENT ON COLUMN tableferry.run_table.watermark IS 'The watermark that the run reached, if the table has one';

ALTER TABLE tableferry.run_table ADD COLUMN IF NOT EXISTS rows_rejected bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN tableferry.run_table.rows_rejected IS 'Rows that the target rejected: they are in tableferry.rejected';

ALTER TABLE tableferry.run_table ADD COLUMN IF NOT EXISTS compare text;
COMMENT ON COLUMN tableferry.run_table.compare IS 'How the rows that differ were found, in modes merge and upsert: full, stream or changed';

ALTER TABLE tableferry.run_table ADD COLUMN IF NOT EXISTS drift jsonb;
COMMENT ON COLUMN tableferry.run_table.drift IS 'The columns that only one side had, at most 100: column, type, and change, which is not_copied, added or only_on_target; NULL if there were none';

ALTER TABLE tableferry.run_table ADD COLUMN IF NOT EXISTS drift_more integer;
COMMENT ON COLUMN tableferry.run_table.drift_more IS 'How many more there were';

CREATE TABLE IF NOT EXISTS tableferry.rejected (
    run_id          uuid        NOT NULL,
    job             text        NOT NULL,
    target          text        NOT NULL,
    line            bigint,
    key             jsonb,
    column_name     text,
    constraint_name text,
    sqlstate        text        NOT NULL,
    reason          text        NOT NULL,
    "row"           jsonb,
    rejected_at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE tableferry.rejected IS 'Rows that runs with on_error = "quarantine" left out, written by the transaction that published the others';
COMMENT ON COLUMN tableferry.rejected.run_id IS 'The run';
COMMENT ON COLUMN tableferry.rejected.job IS 'The job';
COMMENT ON COLUMN tableferry.rejected.target IS 'The relation that did not take the row';
COMMENT ON COLUMN tableferry.rejected.line IS 'The row''s number in the order in which the source sent its rows; of a file the line in which it begins';
COMMENT ON COLUMN tableferry.rejected.key IS 'The key''s columns as texts, if all are copied';
COMMENT ON COLUMN tableferry.rejected.column_name IS 'The column with the wrong value, or the columns of the constraint';
COMMENT ON COLUMN tableferry.rejected.constraint_name IS 'The violated constraint or unique index';
COMMENT ON COLUMN tableferry.rejected.sqlstate IS 'SQLSTATE of the error';
COMMENT ON COLUMN tableferry.rejected.reason IS 'What the error means, without values';
COMMENT ON COLUMN tableferry.rejected."row" IS 'The row''s columns as texts; without log_values, only the key''s';
COMMENT ON COLUMN tableferry.rejected.rejected_at IS 'When it was rejected, by this server''s clock';

CREATE INDEX IF NOT EXISTS rejected_run_id ON tableferry.rejected (run_id);

CREATE TABLE IF NOT EXISTS tableferry.watermark (
    job         text        NOT NULL,
    target      text        NOT NULL,
    value       text        NOT NULL,
    run_id      uuid        NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT watermark_pkey PRIMARY KEY (job, target)
);
COMMENT ON TABLE tableferry.watermark IS 'How far each table with a watermark has been read; delete a row to read the table again';
COMMENT ON COLUMN tableferry.watermark.job IS 'The job';
COMMENT ON COLUMN tableferry.watermark.target IS 'The relation that is written';
COMMENT ON COLUMN tableferry.watermark.value IS 'All rows up to this value have been read, as text';
COMMENT ON COLUMN tableferry.watermark.run_id IS 'The run that read them';
COMMENT ON COLUMN tableferry.watermark.recorded_at IS 'When that run published them, by this server''s clock';

CREATE TABLE IF NOT EXISTS tableferry.mark (
    job         text        NOT NULL,
    target      text        NOT NULL,
    mark        text        NOT NULL,
    run_id      uuid        NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT mark_pkey PRIMARY KEY (job, target)
);
COMMENT ON TABLE tableferry.mark IS 'Up to which transactions the last run of each merge saw source and target, for compare = "changed"; delete a row to compare all rows again';
COMMENT ON COLUMN tableferry.mark.job IS 'The job';
COMMENT ON COLUMN tableferry.mark.target IS 'The relation that is written';
COMMENT ON COLUMN tableferry.mark.mark IS 'System identifier, timeline, database, tables and transaction ids of both sides, as JSON';
COMMENT ON COLUMN tableferry.mark.run_id IS 'The run that recorded it';
COMMENT ON COLUMN tableferry.mark.recorded_at IS 'When that run published the rows, by this server''s clock';

CREATE TABLE IF NOT EXISTS tableferry.job (
    job         text        NOT NULL,
    next_due_at timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT job_pkey PRIMARY KEY (job)
);
COMMENT ON TABLE tableferry.job IS 'What the daemons report about their jobs';
COMMENT ON COLUMN tableferry.job.job IS 'The job';
COMMENT ON COLUMN tableferry.job.next_due_at IS 'The job''s next fire time';
COMMENT ON COLUMN tableferry.job.recorded_at IS 'When a daemon reported it, by this server''s clock';

ALTER TABLE tableferry.job ADD COLUMN IF NOT EXISTS known_at timestamptz NOT NULL DEFAULT pg_catalog.now();
COMMENT ON COLUMN tableferry.job.known_at IS 'When a daemon first reported the job, by this server''s clock';

ALTER TABLE tableferry.job ADD COLUMN IF NOT EXISTS fresh_within interval;
COMMENT ON COLUMN tableferry.job.fresh_within IS 'fresh_within in the job''s configuration';

CREATE TABLE IF NOT EXISTS tableferry.pause (
    job       text        NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    paused_by text        NOT NULL,
    CONSTRAINT pause_pkey PRIMARY KEY (job)
);
COMMENT ON TABLE tableferry.pause IS 'Paused jobs: no daemon runs them; tableferry pause inserts a row and tableferry resume deletes it';
COMMENT ON COLUMN tableferry.pause.job IS 'The job';
COMMENT ON COLUMN tableferry.pause.paused_at IS 'Since when, by this server''s clock';
COMMENT ON COLUMN tableferry.pause.paused_by IS 'Who paused it: user, host and process ID';

CREATE TABLE IF NOT EXISTS tableferry.request (
    request_id   bigint      GENERATED ALWAYS AS IDENTITY,
    job          text        NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    requested_by text        NOT NULL DEFAULT SESSION_USER,
    claimed_at   timestamptz,
    run_id       uuid,
    CONSTRAINT request_pkey PRIMARY KEY (request_id)
);
COMMENT ON TABLE tableferry.request IS 'Runs that were asked for with tableferry.request';
COMMENT ON COLUMN tableferry.request.request_id IS 'What tableferry.request has returned';
COMMENT ON COLUMN tableferry.request.job IS 'The job';
COMMENT ON COLUMN tableferry.request.requested_at IS 'When, by this server''s clock; a request waits for at most 1 day';
COMMENT ON COLUMN tableferry.request.requested_by IS 'The role that asked';
COMMENT ON COLUMN tableferry.request.claimed_at IS 'When a run claimed the request, by this server''s clock';
COMMENT ON COLUMN tableferry.request.run_id IS 'The run that fulfils the request; its outcome is in tableferry.run';

CREATE INDEX IF NOT EXISTS request_requested_at ON tableferry.request (requested_at);

CREATE OR REPLACE FUNCTION tableferry.request(job text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $function$
DECLARE
    found_id bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM tableferry.job AS known WHERE known.job = request.job) THEN
        RAISE EXCEPTION 'no daemon has reported a job "%"', request.job
            USING ERRCODE = 'undefined_object', HINT = 'SELECT job FROM tableferry.job_status shows the jobs.';
    END IF;
    -- The run that claims a waiting request reads the source after it has claimed it.
    SELECT r.request_id INTO found_id FROM tableferry.request AS r
    WHERE r.job = request.job AND r.run_id IS NULL
    AND r.requested_at > pg_catalog.clock_timestamp() - INTERVAL '1 day' LIMIT 1;
    IF found_id IS NULL THEN
        INSERT INTO tableferry.request AS r (job) VALUES (request.job) RETURNING r.request_id INTO found_id;
    END IF;
    RETURN found_id;
END $function$;
COMMENT ON FUNCTION tableferry.request(text) IS 'Asks for a run of the job, which a daemon starts within seconds; returns the request_id';
REVOKE EXECUTE ON FUNCTION tableferry.request(text) FROM PUBLIC;

CREATE OR REPLACE VIEW tableferry.job_status AS
SELECT known.job,
       good.finished_at AS last_success,
       pg_catalog.clock_timestamp() - COALESCE(good.snapshot_at, good.started_at) AS freshness,
       bad.finished_at AS last_error_at,
       bad.error AS last_error,
       CASE WHEN latest.state = 'running'
            AND latest.heartbeat_at > pg_catalog.clock_timestamp() - INTERVAL '30 seconds'
            THEN latest.started_at END AS running_since,
       due.next_due_at AS next_due,
       due.fresh_within AS fresh_within,
       pg_catalog.clock_timestamp() - COALESCE(good.snapshot_at, good.started_at, due.known_at) >= due.fresh_within AS stale,
       held.paused_at AS paused_at,
       differing.columns AS drift
FROM (SELECT job FROM tableferry.run UNION SELECT job FROM tableferry.job) AS known
LEFT JOIN tableferry.job AS due ON due.job = known.job
LEFT JOIN tableferry.pause AS held ON held.job = known.job
LEFT JOIN LATERAL (
    SELECT run.run_id, run.finished_at, run.snapshot_at, run.started_at FROM tableferry.run
    WHERE run.job = known.job AND run.state = 'committed'
    ORDER BY run.started_at DESC LIMIT 1
) AS good ON true
LEFT JOIN LATERAL (
    SELECT run.finished_at, run.error FROM tableferry.run
    WHERE run.job = known.job AND run.state IN ('rolled_back', 'cancelled', 'lost')
    ORDER BY run.started_at DESC LIMIT 1
) AS bad ON true
LEFT JOIN LATERAL (
    SELECT run.state, run.started_at, run.heartbeat_at FROM tableferry.run
    WHERE run.job = known.job
    ORDER BY run.started_at DESC LIMIT 1
) AS latest ON true
LEFT JOIN LATERAL (
    SELECT pg_catalog.array_agg(listed.what) AS columns FROM (
        SELECT t.target || '.' || (d.value ->> 'column') || ': ' || (d.value ->> 'change') AS what
        FROM tableferry.run_table AS t
        CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(t.drift) WITH ORDINALITY AS d (value, place)
        WHERE t.run_id = good.run_id AND d.value ->> 'change' <> 'added'
        ORDER BY t.target, d.place LIMIT 100
    ) AS listed
) AS differing ON true;
COMMENT ON VIEW tableferry.job_status IS 'The status of each job';
COMMENT ON COLUMN tableferry.job_status.job IS 'The job';
COMMENT ON COLUMN tableferry.job_status.last_success IS 'When a run of the job was last committed';
COMMENT ON COLUMN tableferry.job_status.freshness IS 'Age of the source''s snapshot that the target holds now';
COMMENT ON COLUMN tableferry.job_status.last_error_at IS 'When a run of the job last failed, was cancelled or lost';
COMMENT ON COLUMN tableferry.job_status.last_error IS 'Why that run failed';
COMMENT ON COLUMN tableferry.job_status.running_since IS 'When the current run began';
COMMENT ON COLUMN tableferry.job_status.next_due IS 'The job''s next fire time, as last reported by a daemon';
COMMENT ON COLUMN tableferry.job_status.fresh_within IS 'The job''s fresh_within, as last reported by a daemon';
COMMENT ON COLUMN tableferry.job_status.stale IS 'Whether freshness has reached fresh_within; a job that was never committed counts from when a daemon first reported it';
COMMENT ON COLUMN tableferry.job_status.paused_at IS 'Since when the job is paused';
COMMENT ON COLUMN tableferry.job_status.drift IS 'The columns that only one side has since the last success, at most 100, as table.column: not_copied, or only_on_target; NULL if there are none';

INSERT INTO tableferry.ledger (version) VALUES (7)
ON CONFLICT (one) DO UPDATE SET version = EXCLUDED.version WHERE ledger.version < EXCLUDED.version;
