//! The types of columns, and values of them.

use crate::support::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ty {
    Int,
    BigInt,
    Text,
    Varchar,
    Char,
    Numeric,
    Money2,
    Bool,
    Date,
    Timestamptz,
    Interval,
    Float,
    Json,
    Jsonb,
    IntArray,
    TextArray,
    Bytea,
    Uuid,
    Inet,
    Range,
    Point,
    Enum,
    EnumArray,
    Domain,
    Pair,
}

/// Types that a job's tables may use; every side has them.
pub const USER_TYPES: &str = "\
CREATE TYPE public.mood AS ENUM ('sad', 'fine', 'Ha''ppy'); \
CREATE DOMAIN public.small AS integer CHECK (VALUE < 100000); \
CREATE TYPE public.pair AS (a integer, b text);\n";

impl Ty {
    const ALL: [Ty; 25] = [
        Ty::Int,
        Ty::BigInt,
        Ty::Text,
        Ty::Varchar,
        Ty::Char,
        Ty::Numeric,
        Ty::Money2,
        Ty::Bool,
        Ty::Date,
        Ty::Timestamptz,
        Ty::Interval,
        Ty::Float,
        Ty::Json,
        Ty::Jsonb,
        Ty::IntArray,
        Ty::TextArray,
        Ty::Bytea,
        Ty::Uuid,
        Ty::Inet,
        Ty::Range,
        Ty::Point,
        Ty::Enum,
        Ty::EnumArray,
        Ty::Domain,
        Ty::Pair,
    ];

    /// Integers and texts mostly, since expressions are made of them.
    pub fn any(dice: &mut Dice) -> Ty {
        match dice.below(10) {
            0..3 => Ty::Int,
            3..5 => Ty::Text,
            _ => dice.one_of(&Self::ALL),
        }
    }

    pub fn of_key(dice: &mut Dice) -> Ty {
        dice.one_of(&[
            Ty::Int,
            Ty::Int,
            Ty::Int,
            Ty::BigInt,
            Ty::Text,
            Ty::Text,
            Ty::Varchar,
            Ty::Char,
            Ty::Numeric,
            Ty::Uuid,
            Ty::Enum,
            Ty::Domain,
            Ty::Date,
        ])
    }

    pub fn sql(self) -> &'static str {
        match self {
            Ty::Int => "integer",
            Ty::BigInt => "bigint",
            Ty::Text => "text",
            Ty::Varchar => "varchar(20)",
            Ty::Char => "char(6)",
            Ty::Numeric => "numeric",
            Ty::Money2 => "numeric(10,2)",
            Ty::Bool => "boolean",
            Ty::Date => "date",
            Ty::Timestamptz => "timestamptz",
            Ty::Interval => "interval",
            Ty::Float => "float8",
            Ty::Json => "json",
            Ty::Jsonb => "jsonb",
            Ty::IntArray => "integer[]",
            Ty::TextArray => "text[]",
            Ty::Bytea => "bytea",
            Ty::Uuid => "uuid",
            Ty::Inet => "inet",
            Ty::Range => "int4range",
            Ty::Point => "point",
            Ty::Enum => "public.mood",
            Ty::EnumArray => "public.mood[]",
            Ty::Domain => "public.small",
            Ty::Pair => "public.pair",
        }
    }

    /// What tables of this type need, for the tally.
    pub fn feature(self) -> Option<&'static str> {
        match self {
            Ty::Enum | Ty::EnumArray => Some("enum column"),
            Ty::Domain => Some("domain column"),
            Ty::IntArray | Ty::TextArray => Some("array column"),
            Ty::Pair => Some("composite column"),
            _ => None,
        }
    }

    pub fn is_integer(self) -> bool {
        matches!(self, Ty::Int | Ty::BigInt | Ty::Domain)
    }

    pub fn is_text(self) -> bool {
        matches!(self, Ty::Text | Ty::Varchar)
    }

    /// Can an index be made on it?
    pub fn is_indexable(self) -> bool {
        !matches!(self, Ty::Json | Ty::Point)
    }

    /// A type that takes all values of this one.
    pub fn wider(self) -> Option<Ty> {
        match self {
            Ty::Int => Some(Ty::BigInt),
            Ty::Varchar | Ty::Enum => Some(Ty::Text),
            Ty::Money2 => Some(Ty::Numeric),
            _ => None,
        }
    }

    /// An expression of another value in the same column.
    pub fn changed(self, column: &str, dice: &mut Dice) -> String {
        match self {
            Ty::Int | Ty::BigInt | Ty::Numeric | Ty::Money2 | Ty::Float if dice.once_in(2) => {
                format!("{column} + {}", 1 + dice.below(3))
            }
            Ty::Text if dice.once_in(2) => format!("{column} || 'x'"),
            _ => self.literal(dice, 8),
        }
    }

    /// A value, of about `range` different ones.
    pub fn literal(self, dice: &mut Dice, range: u64) -> String {
        let n = 1 + dice.below(range);
        let quoted = match self {
            Ty::Int | Ty::BigInt | Ty::Domain => return format!("{n}"),
            Ty::Text | Ty::Varchar | Ty::Char => match n {
                7 => "É 'x".to_owned(),
                8 => "A\\\tb".to_owned(),
                9 => String::new(),
                _ => format!("k{n}"),
            },
            Ty::Numeric => match n {
                7 => "7.10".to_owned(),
                8 => "NaN".to_owned(),
                _ if dice.once_in(3) => format!("{n}.00"),
                _ => format!("{n}"),
            },
            Ty::Money2 => format!("{n}.5"),
            Ty::Bool => (if n.is_multiple_of(2) { "t" } else { "f" }).to_owned(),
            Ty::Date => format!("2024-02-{:02}", 1 + n % 28),
            Ty::Timestamptz => format!("2024-03-{:02} 02:30:00.000{n}+00", 1 + n % 28),
            Ty::Interval => match n % 3 {
                0 => "24:00:00".to_owned(),
                1 => "1 day".to_owned(),
                _ => format!("{n} mons -2 days"),
            },
            Ty::Float => match n {
                7 => "-0".to_owned(),
                8 => "Infinity".to_owned(),
                _ => format!("{n}.1"),
            },
            Ty::Json => format!("{{\"b\": {n},  \"a\": null}}"),
            Ty::Jsonb => format!("{{\"a\": [{n}, \"\"]}}"),
            Ty::IntArray => (if n == 3 {
                "[0:1]={4,NULL}".to_owned()
            } else {
                format!("{{{n},2}}")
            })
            .to_owned(),
            Ty::TextArray => format!("{{\"a,{n}\",NULL,\"\"}}"),
            Ty::Bytea => format!("\\x00{n:02x}ff"),
            Ty::Uuid => format!("00000000-0000-4000-8000-{n:012}"),
            Ty::Inet => format!("10.0.0.{}/24", n % 250),
            Ty::Range => format!("[{n},{})", n + 5),
            Ty::Point => format!("({n},-0)"),
            Ty::Enum => ["sad", "fine", "Ha'ppy"][usize::try_from(n % 3).unwrap()].to_owned(),
            Ty::EnumArray => "{fine,sad}".to_owned(),
            Ty::Pair => format!("({n},\"x,y\")"),
        };
        format!("'{}'::{}", quoted.replace('\'', "''"), self.sql())
    }

    /// The same for all values that the type's `=` takes for equal.
    pub fn key_text(self, text: &str) -> String {
        match self {
            Ty::Numeric | Ty::Money2 if text.contains('.') => {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            // Of a target of a wider type.
            _ => text.to_owned(),
        }
    }
}
