//! Writes families of series.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::daemon::observed::{Observed, ObservedJob};

/// A family's name without its unit and suffix, and its help.
#[derive(Clone)]
pub(super) struct Family {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
}

pub(super) fn family(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        unit: None,
        help,
    }
}

pub(super) fn in_unit(name: &'static str, unit: Unit, help: &'static str) -> Family {
    Family {
        name,
        unit: Some(unit),
        help,
    }
}

pub(super) type Label<'v> = (&'static str, &'v str);
pub(super) struct Families<'e, 'w>(pub &'e mut DescriptorEncoder<'w>);

impl Families<'_, '_> {
    pub fn gauge<L: EncodeLabelSet>(
        &mut self,
        family: Family,
        values: impl Iterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut metric =
            (self.0).encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A family of one series without labels.
    pub fn single(&mut self, family: Family, value: f64) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut metric =
            (self.0).encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    pub fn counter<L: EncodeLabelSet>(
        &mut self,
        family: Family,
        values: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let Family { name, unit, help } = family;
        let mut metric =
            (self.0).encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in values {
            let mut series = metric.encode_family(&labels)?;
            series.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// One series for each job that has a value.
    pub fn each(
        &mut self,
        observed: &Observed,
        family: Family,
        value: impl Fn(&ObservedJob) -> Option<f64>,
    ) -> fmt::Result {
        let values = observed.jobs.iter();
        self.gauge(
            family,
            values.filter_map(|job| Some(([("job", job.status.job.as_str())], value(job)?))),
        )
    }
}

pub(super) fn unix(at: Timestamp) -> f64 {
    // Milliseconds are exact in a double.
    at.as_millisecond() as f64 / 1000.0
}

pub(super) fn as_f64(count: usize) -> f64 {
    count as f64
}
