//! The configuration that `init` writes. (pure)

use std::fmt::Write as _;

use super::decide::Choice;
use super::survey::Survey;
use crate::config::spec::Mode;
use crate::harmless;
use crate::pg::ident::{Ident, QualifiedName};
use crate::wording::wrapped;

/// The width of comments.
const WIDTH: usize = 100;

/// One server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Without a password.
    pub conninfo: String,
    pub had_password: bool,
    /// What was found there.
    pub found: String,
}

/// All that the configuration says.
#[derive(Clone, Debug)]
pub(super) struct Draft<'d> {
    pub servers: [&'d Server; 2],
    pub choices: &'d [Choice],
    pub survey: &'d Survey,
    /// Why runs cannot be recorded on the target.
    pub no_ledger: Option<&'d str>,
}

/// The modes that are chosen, and the name of the job of each.
pub(super) const MODES: [Mode; 3] = [Mode::Merge, Mode::Swap, Mode::Truncate];

/// The jobs that the choices need.
pub(super) fn jobs(choices: &[Choice]) -> impl Iterator<Item = Mode> {
    let is_used = |mode: &Mode| choices.iter().any(|choice| choice.mode == *mode);
    MODES.into_iter().filter(is_used)
}

/// The configuration's text.
pub(super) fn configuration(draft: &Draft<'_>) -> String {
    let mut text = String::new();
    let jobs: Vec<&str> = jobs(draft.choices).map(Mode::as_str).collect();
    comment(
        &mut text,
        &format!(
            "Written by `tableferry init`. Each job makes the target's tables hold exactly the source's rows: rows that \
             only the target has are deleted. `tableferry run --dry-run {}` shows how many rows a run would write.",
            jobs.join(" ")
        ),
    );
    if let Some(why) = draft.no_ledger {
        text.push_str("\n[daemon]\n");
        comment(
            &mut text,
            &format!(
                "Runs are recorded in a file on this machine and not on the target: {why}. Remove this line once the \
                 target has the ledger."
            ),
        );
        text.push_str("history = \"local\"\n");
    }
    for server in draft.servers {
        server_text(&mut text, server);
    }
    for mode in self::jobs(draft.choices) {
        job_text(&mut text, mode, draft.choices);
    }
    not_copied(&mut text, draft.survey);
    text
}

fn server_text(text: &mut String, server: &Server) {
    let _ = writeln!(text, "\n[servers.{}]", server.name);
    comment(text, &server.found);
    let _ = writeln!(text, "conninfo = {}", quoted(&server.conninfo));
    if server.had_password {
        comment(
            text,
            "The password is not written here. Put it into ~/.pgpass (host:port:database:user:password, mode 0600) or \
             into a file of mode 0600, and name that file:",
        );
        let _ = writeln!(
            text,
            "#password_file = \"/etc/tableferry/{}.password\"",
            server.name
        );
    }
}

fn job_text(text: &mut String, mode: Mode, choices: &[Choice]) {
    let name = mode.as_str();
    text.push('\n');
    comment(
        text,
        match mode {
            Mode::Merge => {
                "Tables with a key: only rows that differ are written, and readers never wait."
            }
            Mode::Swap => {
                "Large tables without a key: a new table is loaded and replaces the old one. Readers wait for \
                 milliseconds."
            }
            _ => {
                "Tables that are emptied and loaded in one transaction: readers wait until it ends."
            }
        },
    );
    let _ = write!(
        text,
        "[jobs.{name}]\nsource = \"source\"\ntarget = \"target\"\nmode = \"{name}\"\n\
         #every = \"15m\"                  # or cron = \"*/15 * * * *\"; without either, the job runs on demand\n"
    );
    let chosen = || choices.iter().filter(|choice| choice.mode == mode);
    if chosen().any(|choice| choice.is_new) {
        text.push_str(
            "create = \"missing\"             # makes the tables that the target lacks\n",
        );
    }
    if chosen().any(|choice| choice.key.is_none()) {
        text.push_str("tables = [\n");
        for choice in chosen().filter(|choice| choice.key.is_none()) {
            why(text, choice, "  ");
            let _ = writeln!(text, "  {},", quoted(&relation(&choice.name)));
        }
        text.push_str("]\n");
    }
    for choice in chosen() {
        let Some(key) = &choice.key else { continue };
        text.push('\n');
        why(text, choice, "");
        let key: Vec<String> = key.iter().map(|column| quoted(&written(column))).collect();
        let _ = writeln!(
            text,
            "[jobs.{name}.table.{}]\nkey = [{}]",
            quoted(&relation(&choice.name)),
            key.join(", ")
        );
    }
}

fn why(text: &mut String, choice: &Choice, indent: &str) {
    indented(text, &choice.why, indent);
    if let Some(note) = &choice.note {
        indented(text, note, indent);
    }
}

