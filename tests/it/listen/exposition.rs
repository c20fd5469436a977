//! A strict reader of Prometheus' text format and of OpenMetrics. It checks what promtool checks, and runs where
//! promtool is not installed.

use std::collections::{BTreeMap, BTreeSet};

/// All series of an answer, by name and labels as they are written: `tableferry_jobs{}`.
#[derive(Debug)]
pub struct Exposition {
    pub series: BTreeMap<String, f64>,
    families: BTreeMap<String, String>,
}

impl Exposition {
    #[track_caller]
    pub fn parse(text: &str, is_open_metrics: bool) -> Self {
        let mut found = Exposition {
            series: BTreeMap::new(),
            families: BTreeMap::new(),
        };
        let (mut current, mut helped) = (String::new(), BTreeSet::new());
        let mut lines = text.lines().peekable();
        assert!(text.ends_with('\n'));
        while let Some(line) = lines.next() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (what, name) = (words.next().unwrap(), words.next().unwrap_or_default());
                let rest = words.next().unwrap_or_default();
                match what {
                    "HELP" => {
                        assert!(!rest.is_empty(), "no help: {line}");
                        assert!(helped.insert(name.to_owned()), "twice: {line}");
                    }
                    "TYPE" => {
                        current = name.to_owned();
                        let known = found.families.insert(name.to_owned(), rest.to_owned());
                        assert_eq!(known, None, "twice: {line}");
                        assert!(helped.contains(name), "no help: {line}");
                        check_name(name, rest, is_open_metrics);
                    }
                    "UNIT" => assert!(is_open_metrics && name.ends_with(rest), "{line}"),
                    "EOF" => assert!(is_open_metrics && lines.peek().is_none(), "{line}"),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let family = name.split('{').next().unwrap();
            let kind = &found.families[&current];
            let suffixes: &[&str] = match (kind.as_str(), is_open_metrics) {
                ("counter", true) => &["_total"],
                ("info", true) => &["_info"],
                ("histogram", _) => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            let is_of = |suffix: &str| family == format!("{current}{suffix}");
            assert!(
                suffixes.iter().any(|suffix| is_of(suffix)),
                "{line} in {current}"
            );
            check_labels(name, line);
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(kind != "counter" || value >= 0.0, "{line}");
            let before = found.series.insert(name.to_owned(), value);
            assert_eq!(before, None, "twice: {line}");
        }
        assert!(!is_open_metrics || text.ends_with("# EOF\n"));
        found.check_histograms();
        found
    }

    /// The value of a series.
    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        *self
            .series
            .get(series)
            .unwrap_or_else(|| panic!("no {series} in {:#?}", self.series))
    }

    /// The names of all families.
    pub fn families(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(String::as_str)
    }

    fn check_histograms(&self) {
        for (series, count) in &self.series {
            let Some((name, labels)) = series.split_once("_count{") else {
                continue;
            };
            let prefix = format!("{name}_bucket{{");
            let own = labels.trim_end_matches('}');
            let buckets: Vec<f64> = self
                .series
                .iter()
                .filter(|(series, _)| series.starts_with(&prefix) && series.contains(own))
                .map(|(_, value)| *value)
                .collect();
            assert!(!buckets.is_empty(), "{series}");
            assert_eq!(
                buckets.iter().copied().fold(0.0, f64::max),
                *count,
                "{series}"
            );
            let all = format!("{name}_bucket{{");
            let infinite = self.series.keys().any(|series| {
                series.starts_with(&all) && series.contains(own) && series.contains("le=\"+Inf\"")
            });
            assert!(infinite, "{series}");
        }
    }
}

fn check_name(name: &str, kind: &str, is_open_metrics: bool) {
    assert!(name.starts_with("tableferry_"), "{name}");
    assert!(
        name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
        "{name}"
    );
    for unit in [
        "milliseconds",
        "_ms",
        "_kb",
        "_minutes",
        "_hours",
        "_percent",
    ] {
        assert!(!name.contains(unit), "not a base unit: {name}");
    }
    assert_eq!(
        name.ends_with("_total"),
        kind == "counter" && !is_open_metrics,
        "{name}"
    );
    let kinds = ["counter", "gauge", "histogram", "info"];
    assert!(kinds.contains(&kind), "{kind}");
}

/// Values are those that need no escape here: names of the configuration, and enums.
fn check_labels(series: &str, line: &str) {
    let Some((_, labels)) = series.split_once('{') else {
        return;
    };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
        let known = [
            "job", "outcome", "trigger", "kind", "server", "reason", "format", "compare", "result",
            "version", "le", "notifier",
        ];
        assert!(known.contains(&name), "{line}");
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.+".contains(c);
        assert!(value.is_some_and(|v| v.chars().all(is_plain)), "{line}");
    }
}
