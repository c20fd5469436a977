//! How many runs may be active at once: in all, and by the connections of each server.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Connections;
use crate::config::spec::{Config, JobSpec};

/// The connections that a run takes, by server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs(BTreeMap<String, u32>);

impl Needs {
    /// The connections of a run of `job`. If it needs more than the `max_connections` of a server, it gets
    /// all of them; otherwise it would never start.
    pub fn new(config: &Config, job: &JobSpec, connections: Connections) -> Self {
        let mut needs = BTreeMap::new();
        let Connections { source, target } = connections;
        let sources = job.sources().map(|server| (server, source));
        for (server, count) in sources.chain([(job.target.as_str(), target)]) {
            *needs.entry(server.to_owned()).or_insert(0) += count;
        }
        for (server, count) in &mut needs {
            *count = (*count).min(max_connections(config, server));
        }
        Needs(needs)
    }

    /// The connections to this server.
    #[cfg(test)]
    pub fn of(&self, server: &str) -> u32 {
        self.0.get(server).copied().unwrap_or(0)
    }
}

/// The permits that running jobs hold.
#[derive(Clone, Debug, Default)]
pub struct Permits {
    runs: usize,
    connections: BTreeMap<String, u32>,
}

impl Permits {
    /// May one more run start, whatever its servers?
    pub fn has_run(&self, config: &Config) -> bool {
        self.runs < config.daemon.max_running_jobs
    }

    /// Takes all connections that the run needs, or none. If it takes none, the servers that lack
    /// connections are added to `short`, and no later run may take connections of those servers.
    ///
    /// So each server serves runs in their order, a run that needs many connections is not overtaken for
    /// ever by runs that need few, and a server without free connections delays only its own jobs.
    pub fn take(&mut self, config: &Config, needs: &Needs, short: &mut BTreeSet<String>) -> bool {
        let mut free = self.has_run(config);
        for (server, count) in &needs.0 {
            let limit = max_connections(config, server);
            if self.in_use(server).saturating_add(*count) > limit {
                short.insert(server.clone());
            }
            free &= !short.contains(server);
        }
        if free {
            self.runs += 1;
            for (server, count) in &needs.0 {
                *self.connections.entry(server.clone()).or_insert(0) += count;
            }
        }
        free
    }

    /// Gives back what a run took.
    pub fn give_back(&mut self, needs: &Needs) {
        self.runs = self.runs.saturating_sub(1);
        for (server, count) in &needs.0 {
            if let Some(used) = self.connections.get_mut(server) {
                *used = used.saturating_sub(*count);
                if *used == 0 {
                    self.connections.remove(server);
                }
            }
        }
    }

    /// The connections to this server that are in use.
    pub fn in_use(&self, server: &str) -> u32 {
        self.connections.get(server).copied().unwrap_or(0)
    }
}

fn max_connections(config: &Config, server: &str) -> u32 {
    config.servers.get(server).map_or(1, |s| s.max_connections)
}
