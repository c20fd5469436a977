//! Loads all layers of the configuration.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::diagnostics::Diagnostics;
use super::error::{ConfigErrors, KeyPath, Origin};
use super::keys::{self, Crons, Known};
use super::layer::{Layer, Origins, text_in};
use super::locate::{self, FileText};
use super::merge::Stacks;
use super::password::{has_password, shared_password};
use super::request::Request;
use super::spec::{About, Config, Warning};
use super::validate::validate;
use crate::pg::login;

/// Variables that set a key begin with this; `TABLEFERRY_CONFIG` does not.
const VARIABLE_PREFIX: &str = "TABLEFERRY__";

/// Reads and validates the configuration.
///
/// *Errors:* everything that is wrong, in the order of the layers; no password is in it.
pub fn load(request: &Request) -> Result<Config, ConfigErrors> {
    let file = locate::main_file(request)?;
    let texts = locate::read(&file);
    assemble(file, texts, request)
}

/// The same of a text that is to become this file.
pub fn load_text(file: &Path, text: String, request: &Request) -> Result<Config, ConfigErrors> {
    let text = FileText {
        path: file.to_owned(),
        text: Ok(text),
        is_shared: false,
    };
    assemble(file.to_owned(), vec![text], request)
}

/// Where the daemon of this configuration lives, as far as that can be told when the configuration
/// is wrong: a daemon that runs with an earlier one can then still be asked.
pub fn runtime_dir(request: &Request) -> PathBuf {
    let files = locate::main_file(request)
        .map(|file| locate::read(&file))
        .unwrap_or_default();
    let in_files = files
        .into_iter()
        .filter_map(|file| text_in(&file.text.ok()?, "daemon", "runtime_dir"));
    let in_others = [variables(request), flags(request)]
        .map(Layer::from_texts)
        .into_iter()
        .filter_map(|layer| Some(layer.text("daemon", "runtime_dir")?.to_owned()));
    in_files
        .chain(in_others)
        .last()
        .map(PathBuf::from)
        .unwrap_or_else(|| locate::directories(request).runtime)
}

/// The same as [`load`], once the files are read.
pub(super) fn assemble(
    file: PathBuf,
    texts: Vec<FileText>,
    request: &Request,
) -> Result<Config, ConfigErrors> {
    let mut warnings = Vec::new();
    let mut layers = Vec::new();
    let mut crons = Crons::default();
    for FileText {
        path,
        text,
        is_shared,
    } in texts
    {
        let layer = match text {
            Ok(text) => Layer::from_toml(&path, &text, &mut crons),
            Err(error) => Layer::unreadable(&path, format!("cannot be read: {error}")),
        };
        if is_shared && layer.texts("servers", "conninfo").any(has_password) {
            warnings.push(Warning {
                about: About::All,
                text: shared_password(&path),
            });
        }
        layers.push(layer);
    }
    layers.push(Layer::from_texts(variables(request)));
    layers.push(Layer::from_texts(flags(request)));

    // What a file that is not TOML would have set is not known: nothing is "missing" then.
    let is_broken = layers.iter().any(|layer| layer.is_broken);
    let mut errors = Vec::new();
    let mut origins = Origins::new();
    let mut values = Vec::new();
    for mut layer in layers {
        errors.append(&mut layer.errors);
        merge_origins(&mut origins, layer.origins);
        values.push(layer.values);
    }
    if !is_broken {
        let mut diagnostics = Diagnostics::new(&origins);
        let own = locate::directories(request);
        let vars = request.env.iter().cloned().collect();
        let outside = login::outside(vars, request.uid.into());
        match validate(Stacks::new(values), file, &own, &outside, &mut diagnostics) {
            Ok(mut config) => {
                warnings.append(&mut diagnostics.warnings);
                if errors.is_empty() && diagnostics.errors.is_empty() {
                    config.warnings = warnings;
                    return Ok(config);
                }
            }
            Err(error) => {
                diagnostics.error(&KeyPath::default(), format!("a bug of tableferry: {error}"))
            }
        }
        errors.append(&mut diagnostics.errors);
    }
    errors.sort();
    Err(ConfigErrors(errors))
}

/// `TABLEFERRY__DAEMON__LISTEN` is `daemon.listen`.
fn variables(request: &Request) -> Vec<(KeyPath, String, Origin)> {
    let mut found: Vec<_> = request
        .env
        .iter()
        .filter_map(|(name, value)| {
            let keys = name.strip_prefix(VARIABLE_PREFIX)?.to_ascii_lowercase();
            let path = keys.split("__").collect();
            Some((path, value.clone(), Origin::Environment(name.clone())))
        })
        .collect();
    found.sort();
    found
}

fn flags(request: &Request) -> Vec<(KeyPath, String, Origin)> {
    request
        .overrides
        .iter()
        .map(|(key, text)| (path_of(key), text.clone(), Origin::CommandLine))
        .collect()
}

/// A path as TOML writes it.
fn path_of(dotted: &str) -> KeyPath {
    let setting = format!("{dotted} = 0");
    let Ok(root) = DeTable::parse(&setting) else {
        return KeyPath::default().child(dotted);
    };
    let mut path = KeyPath::default();
    let mut table = Some(root.get_ref());
    while let Some((name, value)) = table.and_then(|table| table.iter().next()) {
        path = path.child(name.get_ref());
        table = value.get_ref().as_table();
    }
    path
}

/// A value was set where it was set last; a table where its first key was.
fn merge_origins(merged: &mut Origins, layer: Origins) {
    if merged.is_empty() {
        *merged = layer;
        return;
    }
    for (path, origin) in layer {
        match keys::lookup(&path) {
            Known::Key(_) => {
                merged.insert(path, origin);
            }
            Known::Table | Known::Not => {
                merged.entry(path).or_insert(origin);
            }
        }
    }
}
