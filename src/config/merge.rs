//! Merges the layers with the `config` crate, one server or job at a time: merging thousands of jobs at once
//! would keep three copies of them in memory.

use std::collections::{BTreeMap, BTreeSet};

use config::{Config, ConfigError, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::keys::{DEFAULTS, KEYS};
use super::layer::{ConfigTable, set_in};
use super::raw::{RawJob, RawNotifier, RawRoot, RawServer};

/// What the layers set in one table, the last layer last.
type Stack = Vec<ConfigTable>;

/// All that the layers set, by table.
pub(super) struct Stacks {
    defaults: Defaults,
    root: Stack,
    servers: BTreeMap<String, Stack>,
    /// `[defaults]`.
    of_all_jobs: Stack,
    jobs: BTreeMap<String, Stack>,
    notifiers: BTreeMap<String, Stack>,
}

impl Stacks {
    /// Sorts the layers' values by table.
    pub fn new(layers: impl IntoIterator<Item = ConfigTable>) -> Stacks {
        let mut stacks = Stacks {
            defaults: Defaults::new(),
            root: Stack::new(),
            servers: BTreeMap::new(),
            of_all_jobs: Stack::new(),
            jobs: BTreeMap::new(),
            notifiers: BTreeMap::new(),
        };
        for mut layer in layers {
            push_all(&mut stacks.servers, layer.remove("servers"));
            push_all(&mut stacks.jobs, layer.remove("jobs"));
            if let Some(ValueKind::Table(table)) = layer.remove(DEFAULTS).map(|value| value.kind) {
                stacks.of_all_jobs.push(table);
            }
            push_all(&mut stacks.notifiers, layer.remove("notify"));
            stacks.root.push(layer);
        }
        stacks
    }

    /// What stands in no server and no job.
    pub fn root(&mut self) -> Result<RawRoot, ConfigError> {
        let stack = std::mem::take(&mut self.root);
        typed(self.defaults.of(""), stack)
    }

    /// Every server.
    pub fn servers(&mut self) -> Result<BTreeMap<String, RawServer>, ConfigError> {
        let stacks = std::mem::take(&mut self.servers);
        stacks
            .into_iter()
            .map(|(name, stack)| Ok((name, typed(self.defaults.of("servers.<server>"), stack)?)))
            .collect()
    }

    /// Every notifier.
    pub fn notifiers(&mut self) -> Result<BTreeMap<String, RawNotifier>, ConfigError> {
        let stacks = std::mem::take(&mut self.notifiers);
        stacks
            .into_iter()
            .map(|(name, stack)| Ok((name, typed(self.defaults.of("notify.<notifier>"), stack)?)))
            .collect()
    }

    /// A job of which nothing is set.
    pub fn job_of_defaults(&self) -> Result<RawJob, ConfigError> {
        typed(self.defaults.of("jobs.<job>"), Stack::new())
    }

    /// The jobs' names.
    pub fn job_names(&self) -> BTreeSet<String> {
        self.jobs.keys().cloned().collect()
    }

    /// Takes the first of the jobs that are left. What it does not set itself is as in `[defaults]`.
    pub fn next_job(&mut self) -> Option<(String, Result<RawJob, ConfigError>)> {
        let (name, stack) = self.jobs.pop_first()?;
        let mut defaults = self.defaults.of("jobs.<job>");
        for layer in &stack {
            for relation in table(layer.get("table")).flat_map(ConfigTable::keys) {
                let inner = self.defaults.of("jobs.<job>.table.<relation>");
                set_in(&mut defaults, ["table", relation].into_iter(), inner.into());
            }
        }
        let mut layers = self.of_all_jobs.clone();
        // These exclude each other: a job that sets one of them has none of the others.
        const SCHEDULES: [&str; 2] = ["cron", "every"];
        let is_scheduled =
            |layer: &ConfigTable| SCHEDULES.iter().any(|key| layer.contains_key(*key));
        if stack.iter().any(is_scheduled) {
            for layer in &mut layers {
                layer.retain(|key, _| !SCHEDULES.contains(&key.as_str()));
            }
        }
        layers.extend(stack);
        Some((name, typed(defaults, layers)))
    }
}

/// The tables in this one, each on top of those of its name.
fn push_all(stacks: &mut BTreeMap<String, Stack>, tables: Option<Value>) {
    let Some(ValueKind::Table(tables)) = tables.map(|value| value.kind) else {
        return;
    };
    for (name, value) in tables {
        if let ValueKind::Table(table) = value.kind {
            stacks.entry(name).or_default().push(table);
        }
    }
}

fn table(value: Option<&Value>) -> impl Iterator<Item = &ConfigTable> {
    value.into_iter().filter_map(|value| match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    })
}

fn typed<T: DeserializeOwned>(defaults: ConfigTable, stack: Stack) -> Result<T, ConfigError> {
    let bottom = Config::builder().add_source(Source(defaults));
    stack
        .into_iter()
        .fold(bottom, |builder, layer| builder.add_source(Source(layer)))
        .build()?
        .try_deserialize()
}

#[derive(Clone, Debug)]
struct Source(ConfigTable);

impl config::Source for Source {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<ConfigTable, ConfigError> {
        Ok(self.0.clone())
    }
}

/// The defaults, by the path up to the last name that the user chooses.
struct Defaults(BTreeMap<&'static str, ConfigTable>);

impl Defaults {
    fn new() -> Defaults {
        let mut tables: BTreeMap<&str, ConfigTable> = BTreeMap::new();
        for key in KEYS {
            if let Some(value) = key.default.and_then(|text| key.kind.check_text(text).ok()) {
                let (place, rest) = key.split();
                set_in(tables.entry(place).or_default(), rest.split('.'), value);
            }
        }
        Defaults(tables)
    }

    fn of(&self, place: &str) -> ConfigTable {
        self.0.get(place).cloned().unwrap_or_default()
    }
}
