//! One layer of the configuration: a file, the environment, or the flags. Each is checked against the table of
//! keys and records where each value was set.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use config::{Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, KeyPath, Origin};
use super::keys::{self, Crons, Known, Node};
use super::unquoted::key_without_quotes;

/// Where each key and table was set.
pub(super) type Origins = BTreeMap<KeyPath, Origin>;

/// A table of values.
pub(super) type ConfigTable = Map<String, Value>;

/// What one layer sets. Values that do not fit are left out, and stand in `errors`.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub values: ConfigTable,
    pub origins: Origins,
    pub errors: Vec<ConfigError>,
    /// The file is not TOML: what it would have set is not known.
    pub is_broken: bool,
}

impl Layer {
    /// A file's layer.
    pub fn from_toml(path: &Path, text: &str, crons: &mut Crons) -> Layer {
        let mut layer = Layer::default();
        let mut file = TomlFile::new(path, text, crons);
        match DeTable::parse(text) {
            Ok(table) => {
                let table = table.into_inner();
                layer.read_table(table, Node::root(), &KeyPath::default(), &mut file);
            }
            // Its other mistakes are reported once it is TOML.
            Err(error) => {
                layer.is_broken = true;
                let start = start_of(&error);
                let message = match key_without_quotes(file.whole_line(start)) {
                    Some(key) => {
                        format!("not TOML: the value of `{key}` is a text and needs quotes")
                    }
                    None => format!("not TOML: {}", error.message()),
                };
                layer.errors.push(ConfigError {
                    origin: Some(file.column_of(start)),
                    key: KeyPath::default(),
                    message,
                });
            }
        }
        layer
    }

    /// A file that cannot be read.
    pub fn unreadable(path: &Path, message: String) -> Layer {
        let origin = Origin::File {
            path: path.into(),
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

    fn read_table(
        &mut self,
        table: DeTable<'_>,
        node: &'static Node,
        at: &KeyPath,
        file: &mut TomlFile,
    ) {
        for (name, value) in table {
            let path = at.child(name.get_ref());
            // A table's place is its header, if it has one.
            let place = if value.get_ref().is_table() {
                value.span()
            } else {
                name.span()
            };
            let origin = file.line_of(place.start);
            let Some(node) = self.resolve(node.child(name.get_ref()), &path, &origin) else {
                continue;
            };
            match node.known() {
                Known::Not => {}
                Known::Key(key) => {
                    match file.crons.check(key, &value) {
                        Ok(value) => self.set(&path, value),
                        Err(misfit) => {
                            let place = misfit.offset.map(|offset| file.line_of(offset));
                            let place = place.unwrap_or_else(|| origin.clone());
                            self.error(&path, &place, misfit.message);
                        }
                    }
                    self.origins.insert(path, origin);
                }
                Known::Table => match value.into_inner() {
                    DeValue::Table(inner) => {
                        self.set(&path, ConfigTable::new().into());
                        self.read_table(inner, node, &path, file);
                        self.origins.insert(path, origin);
                    }
                    other => {
                        let got = type_of(&other);
                        let message = format!("must be a table `[{path}]`, got {got}");
                        self.error(&path, &origin, message);
                    }
                },
            }
        }
    }

    fn read_text(&mut self, path: &KeyPath, text: &str, origin: &Origin) {
        let mut node = Node::root();
        let mut at = KeyPath::default();
        for name in path.names() {
            if let Known::Key(key) = node.known() {
                return self.error(&at, origin, key.kind.not("a table"));
            }
            at = at.child(name);
            match self.resolve(node.child(name), &at, origin) {
                Some(found) => node = found,
                None => return,
            }
            self.origins.insert(at.clone(), origin.clone());
        }
        match node.known() {
            Known::Not => {}
            Known::Table => self.error(path, origin, "is a table: set one of its keys".to_owned()),
            Known::Key(key) => match key.kind.check_text(text) {
                Ok(value) => self.set(path, value),
                Err(misfit) => self.error(path, origin, misfit.message),
            },
        }
    }

    /// Reports a path that leads nowhere or ends in a name of the wrong form.
    fn resolve(
        &mut self,
        node: Option<&'static Node>,
        path: &KeyPath,
        origin: &Origin,
    ) -> Option<&'static Node> {
        let Some(node) = node else {
            self.error(path, origin, keys::unknown(path));
            return None;
        };
        if let Some(syntax) = node.chosen_name()
            && !self.origins.contains_key(path)
            && let Err(reason) = (syntax.check)(path.last())
        {
            let colon = if reason.is_empty() { "" } else { ": " };
            let message = format!("the name must be {}{colon}{reason}", syntax.expected);
            self.error(path, origin, message);
        }
        Some(node)
    }

    fn error(&mut self, path: &KeyPath, origin: &Origin, message: String) {
        self.errors.push(ConfigError {
            origin: Some(origin.clone()),
            key: path.clone(),
            message,
        });
    }

    fn set(&mut self, path: &KeyPath, value: Value) {
        set_in(&mut self.values, path.names(), value);
    }
}

/// Puts a value where the path leads, and makes the tables on the way.
pub(super) fn set_in<'n>(
    mut table: &mut ConfigTable,
    path: impl DoubleEndedIterator<Item = &'n str>,
    value: Value,
) {
    let mut names = path;
    let Some(last) = names.next_back() else {
        return;
    };
    for name in names {
        let inner = table.entry(name.to_owned());
        let inner = inner.or_insert_with(|| ConfigTable::new().into());
        match &mut inner.kind {
            ValueKind::Table(inner) => table = inner,
            _ => return,
        }
    }
    table.insert(last.to_owned(), value);
}

