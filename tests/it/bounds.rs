//! LIMITS.md names every bound there is, with its value.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A place in `src` and a constant's name.
type Constant = (String, String);

/// A row of the table: what it bounds, its value, the key that changes it, the constant.
struct Row {
    value: String,
    key: String,
    constant: Option<Constant>,
}

#[test]
fn every_row_of_the_table_of_limits_is_true() {
    let constants = constants();
    let example = fs::read_to_string(root().join("config/tableferry.toml")).unwrap();
    for Row {
        value,
        key,
        constant,
    } in rows()
    {
        let Some(constant) = constant else {
            let default = default_of(&example, &key)
                .unwrap_or_else(|| panic!("{key} is not in config/tableferry.toml"));
            let same = value == "none" || measure(&default) == measure(&value);
            assert!(same, "{key} is {default}, not {value}");
            continue;
        };
        let Some(written) = constants.get(&constant) else {
            panic!("there is no {} in src/{}", constant.1, constant.0);
        };
        // Whatever is no plain value, such as a struct, is only known to be there.
        if let Some(is) = evaluate(written) {
            let said = measure(&value).unwrap_or_else(|| panic!("{value}?"));
            assert_eq!(is, said, "{constant:?} is {written}, not {value}");
        }
    }
}

#[test]
fn no_bound_is_missing_in_the_table_of_limits() {
    let rows = rows();
    let missing: Vec<String> = constants()
        .into_iter()
        .filter(|((_, name), written)| {
            name.contains("_MAX")
                || name.contains("LOCK_SLICE")
                || written.contains("Duration::from")
        })
        .filter(|(constant, _)| {
            !rows
                .iter()
                .any(|row| row.constant.as_ref() == Some(constant))
        })
        .map(|((file, name), written)| format!("`{file}` `{name}` = {written}"))
        .collect();
    assert!(
        missing.is_empty(),
        "LIMITS.md lacks:\n{}",
        missing.join("\n")
    );
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("LIMITS.md")).unwrap();
    let rows: Vec<Row> = text.lines().filter_map(row).collect();
    assert!(rows.len() > 50, "{}", rows.len());
    rows
}

/// The time that LIMITS.md gives for a constant.
pub fn documented(file: &str, name: &str) -> Duration {
    let constant = Some((file.to_owned(), name.to_owned()));
    let row = rows().into_iter().find(|row| row.constant == constant);
    let millis = row.and_then(|row| measure(&row.value));
    Duration::from_millis(millis.unwrap_or_else(|| panic!("LIMITS.md lacks {file} {name}")))
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
    let [_, value, key, constant, _] = cells[..] else {
        panic!("not four cells: {line}");
    };
    if value == "value" || value.starts_with("---") {
        return None;
    }
    let code: Vec<&str> = constant.split('`').skip(1).step_by(2).collect();
    let constant = match code[..] {
        [] => None,
        [file, name] => Some((file.to_owned(), name.to_owned())),
        _ => panic!("not a file and a name: {line}"),
    };
    let key = key.replace('`', "");
    assert!(constant.is_some() || !key.is_empty(), "{line}");
    Some(Row {
        value: value.to_owned(),
        key,
        constant,
    })
}

/// What the example says of a key: `3` for `retry.max` in `#retry = { max = 3, … }`.
fn default_of(example: &str, key: &str) -> Option<String> {
    let name = format!("{} = ", key.rsplit('.').next()?);
    let after = |line: &str| {
        let at = line.find(&name)?;
        let longer = line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        (!longer).then(|| line[at + name.len()..].to_owned())
    };
    let value = example.lines().find_map(after)?;
    let value = value.split([',', '}', '#']).next()?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// All constants of the program, as they are written.
fn constants() -> BTreeMap<Constant, String> {
    let mut found = BTreeMap::new();
    let source = root().join("src");
    let mut directories = vec![source.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                constants_of(&source, &path, &mut found);
            }
        }
    }
    found
}

fn constants_of(source: &Path, path: &Path, found: &mut BTreeMap<Constant, String>) {
    let text = fs::read_to_string(path).unwrap();
    let program = text.split("\nmod tests {").next().unwrap();
    let file = path.strip_prefix(source).unwrap().display().to_string();
    if file.contains("tests") {
        return;
    }
    for (at, _) in program.match_indices("const ") {
        let line = &program[program[..at].rfind('\n').map_or(0, |end| end + 1)..at];
        let declared = line.trim().is_empty() || line.trim().starts_with("pub");
        let Some((name, rest)) = program[at + 6..].split_once(':') else {
            continue;
        };
        if declared && !name.contains(|c: char| !c.is_ascii_uppercase() && c != '_') {
            let written = rest.split_once('=').map_or("", |(_, value)| value);
            let written = written.split(';').next().unwrap_or_default().trim();
            found.insert((file.clone(), name.to_owned()), written.to_owned());
        }
    }
}

/// A constant's value, in milliseconds, bytes, or as a number.
fn evaluate(written: &str) -> Option<u64> {
    let product = |text: &str| -> Option<u64> {
        let text = text.replace('_', "");
        if let Some((number, shift)) = text.split_once("<<") {
            return Some(number.trim().parse::<u64>().ok()? << shift.trim().parse::<u32>().ok()?);
        }
        text.split('*')
            .map(|factor| factor.trim().parse::<u64>().ok())
            .product()
    };
    let units = [("secs", 1000), ("millis", 1), ("hours", 3_600_000)];
    for (unit, millis) in units {
        if let Some((_, number)) = written.split_once(&format!("Duration::from_{unit}(")) {
            return Some(product(number.strip_suffix(')')?)? * millis);
        }
    }
    match written.strip_prefix('"') {
        Some(text) => measure(text.trim_end_matches('"')),
        None => product(written),
    }
}

/// `5 s`, `64 KiB`, `10 000`: in milliseconds, bytes, or as a number.
fn measure(text: &str) -> Option<u64> {
    let text = text.replace(' ', "");
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text[..text.len() - unit.len()].parse().ok()?;
    Some(
        number
            * match unit {
                "" | "ms" | "B" => 1,
                "s" => 1000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" | "day" | "days" => 86_400_000,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                _ => return None,
            },
    )
}
