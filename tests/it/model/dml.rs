//! Random changes of rows.

use super::case::{KEYS, Shape};
use crate::support::dice::Dice;

/// Values of `v` and `w`.
const TEXTS: [&str; 7] = [
    "NULL",
    "''",
    "'x'",
    "E'tab\\t'",
    "'\u{e4}'",
    "repeat('long ', 700)",
    "md5(random()::text)",
];

/// One statement. `a` and `b` are always written together.
pub fn statement(dice: &mut Dice, shape: &Shape) -> String {
    let number = key(dice);
    let is = shape.is(number);
    match dice.below(14) {
        0..=2 => insert(dice, shape, &[number], "DO NOTHING"),
        3 => {
            let keys = shape.key.join(", ");
            let update =
                format!("({keys}) DO UPDATE SET v = EXCLUDED.v, a = EXCLUDED.a, b = EXCLUDED.b");
            insert(dice, shape, &[number], &update)
        }
        4..=6 => format!("UPDATE t SET {} WHERE {is}", assignments(dice)),
        7 | 8 => format!("DELETE FROM t WHERE {is}"),
        9 | 10 => {
            let other = key(dice);
            let keys = shape.key.join(", ");
            let values = (shape.literals)(other).join(", ");
            format!(
                "UPDATE t SET ({keys}) = ROW({values}) WHERE {is} AND NOT EXISTS (SELECT FROM t WHERE {})",
                shape.is(other)
            )
        }
        11 => {
            let numbers: Vec<i64> = (number..number + 12).filter(|n| *n < LAST).collect();
            insert(dice, shape, &numbers, "DO NOTHING")
        }
        12 => format!(
            "UPDATE t SET {} WHERE a = {}",
            assignments(dice),
            dice.below(7)
        ),
        _ => {
            let numbers = number..number + 8;
            let these: Vec<String> = numbers.map(|n| format!("({})", shape.is(n))).collect();
            format!("DELETE FROM t WHERE {}", these.join(" OR "))
        }
    }
}

const LAST: i64 = KEYS as i64;

fn key(dice: &mut Dice) -> i64 {
    i64::try_from(dice.below(KEYS)).unwrap_or(0)
}

/// Rows with these keys.
pub fn insert(dice: &mut Dice, shape: &Shape, numbers: &[i64], conflict: &str) -> String {
    let rows: Vec<String> = numbers
        .iter()
        .map(|number| {
            let key = (shape.literals)(*number).join(", ");
            let pair = pair(dice);
            let (v, w) = (dice.one_of(&TEXTS), dice.one_of(&TEXTS[..3]));
            format!("({key}, {v}, {w}, {}, {pair}, {pair})", mood(dice))
        })
        .collect();
    format!(
        "INSERT INTO t ({}, v, w, m, a, b) VALUES {} ON CONFLICT {conflict}",
        shape.key.join(", "),
        rows.join(", ")
    )
}

fn assignments(dice: &mut Dice) -> String {
    let pair = pair(dice);
    let v = dice.one_of(&TEXTS);
    match dice.below(4) {
        0 => format!("a = {pair}, b = {pair}"),
        1 => format!("v = {v}"),
        2 => format!("v = {v}, m = {}, a = {pair}, b = {pair}", mood(dice)),
        _ => format!("w = {v}, a = {pair}, b = {pair}"),
    }
}

fn pair(dice: &mut Dice) -> String {
    match dice.below(8) {
        7 => "NULL".to_owned(),
        number => number.to_string(),
    }
}

/// One of the two labels that both sides have, whatever they are called.
fn mood(dice: &mut Dice) -> String {
    format!("(enum_range(NULL::mood))[{}]", 1 + dice.below(2))
}

/// The body of a transaction: statements, some of them in subtransactions that are kept or rolled back.
pub fn body(dice: &mut Dice, shape: &Shape) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..=dice.one_of(&[0, 2, 8]) {
        let one = statement(dice, shape);
        match dice.below(6) {
            0 => all.extend(["SAVEPOINT a".to_owned(), one, "ROLLBACK TO a".to_owned()]),
            1 => all.extend(["SAVEPOINT a".to_owned(), one, "RELEASE a".to_owned()]),
            2 => {
                let two = statement(dice, shape);
                let steps = [
                    "SAVEPOINT a",
                    &one,
                    "SAVEPOINT b",
                    &two,
                    "ROLLBACK TO b",
                    "RELEASE a",
                ];
                all.extend(steps.map(str::to_owned));
            }
            _ => all.push(one),
        }
    }
    all
}
