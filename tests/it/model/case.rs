//! What one game is played with: a table on each side, and a job.

use crate::support::dice::Dice;

/// How a table looks on each side. All have columns `v`, `w`, `m`, `a` and `b` beside their key.
pub struct Shape {
    pub source: &'static str,
    pub target: &'static str,
    /// The columns of the key, and literals of the key with this number.
    pub key: &'static [&'static str],
    pub literals: fn(i64) -> Vec<String>,
}

/// So many of `SHAPES` have keys by which `changed` can compare.
const KEYS_KNOWN: usize = 6;

/// Keys have numbers from 0 to this, without it.
pub const KEYS: u64 = 400;

const REST: &str = "v text, w text, m mood, a int, b int";

/// `REST` and partitions by ranges of `id`.
const RANGES: &str = "PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (MINVALUE) TO (100);
    CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (100) TO (200);
    CREATE TABLE p3 PARTITION OF t FOR VALUES FROM (200) TO (MAXVALUE)";

pub const SHAPES: [Shape; 9] = [
    Shape {
        source: "id int PRIMARY KEY, REST",
        target: "id int PRIMARY KEY, REST",
        key: &["id"],
        literals: |n| vec![int(n, i32::MIN.into(), i32::MAX.into())],
    },
    Shape {
        source: "id bigint PRIMARY KEY, REST",
        target: "REST, id bigint PRIMARY KEY",
        key: &["id"],
        // Wide gaps between a few keys that lie close together.
        literals: |n| vec![int(n + n / 20 * 100_000_000_000, i64::MIN, i64::MAX)],
    },
    Shape {
        source: "id smallint, d date, REST, PRIMARY KEY (id, d)",
        target: "d date, id smallint, REST, PRIMARY KEY (id, d)",
        key: &["id", "d"],
        literals: |n| {
            vec![
                int(n / 3, i16::MIN.into(), i16::MAX.into()),
                format!("date '2026-01-01' + {}", n % 3),
            ]
        },
    },
    Shape {
        source: "id int PRIMARY KEY, REST) RANGES",
        target: "id int PRIMARY KEY, REST) RANGES",
        key: &["id"],
        literals: |n| vec![n.to_string()],
    },
    Shape {
        source: "id int PRIMARY KEY, REST",
        target: "id int PRIMARY KEY, REST) RANGES",
        key: &["id"],
        literals: |n| vec![n.to_string()],
    },
    Shape {
        source: "id int PRIMARY KEY, REST) RANGES",
        target: "id bigint PRIMARY KEY, REST",
        key: &["id"],
        literals: |n| vec![n.to_string()],
    },
    Shape {
        source: "id text COLLATE \"C\" PRIMARY KEY, REST",
        target: "id text COLLATE \"C\" PRIMARY KEY, REST",
        key: &["id"],
        literals: |n| vec![format!("'k{n}'")],
    },
    Shape {
        source: "u uuid, id int, REST, PRIMARY KEY (id, u)",
        target: "id int, u uuid, REST, PRIMARY KEY (id, u)",
        key: &["id", "u"],
        literals: |n| vec![(n / 2).to_string(), format!("md5('{}')::uuid", n % 2)],
    },
    Shape {
        source: "u uuid PRIMARY KEY, REST",
        target: "u uuid PRIMARY KEY, REST",
        key: &["u"],
        literals: |n| vec![format!("md5('{n}')::uuid")],
    },
];

/// A number between those of its type; the first and the last ones are at its ends.
fn int(n: i64, low: i64, high: i64) -> String {
    let last = i64::try_from(KEYS).unwrap_or(i64::MAX);
    match n {
        0 => format!("'{low}'"),
        n if n == last - 1 => format!("'{high}'"),
        n => format!("'{}'", n - 20),
    }
}

impl Shape {
    /// CREATE TABLE of one side, with what it needs.
    pub fn create(&self, is_source: bool) -> String {
        let table = if is_source { self.source } else { self.target };
        let labels = if is_source {
            "'sad', 'glad'"
        } else {
            "'sad', 'glad', 'blue'"
        };
        let table = match table.strip_suffix(") RANGES") {
            Some(columns) => format!("{columns}) {RANGES}"),
            None => format!("{table})"),
        };
        format!(
            "CREATE TYPE mood AS ENUM ({labels}); CREATE TABLE t ({}",
            table.replace("REST", REST)
        )
    }

