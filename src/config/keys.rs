//! The table of all keys. Unknown keys, suggestions, types, defaults and environment variables follow from it.
//! A test compares `config/tableferry.toml` with it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use config::Value;
use toml::Spanned;
use toml::de::DeValue;

use super::error::KeyPath;
use super::kind::Kind::{
    self, Bool, Choice, Integer, Secret, Text, TextOrNumber, TextOrTexts, Texts,
};
use super::kind::Misfit;
use super::mode::Mode;
use super::syntax::*;
use crate::wording::nearest;

/// The table of keys for all jobs that do not set them.
pub(super) const DEFAULTS: &str = "defaults";

/// One key.
pub(super) struct ConfigKey {
    /// Its place; a segment in angle brackets is a name that the user chooses.
    pub path: &'static str,
    /// What may stand behind it.
    pub kind: Kind,
    /// As an environment variable would spell it.
    pub default: Option<&'static str>,
    /// What it means.
    pub doc: &'static str,
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> ConfigKey {
    ConfigKey {
        path,
        kind,
        default,
        doc,
    }
}

/// The table.
#[rustfmt::skip]
pub(super) const KEYS: &[ConfigKey] = &[
    key("daemon.max_running_jobs", Integer { min: 1 },  Some("4"),   "runs at once"),
    key("daemon.shutdown_grace",   Text(&DURATION),     Some("60s"), "how long running jobs may continue after the first SIGTERM"),
    key("daemon.runtime_dir",      Text(&TEXT),         None,        "pid file, trigger spool, control socket"),
    key("daemon.state_dir",        Text(&TEXT),         None,        "state that survives a restart"),
    key("daemon.listen",           Text(&ADDRESS),      None,        "status page and metrics"),
    key("daemon.timezone",         Text(&TIMEZONE),     Some("UTC"), "the default for `cron`"),
    key("daemon.log_level",        Choice(&["error", "warn", "info", "debug", "trace"]), Some("info"), "log level of the daemon"),
    key("daemon.history",          Choice(&["target", "local", "off"]), Some("target"), "where runs are recorded"),
    key("daemon.history_keep",     Text(&SOME_DURATION), Some("90d"), "how long the ledger keeps a run"),

    key("servers.<server>.dir",                 Text(&TEXT),        None,      "a directory of files, instead of `conninfo`"),
    key("servers.<server>.conninfo",            Secret(&CONNINFO),  None,      "how to connect, as libpq reads it"),
    key("servers.<server>.password_file",       Text(&TEXT),        None,      "a file whose first line is the password"),
    key("servers.<server>.password_env",        Text(&TEXT),        None,      "the environment variable that holds the password"),
    key("servers.<server>.password_credential", Text(&TEXT),        None,      "the systemd credential that holds the password"),
    key("servers.<server>.password_command",    Texts { each: &ANY_TEXT, min: 1 }, None, "a program that prints the password, with its arguments"),
    key("servers.<server>.passfile",            Text(&TEXT),        None,      "a file like ~/.pgpass"),
    key("servers.<server>.proxy_command",       Text(&PROXY_COMMAND), None,    "a program whose standard input and output are the connection"),
    key("servers.<server>.max_connections",     Integer { min: 1 }, Some("4"), "connections across all jobs"),
    key("servers.<server>.encoding",            Text(&ENCODING),    None,      "client_encoding, for a SQL_ASCII database"),

    key("notify.<notifier>.command",      Texts { each: &ANY_TEXT, min: 1 },    None,      "a program that is told, with its arguments"),
    key("notify.<notifier>.webhook_file", Text(&TEXT),                          None,      "a file with the URL that is told"),
    key("notify.<notifier>.on",           Texts { each: &NOTICE, min: 1 },      Some("failed,recovered,stale,in_doubt"), "what is told"),
    key("notify.<notifier>.jobs",         Texts { each: &JOB_PATTERN, min: 1 }, Some("*"), "the jobs of which it is told"),

    key("jobs.<job>.source",  TextOrTexts(&SERVER), None, "the server that is read, or several"),
    key("jobs.<job>.source_column", Text(&COLUMN), None, "the column that holds the name of a row's source"),
    key("jobs.<job>.target",  Text(&SERVER),   None, "the server that is written"),
    key("jobs.<job>.mode",    Choice(&Mode::NAMES), None, "what the target holds afterwards"),
    key("jobs.<job>.tables",  Texts { each: &PATTERN, min: 1 }, None, "relations of the same name on both sides"),
    key("jobs.<job>.exclude", Texts { each: &PATTERN, min: 0 }, None, "relations that `tables` matches and that are not copied"),
    key("jobs.<job>.target_names", Text(&TARGET_NAMES), None, "the targets' names of what `tables` matches"),

    key("jobs.<job>.cron",           Text(&CRON),               None,         "when it runs"),
    key("jobs.<job>.every",          Text(&SOME_DURATION),      None,         "how often it runs"),
    key("jobs.<job>.timezone",       Text(&TIMEZONE),           None,         "for `cron`"),
    key("jobs.<job>.jitter",         Text(&DURATION),           Some("0s"),   "a fixed delay of at most this"),
    key("jobs.<job>.overlap",        Choice(&["skip", "queue"]), Some("skip"), "what to do if the previous run is still running"),
    key("jobs.<job>.missed",         Choice(&["once", "skip"]), Some("once"), "what to do if a fire time passed while no daemon ran"),
    key("jobs.<job>.catchup_window", Text(&DURATION),           Some("1h"),   "how old a missed fire time may be"),
    key("jobs.<job>.on_demand",      Bool,                      Some("true"), "SIGUSR1 with no trigger files runs it"),
    key("jobs.<job>.signal",         Text(&SIGNAL),             None,         "this signal runs it"),
    key("jobs.<job>.after",          Texts { each: &JOB, min: 0 },              None,         "runs when these jobs have committed"),
    key("jobs.<job>.fresh_within",   Text(&SOME_DURATION),      None,         "older data count as stale"),

    key("jobs.<job>.timeout",           Text(&SOME_DURATION), None,        "limit of one attempt"),
    key("jobs.<job>.lock_timeout",      Text(&SOME_DURATION), Some("30s"), "limit of waiting for a lock"),
    key("jobs.<job>.stall_timeout",     Text(&SOME_DURATION), Some("5m"),  "silence before the server is asked whether its backend is at work"),
    key("jobs.<job>.retry.max",         Integer { min: 0 },   Some("3"),   "attempts after the first"),
    key("jobs.<job>.retry.backoff",     Text(&SOME_DURATION), Some("5s"),  "the first pause"),
    key("jobs.<job>.retry.max_backoff", Text(&SOME_DURATION), Some("5m"),  "the longest pause"),

    key("jobs.<job>.format",            Choice(&["auto", "binary", "text"]),    Some("auto"),  "the format of COPY"),
    key("jobs.<job>.workers",           Integer { min: 1 },                     Some("1"),     "connections that load on each side"),
    key("jobs.<job>.atomic",            Bool,                                   Some("true"),  "one snapshot and one target transaction for all tables"),
    key("jobs.<job>.verify",            Choice(&["count", "checksum", "none"]), Some("count"), "what is compared before COMMIT"),
    key("jobs.<job>.guard.allow_empty", Bool,                                   Some("false"), "accept a source without rows"),
    key("jobs.<job>.guard.max_shrink",  TextOrNumber(&SHARE),                   Some("50%"),   "the largest accepted loss of rows"),
    key("jobs.<job>.guard.min_rows",    Integer { min: 0 },                     Some("0"),     "the smallest accepted number of rows"),
    key("jobs.<job>.triggers",          Choice(&["fire", "skip"]),              Some("fire"),  "the target's triggers"),
    key("jobs.<job>.sequences",         Bool,                                   Some("true"),  "move the target's sequences past the copied values"),
    key("jobs.<job>.analyze",           Bool,                                   Some("true"),  "ANALYZE after publishing; after append, merge and upsert only where autovacuum would"),
    key("jobs.<job>.rate_limit",        Text(&BYTES),                           None,          "bytes read from the source per second"),
    key("jobs.<job>.on_error",          Choice(&["abort", "quarantine"]),       Some("abort"), "what happens to rows that the target rejects"),
    key("jobs.<job>.reject_limit",      TextOrNumber(&REJECT_LIMIT),            Some("100"),   "rejected rows of a table that a run accepts"),
    key("jobs.<job>.log_values",        Bool,                                   Some("false"), "show keys and cell values in errors and reports"),
    key("jobs.<job>.recreate_views",    Bool,                                   Some("false"), "recreate views on a swapped table"),
    key("jobs.<job>.compare",           Choice(&["auto", "changed", "stream", "full"]), Some("auto"), "how merge and upsert find differences"),
    key("jobs.<job>.replace",           Choice(&["table", "partitions"]),       Some("table"), "truncate and swap: what of a partitioned target is replaced"),
    key("jobs.<job>.resume",            Bool,                                   Some("false"), "keep what a run that died has loaded"),
    key("jobs.<job>.create",            Choice(&["never", "missing"]),          Some("never"), "create target tables that do not exist"),
    key("jobs.<job>.new_columns",       Choice(&["warn", "add", "error"]),      Some("warn"),  "what to do about columns that only the source has"),
    key("jobs.<job>.max_snapshot_age",  Text(&SOME_DURATION),                   None,          "how long the source's snapshot may be held"),
    key("jobs.<job>.sql.before_load",   Texts { each: &STATEMENT, min: 0 }, None, "statements on the target before it is changed, in the same transaction"),
    key("jobs.<job>.sql.before_commit", Texts { each: &STATEMENT, min: 0 }, None, "statements on the target before COMMIT, in the same transaction"),
    key("jobs.<job>.sql.after_commit",  Texts { each: &STATEMENT, min: 0 }, None, "statements on the target after COMMIT"),
    key("jobs.<job>.params.<param>",    TextOrNumber(&PARAM),               None, "a value for `:'NAME'` in SQL of the job"),
    key("jobs.<job>.csv.header",     Bool,                                 None, "the first line of a file has the column names"),
    key("jobs.<job>.csv.delimiter",  Text(&ONE_BYTE),                      None, "DELIMITER of COPY"),
    key("jobs.<job>.csv.null",       Text(&ANY_TEXT),                      None, "NULL of COPY"),
    key("jobs.<job>.csv.quote",      Text(&ONE_BYTE),                      None, "QUOTE of COPY"),
    key("jobs.<job>.csv.escape",     Text(&ONE_BYTE),                      None, "ESCAPE of COPY"),
    key("jobs.<job>.csv.force_null", Texts { each: &COLUMN, min: 1 },      None, "FORCE_NULL of COPY"),
    key("jobs.<job>.csv.encoding",   Text(&ENCODING),                      None, "the encoding of a file"),

    key("jobs.<job>.table.<relation>.source",            Text(&RELATION),                   None,          "the relation that is read"),
    key("jobs.<job>.table.<relation>.query",             Text(&TEXT),                       None,          "the query that is read"),
    key("jobs.<job>.table.<relation>.children",          Bool,                              Some("false"), "read the rows of inheritance children, too"),
    key("jobs.<job>.table.<relation>.columns",           Texts { each: &COLUMN, min: 1 },                    None,          "the columns that are written"),
    key("jobs.<job>.table.<relation>.where",             Text(&TEXT),                       None,          "a condition over the source's columns"),
    key("jobs.<job>.table.<relation>.key",               Texts { each: &COLUMN, min: 1 },                    None,          "the columns that identify a row"),
    key("jobs.<job>.table.<relation>.watermark",         Text(&COLUMN),                     None,          "the column by which new rows are found"),
    key("jobs.<job>.table.<relation>.watermark_overlap", TextOrNumber(&DURATION_OR_NUMBER), None,          "how far before the last watermark to read"),
    key("jobs.<job>.table.<relation>.scope",             Choice(&["table", "where"]),       Some("table"), "which rows merge may delete"),
    key("jobs.<job>.table.<relation>.on_missing.set",    Text(&COLUMN),                     None,          "merge: the column that is set instead of deleting the row"),
    key("jobs.<job>.table.<relation>.on_conflict",       Choice(&["update", "keep"]),       Some("update"), "upsert: what happens to rows that the target has"),
    key("jobs.<job>.table.<relation>.insert_only",       Texts { each: &COLUMN, min: 1 },   None,          "columns that are set when a row is inserted, and never after"),
    key("jobs.<job>.table.<relation>.synced_at",         Text(&COLUMN),                     None,          "the column that is set to the time when a row is written"),
    key("jobs.<job>.table.<relation>.lossy",             Bool,                              Some("false"), "allow pairs of types that lose information"),
    key("jobs.<job>.table.<relation>.create_partitions", Bool,                              Some("false"), "create partitions that rows need"),
    key("jobs.<job>.table.<relation>.file",              Text(&FILE),                       None,          "the file, if a server is a directory"),
    key("jobs.<job>.table.<relation>.csv.header",     Bool,                                 None, "the first line of a file has the column names"),
    key("jobs.<job>.table.<relation>.csv.delimiter",  Text(&ONE_BYTE),                      None, "DELIMITER of COPY"),
    key("jobs.<job>.table.<relation>.csv.null",       Text(&ANY_TEXT),                      None, "NULL of COPY"),
    key("jobs.<job>.table.<relation>.csv.quote",      Text(&ONE_BYTE),                      None, "QUOTE of COPY"),
    key("jobs.<job>.table.<relation>.csv.escape",     Text(&ONE_BYTE),                      None, "ESCAPE of COPY"),
    key("jobs.<job>.table.<relation>.csv.force_null", Texts { each: &COLUMN, min: 1 },      None, "FORCE_NULL of COPY"),
    key("jobs.<job>.table.<relation>.csv.encoding",   Text(&ENCODING),                      None, "the encoding of a file"),
    key("jobs.<job>.table.<relation>.set.<column>",      Text(&TEXT),                       None,          "an expression over the source's columns"),
];

impl ConfigKey {
    /// The key's own name.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The table it belongs to, as a person writes it: `[jobs.NAME.table."schema.name"]`.
    pub fn header(&self) -> String {
        let table = self.path.rsplit_once('.').map_or("", |(table, _)| table);
        let table = table
            .replace("<server>", "NAME")
            .replace("<job>", "NAME")
            .replace("<notifier>", "NAME")
            .replace("<relation>", "\"schema.name\"");
        format!("[{table}]")
    }

