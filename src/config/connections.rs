//! The number of connections that a job needs, and of workers that its servers' limits allow.

use std::collections::BTreeMap;

use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::raw::RawServer;
use super::spec::{Compare, JobSpec, Mode, OnError};

/// The connections of a run for as long as it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// To the server that is read.
    pub source: u32,
    /// To the server that is written.
    pub target: u32,
}

impl JobSpec {
    /// The workers that load, side by side. One transaction is written through one connection, so
    /// there are several only where something else than the target itself is loaded.
    pub fn loaders(&self) -> u32 {
        match self.mode {
            // Rows are judged one after the other, in one transaction.
            _ if self.on_error == OnError::Quarantine => 1,
            Mode::Swap | Mode::Merge | Mode::Upsert => self.workers.max(1),
            Mode::Append | Mode::Truncate => 1,
        }
    }

    /// The connections that a run takes.
    pub fn connections(&self) -> Connections {
        let loaders = self.loaders();
        Connections {
            source: loaders,
            target: loaders.saturating_add(self.besides(loaders)),
        }
    }

    /// The target's connections that load nothing: with several workers, the one that publishes; with
    /// `atomic = false`, the one that holds the advisory lock of the job; and the one that reads the target, or the
    /// rows that a run that died has loaded, while both sides are compared.
    fn besides(&self, loaders: u32) -> u32 {
        u32::from(loaders > 1)
            + u32::from(!self.atomic)
            + u32::from(self.may_stream() || self.resume)
    }

    /// May tables be compared by reading both sides at the same time?
    pub fn may_stream(&self) -> bool {
        let wanted = match self.mode {
            Mode::Merge => self.compare != Compare::Full,
            Mode::Upsert => self.compare == Compare::Stream,
            Mode::Append | Mode::Truncate | Mode::Swap => false,
        };
        // Another connection does not see what these statements write.
        wanted
            && self.sql.before_load.is_empty()
            && self.loaders() == 1
            && self.on_error == OnError::Abort
    }
}

/// Takes as many workers as the servers have connections for, and says so where those are fewer than
/// configured. Not an error: a server's limit must not keep its jobs from running.
pub(super) fn fit(
    job: &mut JobSpec,
    servers: &BTreeMap<String, RawServer>,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) {
    let limit = |name: &str| servers.get(name).map_or(u32::MAX, |s| s.max_connections);
    if job.may_stream() {
        give_up_streaming(job, limit, path, diagnostics);
    }
    let wanted = job.connections();
    let besides = job.besides(job.loaders());
    let (short, needed, most) = if job.source == job.target {
        let needed = wanted.source.saturating_add(wanted.target);
        let most = limit(&job.source).saturating_sub(besides) / 2;
        (&job.source, needed, most)
    } else {
        let of_target = limit(&job.target).saturating_sub(besides);
        match limit(&job.source) {
            of_source if of_source < of_target => (&job.source, wanted.source, of_source),
            _ => (&job.target, wanted.target, of_target),
        }
    };
    let most = most.max(1);
    if job.loaders() <= most {
        return;
    }
    let message = format!(
        "{} workers take {needed} connections to server `{short}`, whose `max_connections` is {}: only \
         {most} will work",
        job.workers,
        limit(short)
    );
    diagnostics.warn(&path.child("workers"), message);
    if job.resume && most < 2 {
        let message = "needs connections for two workers: raise `max_connections` of the server";
        diagnostics.error(&path.child("resume"), message);
    }
    job.workers = most;
}

/// Without a connection to read the target beside the one that writes it, all of the source is staged.
fn give_up_streaming(
    job: &mut JobSpec,
    limit: impl Fn(&str) -> u32,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) {
    let wanted = job.connections();
    let needed = match job.source == job.target {
        true => wanted.source.saturating_add(wanted.target),
        false => wanted.target,
    };
    if needed <= limit(&job.target) {
        return;
    }
    if matches!(job.compare, Compare::Stream | Compare::Changed) {
        let name = if job.compare == Compare::Stream {
            "stream"
        } else {
            "changed"
        };
        let message = format!(
            "`compare = \"{name}\"` takes {needed} connections to server `{}`, whose `max_connections` is {}",
            job.target,
            limit(&job.target)
        );
        diagnostics.error(&path.child("compare"), message);
    }
    job.compare = Compare::Full;
}