    pub fn is_partitioned(&self, is_source: bool) -> bool {
        let table = if is_source { self.source } else { self.target };
        table.ends_with("RANGES")
    }

    /// `id = 5 AND d = …`
    pub fn is(&self, number: i64) -> String {
        let values = (self.literals)(number);
        let terms = self.key.iter().zip(values);
        let terms: Vec<String> = terms
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        terms.join(" AND ")
    }
}

/// `where` and `scope` of the table.
const FILTERS: [(&str, &str); 9] = [
    ("", ""),
    ("", ""),
    ("a < 4", ""),
    ("", ""),
    ("", ""),
    ("a < 4", ""),
    ("a < 4 OR v IS NULL", ""),
    ("abs(a) < 4", ""),
    ("a < 4", "where"),
];

/// What a game is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rows change.
    Rows,
    /// Tables, types and databases change, too.
    Events,
    /// The source is a standby, or its primary.
    Standby,
}

/// The job of a game, and how it is played.
pub struct Game {
    pub kind: Kind,
    pub shape: &'static Shape,
    pub filter: &'static str,
    pub scope: &'static str,
    pub mode: &'static str,
    pub format: &'static str,
    pub turns: u64,
    /// The source's table takes more than 1 MB.
    pub is_large: bool,
    /// Rows that the source lacks are marked, not deleted.
    pub marks: bool,
}

impl Game {
    pub fn of(dice: &mut Dice, kind: Kind) -> Self {
        // The last ones have keys whose changes are not known.
        let shapes = if dice.once_in(4) {
            SHAPES.len()
        } else {
            KEYS_KNOWN
        };
        let shape = &SHAPES[dice.index(shapes)];
        let mode = if dice.once_in(10) { "upsert" } else { "merge" };
        let (filter, scope) = dice.one_of(&FILTERS);
        Game {
            kind,
            shape,
            filter,
            scope: if mode == "merge" { scope } else { "" },
            mode,
            format: if dice.once_in(4) { "text" } else { "auto" },
            turns: 8 + dice.below(5),
            is_large: dice.once_in(2),
            marks: mode == "merge" && dice.once_in(3),
        }
    }

    /// What this job asks for in one run, and by how many workers.
    pub fn compare(&self, dice: &mut Dice) -> (&'static str, u64) {
        let workers = if dice.once_in(8) { 3 } else { 1 };
        // As text, uuid and date have no order that is known.
        let as_text = self.format == "text";
        let is_sorted = !(as_text && self.shape.key.iter().any(|key| ["u", "d"].contains(key)));
        let compare = match (self.mode, workers == 1 && is_sorted) {
            ("merge", true) => dice.one_of(&[
                "changed", "changed", "changed", "changed", "auto", "auto", "stream", "full",
            ]),
            (_, true) => dice.one_of(&["stream", "stream", "full", "auto"]),
            (_, false) => dice.one_of(&["auto", "full"]),
        };
        (compare, workers)
    }

    /// The condition that rows of the source satisfy.
    pub fn condition(&self) -> &'static str {
        match self.filter {
            "" => "true",
            filter => filter,
        }
    }

    /// The condition that rows of the target satisfy if the source had them in the last run.
    pub fn unmarked(&self) -> &'static str {
        match self.marks {
            true => "gone_at IS NULL",
            false => "true",
        }
    }

    /// The configuration of the job `j`.
    pub fn job(&self, (compare, workers): (&str, u64)) -> String {
        let guard = match self.mode {
            "merge" => "guard = { allow_empty = true, max_shrink = '100%' }\n",
            _ => "",
        };
        let mut of_table = String::new();
        if !self.filter.is_empty() {
            of_table.push_str(&format!("where = '{}'\n", self.filter));
        }
        if !self.scope.is_empty() {
            of_table.push_str(&format!("scope = '{}'\n", self.scope));
        }
        if self.marks {
            of_table.push_str("on_missing = { set = 'gone_at' }\n");
        }
        let Game { mode, format, .. } = self;
        let more = format!(
            "{guard}analyze = false\nlock_timeout = '250ms'\ncompare = '{compare}'\nformat = '{format}'\nworkers = {workers}\n"
        );
        crate::support::only_t(mode, &more, &of_table)
    }
}

impl std::fmt::Display for Game {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} source ({}), target ({})",
            self.kind, self.shape.source, self.shape.target
        )?;
        write!(f, "\n{}", self.job(("…", 1)))
    }
}
