//! One layer of the configuration: a file, the environment, the flags, or the defaults; checked
//! against the table of keys, with the place of everything it sets.

use std::collections::BTreeMap;
use std::path::Path;

use config::{Map, Value, ValueKind};
use toml_edit::{Document, Item, TableLike};

use super::error::{ConfigError, KeyPath, Origin};
use super::keys::{self, KEYS, Known};

/// Where each key and table was set.
pub(super) type Origins = BTreeMap<KeyPath, Origin>;

/// What one layer sets. Values that do not fit are left out, and stand in `errors`.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    values: Map<String, Value>,
    pub origins: Origins,
    pub errors: Vec<ConfigError>,
    /// The file is not TOML: what it would have set is not known.
    pub is_broken: bool,
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.values.clone())
    }
}

impl Layer {
    /// A file's layer.
    pub fn from_toml(path: &Path, text: &str) -> Layer {
        let mut layer = Layer::default();
        let file = TomlFile::new(path, text);
        match Document::parse(text) {
            Ok(document) => layer.read_table(document.as_table(), &KeyPath::default(), &file),
            Err(error) => {
                layer.is_broken = true;
                let start = error.span().map_or(0, |span| span.start);
                // What stands above the error may still say where the daemon lives.
                let above = text.get(..start).and_then(|above| above.rsplit_once('\n'));
                if let Some((above, _)) = above
                    && let Ok(document) = Document::parse(above)
                {
                    layer.read_table(document.as_table(), &KeyPath::default(), &file);
                    // Its other mistakes are reported once it is TOML.
                    layer.errors.clear();
                }
                layer.errors.push(ConfigError {
                    origin: Some(file.column_of(start)),
                    key: KeyPath::default(),
                    message: format!("not TOML: {}", error.message()),
                });
            }
        }
        layer
    }

    /// A file that cannot be read.
    pub fn unreadable(path: &Path, message: String) -> Layer {
        let origin = Origin::File {
            path: path.to_owned(),
            line: 0,
            column: 0,
        };
        Layer {
            is_broken: true,
            errors: vec![ConfigError {
                origin: Some(origin),
                key: KeyPath::default(),
                message,
            }],
            ..Layer::default()
        }
    }

    /// The layer of the environment or of flags: paths, texts, and where they come from.
    pub fn from_texts(settings: impl IntoIterator<Item = (KeyPath, String, Origin)>) -> Layer {
        let mut layer = Layer::default();
        for (path, text, origin) in settings {
            layer.read_text(&path, &text, &origin);
        }
        layer
    }

    /// The layer of defaults, for the servers, jobs and tables that other layers name.
    pub fn defaults(named: &Origins) -> Layer {
        let mut layer = Layer::default();
        let root = KeyPath::default();
        // By place, for there are few of those and there may be thousands of jobs.
        let mut places: BTreeMap<&str, Vec<(&str, Value)>> = BTreeMap::new();
        for key in KEYS {
            if let Some(value) = key.default.and_then(|text| key.kind.check_text(text).ok()) {
                let (place, rest) = key.split();
                places.entry(place).or_default().push((rest, value));
            }
        }
        for (place, defaults) in places {
            for table in named
                .keys()
                .chain([&root])
                .filter(|t| keys::is_at(place, t))
            {
                for (rest, value) in &defaults {
                    let path = rest.split('.').fold(table.clone(), |p, s| p.child(s));
                    layer.set(&path, value.clone());
                }
            }
        }
        layer
    }