    /// Its path below `[defaults]`: every key of a job is a default, but for those of its tables.
    fn in_defaults(&self) -> Option<&'static str> {
        let path = self.path.strip_prefix("jobs.<job>.")?;
        (!path.starts_with("table.")).then_some(path)
    }

    /// The path up to the last chosen name, and the rest: where a default applies.
    pub fn split(&self) -> (&'static str, &'static str) {
        match self.path.rfind(">.") {
            Some(at) => (&self.path[..=at], &self.path[at + 2..]),
            None => ("", self.path),
        }
    }
}

/// The cron expressions that were right. Thousands of jobs share a few, and to check one takes longer
/// than all else in a job, for croner lists the years.
#[derive(Default)]
pub(super) struct Crons(BTreeSet<String>);

impl Crons {
    /// The same as [`Kind::check`], where this key's value was not seen before.
    pub fn check(&mut self, key: &ConfigKey, value: &Spanned<DeValue>) -> Result<Value, Misfit> {
        let cron = value.get_ref().as_str().filter(|_| key.name() == "cron");
        if let Some(text) = cron
            && self.0.contains(text)
        {
            return Ok(text.into());
        }
        let checked = key.kind.check(value)?;
        self.0.extend(cron.map(str::to_owned));
        Ok(checked)
    }
}

