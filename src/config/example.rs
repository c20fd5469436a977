//! Checks `config/tableferry.toml` against the table of keys.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::KeyPath;
use super::keys::{self, Crons, KEYS, Known};
use super::layer::Layer;
use super::load::load;
use super::request::Request;
use super::spec::About;

const EXAMPLE: &str = include_str!("../../config/tableferry.toml");

/// The example with its optional keys, in place of what excludes them.
fn with_optional_keys() -> String {
    let is_key = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
    EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if is_key(key) => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn the_example_loads() {
    let request = Request {
        explicit: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tableferry.toml")),
        ..Request::default()
    };
    let config = load(&request).unwrap_or_else(|errors| panic!("{errors}"));
    // The files that it names are not here.
    let about: Vec<_> = config
        .warnings
        .iter()
        .map(|warning| &warning.about)
        .collect();
    let of = |server: &str| About::Server(server.to_owned());
    assert_eq!(about, [&of("shop"), &of("warehouse")]);
    assert_eq!(config.jobs["catalogue"].table.len(), 1);
}

#[test]
fn the_example_shows_every_key_and_no_other() {
    let text = with_optional_keys();
    let layer = Layer::from_toml(Path::new("example"), &text, &mut Crons::default());
    assert_eq!(layer.errors, []);
    let is =
        |path: &KeyPath, key| matches!(keys::lookup(path), Known::Key(found) if found.path == key);
    for key in KEYS {
        let shown = layer.origins.keys().any(|path| is(path, key.path));
        assert!(shown, "config/tableferry.toml does not show {}", key.path);
    }
}

#[test]
fn the_example_shows_the_defaults() {
    let text = with_optional_keys();
    let document = DeTable::parse(&text).unwrap();
    let mut compared = 0;
    compare_defaults(document.get_ref(), &KeyPath::default(), &mut compared);
    assert_eq!(
        compared,
        KEYS.iter().filter(|key| key.default.is_some()).count()
    );
}

fn compare_defaults(table: &DeTable, at: &KeyPath, compared: &mut usize) {
    for (name, item) in table.iter() {
        let path = at.child(name.get_ref());
        match (keys::lookup(&path), item.get_ref()) {
            (Known::Table, DeValue::Table(inner)) => compare_defaults(inner, &path, compared),
            (Known::Key(key), _) => {
                if let Some(default) = key.default {
                    let (shown, default) = (key.kind.check(item), key.kind.check_text(default));
                    assert_eq!(
                        shown.ok().unwrap().kind,
                        default.ok().unwrap().kind,
                        "{path}"
                    );
                    *compared += 1;
                }
            }
            _ => panic!("{path}"),
        }
    }
}
