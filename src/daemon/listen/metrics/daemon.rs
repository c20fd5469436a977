//! Series of the daemon, of servers and of notifiers.

use std::fmt;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::families::{Families, as_f64, family, in_unit, unix};
use crate::daemon::observed::Observed;

impl Families<'_, '_> {
    pub fn daemon(&mut self, observed: &Observed) -> fmt::Result {
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        self.0
            .encode_descriptor(
                "tableferry_build",
                "Version of tableferry",
                None,
                MetricType::Info,
            )?
            .encode_info(&build)?;
        let reloads = &observed.reloads;
        self.single(
            in_unit(
                "tableferry_start_timestamp",
                Unit::Seconds,
                "When the daemon started, in Unix time",
            ),
            unix(observed.daemon_started_at),
        )?;
        self.single(
            family("tableferry_jobs", "Configured jobs"),
            as_f64(observed.config.jobs.len()),
        )?;
        self.single(
            family(
                "tableferry_running_jobs_limit",
                "Runs at once, as max_running_jobs says",
            ),
            as_f64(observed.config.daemon.max_running_jobs),
        )?;
        self.single(
            family(
                "tableferry_config_last_reload_successful",
                "Whether the last reload was accepted; 0 while the file differs from the configuration in force \
                 because it is wrong",
            ),
            f64::from(u8::from(!reloads.is_refused)),
        )?;
        self.single(
            in_unit(
                "tableferry_config_last_reload_success_timestamp",
                Unit::Seconds,
                "When the configuration in force was read, in Unix time",
            ),
            unix(reloads.accepted_at),
        )?;
        let results = [("accepted", reloads.accepted), ("refused", reloads.refused)];
        self.counter(
            family("tableferry_reloads", "Reloads of the configuration"),
            results
                .into_iter()
                .map(|(result, count)| ([("result", result)], count)),
        )
    }

    pub fn servers(&mut self, observed: &Observed) -> fmt::Result {
        let labelled = |name| [("server", name)];
        self.gauge(
            family(
                "tableferry_server_connections",
                "Connections that running jobs may use",
            ),
            (observed.servers.iter()).map(|server| {
                (
                    labelled(server.name.as_str()),
                    f64::from(server.connections),
                )
            }),
        )?;
        self.gauge(
            family(
                "tableferry_server_connections_limit",
                "Connections across all jobs, as max_connections says",
            ),
            (observed.servers.iter()).map(|server| {
                (
                    labelled(server.name.as_str()),
                    f64::from(server.connections_max),
                )
            }),
        )
    }

    pub fn notices(&mut self, observed: &Observed) -> fmt::Result {
        self.counter(
            family(
                "tableferry_notices",
                "Notices by result: sent, failed in all tries, replaced by a newer one of the same job before they were sent",
            ),
            (observed.notifiers.iter()).flat_map(|notifier| {
                let results = [
                    ("sent", notifier.sent),
                    ("failed", notifier.failed),
                    ("replaced", notifier.replaced),
                ];
                let name = notifier.notifier.as_str();
                results.map(|(result, count)| ([("notifier", name), ("result", result)], count))
            }),
        )?;
        self.gauge(
            family(
                "tableferry_notices_waiting",
                "Notices that are not sent yet",
            ),
            (observed.notifiers.iter()).map(|notifier| {
                (
                    [("notifier", notifier.notifier.as_str())],
                    as_f64(notifier.waiting),
                )
            }),
        )
    }
}
