//! `/metrics`, in OpenMetrics. All series are made from what the event loop says at that moment, so those of a
//! job that a reload has removed are gone. Labels are names from the configuration, or of enums.

mod daemon;
mod families;
mod jobs_now;
mod jobs_so_far;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use crate::daemon::observed::Observed;
use families::Families;

/// All metrics, in OpenMetrics' text format.
pub(super) fn text(observed: Observed) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(observed));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut families = Families(&mut encoder);
        families.daemon(self)?;
        families.servers(self)?;
        families.notices(self)?;
        families.jobs_now(self)?;
        families.jobs_so_far(self)?;
        families.waits(self)?;
        families.durations(self)
    }
}