/// The text of this key of this table of a file, whatever is wrong with the rest. In a file that is not
/// TOML, only what stands above the mistake counts.
pub(super) fn text_in(toml: &str, table_name: &str, key: &str) -> Option<String> {
    let table = DeTable::parse(toml).or_else(|error| {
        let above = toml
            .get(..start_of(&error))
            .and_then(|above| above.rsplit_once('\n'));
        DeTable::parse(above.map_or("", |(above, _)| above))
    });
    let table = table.ok()?.into_inner();
    let keys = table.get(table_name)?.get_ref().as_table()?;
    let text = keys.get(key)?.get_ref().as_str()?;
    (!text.trim().is_empty()).then(|| text.to_owned())
}

/// What stands where a table should.
fn type_of(value: &DeValue) -> &'static str {
    match value {
        DeValue::Array(list) if list.iter().any(|e| e.get_ref().is_table()) => "array of tables",
        other => other.type_str(),
    }
}

/// The byte at which it is no TOML.
fn start_of(error: &toml::de::Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

/// A file, to turn byte offsets into places.
struct TomlFile<'f> {
    path: Arc<Path>,
    text: &'f str,
    /// The byte after each line break.
    line_starts: Vec<usize>,
    crons: &'f mut Crons,
}

impl<'f> TomlFile<'f> {
    fn new(path: &Path, text: &'f str, crons: &'f mut Crons) -> Self {
        TomlFile {
            path: path.into(),
            text,
            line_starts: text.match_indices('\n').map(|(at, _)| at + 1).collect(),
            crons,
        }
    }

    fn line_of(&self, offset: usize) -> Origin {
        Origin::File {
            path: self.path.clone(),
            line: self.line_starts.partition_point(|start| *start <= offset) + 1,
            column: 0,
        }
    }

    /// The line that holds this byte.
    fn whole_line(&self, offset: usize) -> &'f str {
        let breaks = self.line_starts.partition_point(|start| *start <= offset);
        let start = breaks.checked_sub(1).map_or(0, |at| self.line_starts[at]);
        let line = self.text.get(start..).unwrap_or_default();
        line.lines().next().unwrap_or_default()
    }

    fn column_of(&self, offset: usize) -> Origin {
        let breaks = self.line_starts.partition_point(|start| *start <= offset);
        let start = breaks.checked_sub(1).map_or(0, |at| self.line_starts[at]);
        let before = self.text.get(start..offset).unwrap_or_default();
        Origin::File {
            path: self.path.clone(),
            line: breaks + 1,
            column: before.chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "[daemon]\nruntime_dir = '/a'\nlog = 3\n[jobs.x]\nmode = 7",
        Some("/a")
    )]
    #[case("daemon.runtime_dir = '/a'\n[jobs.x", Some("/a"))]
    #[case("[jobs.x\n[daemon]\nruntime_dir = '/a'", None)]
    #[case("[daemon]\nruntime_dir = ''", None)]
    #[case("[daemon]\nruntime_dir = 3", None)]
    #[case("daemon = 3", None)]
    fn one_text_of_a_file_that_may_be_wrong(#[case] toml: &str, #[case] expected: Option<&str>) {
        assert_eq!(text_in(toml, "daemon", "runtime_dir").as_deref(), expected);
    }
}