/// What a path is.
#[derive(Clone, Copy)]
pub(super) enum Known {
    /// A key with a value.
    Key(&'static ConfigKey),
    /// A table of keys.
    Table,
    /// Nothing.
    Not,
}

/// The keys as a tree: every key of every one of thousands of jobs is looked up.
pub(super) struct Node {
    /// Its last segment.
    segment: &'static str,
    key: Option<&'static ConfigKey>,
    below: Vec<Node>,
}

static ROOT: LazyLock<Node> = LazyLock::new(|| {
    let mut root = Node::new("");
    for key in KEYS {
        root.insert(key.path.split('.'), key);
        if let Some(path) = key.in_defaults() {
            root.insert([DEFAULTS].into_iter().chain(path.split('.')), key);
        }
    }
    root
});

impl Node {
    fn new(segment: &'static str) -> Node {
        Node {
            segment,
            key: None,
            below: Vec::new(),
        }
    }

    fn insert(&mut self, path: impl Iterator<Item = &'static str>, key: &'static ConfigKey) {
        let mut node = self;
        for segment in path {
            let at = node.below.iter().position(|n| n.segment == segment);
            let at = at.unwrap_or_else(|| {
                node.below.push(Node::new(segment));
                node.below.len() - 1
            });
            node = &mut node.below[at];
        }
        node.key = Some(key);
    }

