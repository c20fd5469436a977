//! `deploy/prometheus-rules.yml` and `deploy/grafana.json`: the series that they name are those of the daemon, and
//! the rules fire when they should.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::exposition::Exposition;
use super::metrics::promtool;
use super::{client, listening_home, tables};
use crate::support::daemon::{Daemon, truncate_job};
use crate::support::service::left_out;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All words that begin like a series' name.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    text.split(|c: char| !is_part(c))
        .filter(|word| word.starts_with("tableferry_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn rules_and_dashboard_name_series_that_the_daemon_has() {
    let db = tables("rules");
    let home = listening_home(&db, &truncate_job("j", ""));
    let daemon = Daemon::start(&home);
    let exposition = Exposition::parse(&client(&daemon).text("/metrics"), false);
    let families: BTreeSet<&str> = exposition.families().collect();
    for file in ["deploy/prometheus-rules.yml", "deploy/grafana.json"] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let named = names(&text);
        assert!(named.len() > 5, "{named:?}");
        for name in named {
            let family = name.strip_suffix("_bucket").unwrap_or(&name);
            assert!(
                families.contains(family),
                "{file}: {name} is none of {families:?}"
            );
        }
    }
    daemon.stop();
}

#[test]
fn the_dashboard_is_json_with_panels_that_have_queries() {
    let text = fs::read_to_string(root().join("deploy/grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        assert!(panel["targets"][0]["expr"].is_string(), "{panel}");
    }
}

#[test]
fn rules_fire_when_they_should() {
    let Some(mut check) = promtool() else {
        return left_out("promtool test rules", "promtool is not installed");
    };
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("prometheus-rules.yml");
    fs::copy(root().join("deploy/prometheus-rules.yml"), &rules).unwrap();
    let cases = directory.path().join("rules_test.yml");
    fs::copy(root().join("tests/it/listen/rules_test.yml"), &cases).unwrap();
    let checked = check.args(["check", "rules"]).arg(rules).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let mut test = promtool().unwrap();
    let tested = test.args(["test", "rules"]).arg(cases).output().unwrap();
    assert!(tested.status.success(), "{tested:?}");
}