fn not_copied(text: &mut String, survey: &Survey) {
    let list = |text: &mut String, names: &[QualifiedName]| {
        for name in names {
            let _ = writeln!(text, "#   {}", harmless::line(&name.to_string()));
        }
    };
    if !survey.left_out.is_empty() {
        text.push('\n');
        comment(text, "Not copied:");
        for (name, why) in &survey.left_out {
            let reason = harmless::line(&format!("{name}: {why}")).into_owned();
            for line in wrapped(&reason, WIDTH, "#   ", "#     ") {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    if !survey.only_on_target.is_empty() {
        text.push('\n');
        comment(text, "Only on the target, and left alone:");
        list(text, &survey.only_on_target);
    }
}

fn comment(text: &mut String, words: &str) {
    indented(text, words, "");
}

/// Words after `#`, wrapped. Nothing in them ends the comment.
fn indented(text: &mut String, words: &str, indent: &str) {
    let words = harmless::line(words);
    for line in wrapped(
        &words,
        WIDTH,
        &format!("{indent}# "),
        &format!("{indent}#   "),
    ) {
        let _ = writeln!(text, "{line}");
    }
}

/// A relation's name as `tables` reads it.
fn relation(name: &QualifiedName) -> String {
    format!("{}.{}", written(&name.schema), written(&name.name))
}

/// An identifier as keys of the configuration read it: it has no notation such as U&"a\001b".
fn written(ident: &Ident) -> String {
    let shown = ident.to_string();
    match shown.starts_with("U&") {
        true => ident.sql(),
        false => shown,
    }
}

/// A TOML string or key, literal where that reads better.
fn quoted(text: &str) -> String {
    let is_plain = !text.contains(harmless::is_harmful);
    match (is_plain, text.contains(['"', '\\']), text.contains('\'')) {
        (true, false, _) => format!("\"{text}\""),
        (true, true, false) => format!("'{text}'"),
        _ => escaped(text),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            c if harmless::is_harmful(c) => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load_text};
    use std::path::Path;

    fn choice(name: QualifiedName, mode: Mode, key: Option<&str>) -> Choice {
        Choice {
            name,
            mode,
            key: key.map(|column| vec![Ident::new(column)]),
            why: "primary key (id); about 10 rows, 8.0 KiB".to_owned(),
            note: None,
            is_new: false,
            group: 0,
        }
    }

    fn server(name: &'static str, had_password: bool) -> Server {
        Server {
            name,
            conninfo: "host=localhost user='a b'".to_owned(),
            had_password,
            found: "PostgreSQL 15.6".to_owned(),
        }
    }

    fn draft(choices: &[Choice], survey: &Survey) -> String {
        configuration(&Draft {
            servers: [&server("source", true), &server("target", false)],
            choices,
            survey,
            no_ledger: Some("the role may not create the ledger"),
        })
    }

    fn load(text: &str) -> crate::config::spec::Config {
        let request = Request::default();
        load_text(Path::new("t.toml"), text.to_owned(), &request)
            .unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
    }

    #[test]
    fn a_configuration_says_what_is_copied_how_and_why() {
        let name = |name: &str| QualifiedName::new("public", name);
        let mut survey = Survey {
            only_on_target: vec![name("own")],
            ..Survey::default()
        };
        survey.left_out.insert(
            name("v"),
            "it is a view on the target, which is not written".to_owned(),
        );
        let choices = [
            choice(name("Order"), Mode::Merge, None),
            choice(name("sku"), Mode::Merge, Some("S ku")),
            Choice {
                is_new: true,
                ..choice(name("log"), Mode::Truncate, None)
            },
        ];
        let expected = r##"# Written by `tableferry init`. Each job makes the target's tables hold exactly the source's rows:
#   rows that only the target has are deleted. `tableferry run --dry-run merge truncate` shows how
#   many rows a run would write.

[daemon]
# Runs are recorded in a file on this machine and not on the target: the role may not create the
#   ledger. Remove this line once the target has the ledger.
history = "local"

[servers.source]
# PostgreSQL 15.6
conninfo = "host=localhost user='a b'"
# The password is not written here. Put it into ~/.pgpass (host:port:database:user:password, mode
#   0600) or into a file of mode 0600, and name that file:
#password_file = "/etc/tableferry/source.password"

[servers.target]
# PostgreSQL 15.6
conninfo = "host=localhost user='a b'"

# Tables with a key: only rows that differ are written, and readers never wait.
[jobs.merge]
source = "source"
target = "target"
mode = "merge"
#every = "15m"                  # or cron = "*/15 * * * *"; without either, the job runs on demand
tables = [
  # primary key (id); about 10 rows, 8.0 KiB
  'public."Order"',
]

# primary key (id); about 10 rows, 8.0 KiB
[jobs.merge.table."public.sku"]
key = ['"S ku"']

# Tables that are emptied and loaded in one transaction: readers wait until it ends.
[jobs.truncate]
source = "source"
target = "target"
mode = "truncate"
#every = "15m"                  # or cron = "*/15 * * * *"; without either, the job runs on demand
create = "missing"             # makes the tables that the target lacks
tables = [
  # primary key (id); about 10 rows, 8.0 KiB
  "public.log",
]

# Not copied:
#   public.v: it is a view on the target, which is not written

# Only on the target, and left alone:
#   public.own
"##;
        let text = draft(&choices, &survey);
        assert_eq!(text, expected);
        load(&text);
    }

    proptest::proptest! {
        /// Whatever a name is (it has no NUL), the file is one that is read, and it means that name.
        #[test]
        fn every_name_is_read_back(
            schema in "(?s)([a-z_*.\\\"'#\\[\\]A-Z\u{1}-\u{a0}\u{2020}-\u{2030}é😀]){1,12}",
            table in "(?s)([a-z_*.\\\"'#\\[\\]A-Z\u{1}-\u{a0}\u{2020}-\u{2030}é😀]){1,12}",
        ) {
            let name = QualifiedName::new(schema, table.clone());
            let survey = Survey {
                left_out: [(name.clone(), table.clone())].into(),
                ..Survey::default()
            };
            let choices = [
                choice(name.clone(), Mode::Merge, None),
                choice(name.clone(), Mode::Swap, Some(&table)),
            ];
            let config = load(&draft(&choices, &survey));
            let [merge, swap] = ["merge", "swap"].map(|job| &config.jobs[job]);
            proptest::prop_assert_eq!(merge.tables[0].literal(), Some(name.clone()));
            let key = swap.table[&name].key.clone();
            proptest::prop_assert_eq!(key, Some(vec![Ident::new(table)]));
        }
    }
}