    /// The text of this key of a table that is no table of tables.
    pub fn text(&self, table: &str, key: &str) -> Option<&str> {
        let ValueKind::Table(keys) = &self.values.get(table)?.kind else {
            return None;
        };
        match &keys.get(key)?.kind {
            ValueKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The texts of this key in every table of this kind, e.g. every server's conninfo.
    pub fn texts<'l>(&'l self, table: &str, key: &'l str) -> impl Iterator<Item = &'l str> {
        let named = match self.values.get(table).map(|value| &value.kind) {
            Some(ValueKind::Table(named)) => Some(named.values()),
            _ => None,
        };
        named
            .into_iter()
            .flatten()
            .filter_map(move |entry| match &entry.kind {
                ValueKind::Table(keys) => match &keys.get(key)?.kind {
                    ValueKind::String(text) => Some(text.as_str()),
                    _ => None,
                },
                _ => None,
            })
    }

    fn read_table(&mut self, table: &dyn TableLike, at: &KeyPath, file: &TomlFile) {
        for (name, item) in table.iter() {
            let path = at.child(name);
            let header = match item {
                Item::Table(table) if !table.is_implicit() => table.span(),
                _ => None,
            };
            let span = table.key(name).and_then(|key| key.span());
            let origin = file.line_of(header.or(span).map_or(0, |span| span.start));
            match self.resolve(&path, &origin) {
                Known::Not => {}
                Known::Table => match item.as_table_like() {
                    Some(inner) => {
                        self.origins.insert(path.clone(), origin);
                        self.set(&path, Map::<String, Value>::new().into());
                        self.read_table(inner, &path, file);
                    }
                    None => {
                        let got = item.type_name();
                        let message = format!("must be a table `[{path}]`, got {got}");
                        self.error(&path, &origin, message);
                    }
                },
                Known::Key(key) => {
                    self.origins.insert(path.clone(), origin.clone());
                    match item.as_value().map(|value| key.kind.check(value)) {
                        Some(Ok(value)) => self.set(&path, value),
                        Some(Err(misfit)) => {
                            let place = misfit.offset.map(|offset| file.line_of(offset));
                            self.error(&path, &place.unwrap_or(origin), misfit.message);
                        }
                        None => self.error(&path, &origin, key.kind.not("a table")),
                    }
                }
            }
        }
    }

    fn read_text(&mut self, path: &KeyPath, text: &str, origin: &Origin) {
        for depth in 1..path.0.len() {
            let table = KeyPath(path.0[..depth].to_vec());
            match self.resolve(&table, origin) {
                Known::Table => self.origins.insert(table, origin.clone()),
                Known::Key(key) => return self.error(&table, origin, key.kind.not("a table")),
                Known::Not => return,
            };
        }
        match self.resolve(path, origin) {
            Known::Not => {}
            Known::Table => self.error(path, origin, "is a table: set one of its keys".to_owned()),
            Known::Key(key) => {
                self.origins.insert(path.clone(), origin.clone());
                match key.kind.check_text(text) {
                    Ok(value) => self.set(path, value),
                    Err(misfit) => self.error(path, origin, misfit.message),
                }
            }
        }
    }

    /// Looks the path up, and reports it when it is unknown or ends in a name of the wrong form.
    fn resolve(&mut self, path: &KeyPath, origin: &Origin) -> Known {
        let known = keys::lookup(path);
        if matches!(known, Known::Not) {
            self.error(path, origin, keys::unknown(path));
        } else if !self.origins.contains_key(path)
            && let Some(syntax) = keys::chosen_name(path)
            && let Err(reason) = (syntax.check)(path.last())
        {
            let colon = if reason.is_empty() { "" } else { ": " };
            let message = format!("the name must be {}{colon}{reason}", syntax.expected);
            self.error(path, origin, message);
        }
        known
    }

    fn error(&mut self, path: &KeyPath, origin: &Origin, message: String) {
        self.errors.push(ConfigError {
            origin: Some(origin.clone()),
            key: path.clone(),
            message,
        });
    }

    fn set(&mut self, path: &KeyPath, value: Value) {
        set_in(&mut self.values, &path.0, value);
    }
}

/// Puts a value where the path leads, and makes the tables on the way.
fn set_in(table: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = table
                .entry(first.clone())
                .or_insert_with(|| Map::<String, Value>::new().into());
            if let ValueKind::Table(inner) = &mut inner.kind {
                set_in(inner, rest, value);
            }
        }
    }
}

/// A file, to turn byte offsets into places.
struct TomlFile<'f> {
    path: &'f Path,
    text: &'f str,
    /// The byte after each line break.
    line_starts: Vec<usize>,
}

impl<'f> TomlFile<'f> {
    fn new(path: &'f Path, text: &'f str) -> Self {
        TomlFile {
            path,
            text,
            line_starts: text.match_indices('\n').map(|(at, _)| at + 1).collect(),
        }
    }

    fn line_of(&self, offset: usize) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: self.line_starts.partition_point(|start| *start <= offset) + 1,
            column: 0,
        }
    }

    fn column_of(&self, offset: usize) -> Origin {
        let breaks = self.line_starts.partition_point(|start| *start <= offset);
        let start = breaks.checked_sub(1).map_or(0, |at| self.line_starts[at]);
        let before = self.text.get(start..offset).unwrap_or_default();
        Origin::File {
            path: self.path.to_owned(),
            line: breaks + 1,
            column: before.chars().count() + 1,
        }
    }
}