    /// The whole configuration.
    pub fn root() -> &'static Node {
        &ROOT
    }

    /// The key or table of this name.
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.below
            .iter()
            .find(|node| node.segment == name || node.segment.starts_with('<'))
    }

    /// What stands at this place.
    pub fn known(&self) -> Known {
        self.key.map_or(Known::Table, Known::Key)
    }

    /// The form of the name, where the user chooses it.
    pub fn chosen_name(&self) -> Option<&'static Syntax> {
        match self.segment {
            "<server>" | "<job>" | "<notifier>" | "<param>" => Some(&NAME),
            "<relation>" => Some(&RELATION),
            "<column>" => Some(&COLUMN),
            _ => None,
        }
    }
}

fn find(path: &KeyPath) -> Option<&'static Node> {
    path.names()
        .try_fold(Node::root(), |node, name| node.child(name))
}

/// Looks a path up.
pub(super) fn lookup(path: &KeyPath) -> Known {
    find(path).map_or(Known::Not, Node::known)
}

/// What to say of a path that is not known.
pub(super) fn unknown(path: &KeyPath) -> String {
    let siblings: Vec<&str> = find(&path.parent())
        .map(|table| table.below.iter().map(|node| node.segment).collect())
        .unwrap_or_default();
    if let Some(near) = nearest(path.last(), siblings.iter().copied()) {
        return format!("unknown key; did you mean `{near}`?");
    }
    let mut elsewhere: Vec<String> = KEYS
        .iter()
        .filter(|key| key.name() == path.last())
        .map(ConfigKey::header)
        .collect();
    elsewhere.dedup();
    if !elsewhere.is_empty() {
        return format!("unknown key; it belongs in `{}`", elsewhere.join("` or `"));
    }
    format!("unknown key; known here: {}", siblings.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("jobs.orders.lock_timout", "unknown key; did you mean `lock_timeout`?")]
    #[case(
        "jobs.orders.retry.maximum_backoff",
        "unknown key; did you mean `max_backoff`?"
    )]
    #[case("job", "unknown key; did you mean `jobs`?")]
    #[case(
        "jobs.orders.max_connections",
        "unknown key; it belongs in `[servers.NAME]`"
    )]
    #[case(
        "jobs.orders.where",
        r#"unknown key; it belongs in `[jobs.NAME.table."schema.name"]`"#
    )]
    #[case(
        "jobs.orders.retry.jump",
        "unknown key; known here: max, backoff, max_backoff"
    )]
    #[case(
        "logging",
        "unknown key; known here: daemon, servers, notify, jobs, defaults"
    )]
    fn an_unknown_key_gets_a_suggestion(#[case] path: &str, #[case] message: &str) {
        assert_eq!(unknown(&KeyPath::from(path)), message);
    }

    #[test]
    fn no_path_is_listed_twice_and_every_default_is_a_value() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..at].iter().all(|other| other.path != key.path));
            assert!(!key.doc.is_empty());
            if let Some(default) = key.default {
                assert!(key.kind.check_text(default).is_ok(), "{}", key.path);
            }
        }
    }
}
