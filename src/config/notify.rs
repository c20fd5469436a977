//! `[notify.NAME]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::raw::RawNotifier;
use super::spec::{JobPattern, JobSpec, NoticeKind, NoticeWay, NotifierSpec};
use crate::private;

/// All notifiers that could be made sense of.
pub(super) fn notifiers(
    raw: BTreeMap<String, RawNotifier>,
    jobs: &BTreeMap<String, JobSpec>,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, NotifierSpec> {
    let mut notifiers = BTreeMap::new();
    for (name, raw) in raw {
        let path = KeyPath::from("notify").child(&name);
        let patterns: Vec<_> = raw.jobs.iter().map(|text| JobPattern::new(text)).collect();
        for pattern in &patterns {
            if pattern.as_str() != "*" && !jobs.keys().any(|job| pattern.matches(job)) {
                let message = format!("`{}` matches no job", pattern.as_str());
                diagnostics.warn(&path.child("jobs"), message);
            }
        }
        let kinds: BTreeSet<&str> = raw.on.iter().map(String::as_str).collect();
        let only_recovered = kinds.len() == 1 && kinds.contains("recovered");
        if only_recovered {
            let message = "\"recovered\" alone is never told: it follows a notice of another kind";
            diagnostics.error(&path.child("on"), message);
        }
        if let Some(way) = way(raw.command, raw.webhook_file, &path, diagnostics) {
            let spec = NotifierSpec {
                name: name.clone(),
                way,
                on: kinds.into_iter().filter_map(NoticeKind::parse).collect(),
                jobs: patterns,
            };
            notifiers.insert(name, spec);
        }
    }
    notifiers
}

fn way(
    command: Option<Vec<String>>,
    webhook_file: Option<std::path::PathBuf>,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) -> Option<NoticeWay> {
    match (command, webhook_file) {
        (Some(_), Some(_)) => {
            let message = "excludes `command`: a notifier has one of them";
            diagnostics.error(&path.child("webhook_file"), message);
            None
        }
        (Some(command), None) => {
            if command.first().is_some_and(String::is_empty) {
                let message = "begins with an empty text: name a program";
                diagnostics.error(&path.child("command"), message);
            }
            Some(NoticeWay::Command(command))
        }
        (None, Some(file)) => {
            check_file(&file, &path.child("webhook_file"), diagnostics);
            Some(NoticeWay::Webhook(file))
        }
        (None, None) => {
            let keys = ["command", "webhook_file"].map(|key| path.child(key));
            // A value that does not fit was reported with its layer.
            if !keys.iter().any(|key| diagnostics.is_set(key)) {
                let message = "is required, or `webhook_file`: nobody would be told";
                diagnostics.error(&keys[0], message);
            }
            None
        }
    }
}

/// The file may appear later, but others must not read it.
fn check_file(file: &Path, key: &KeyPath, diagnostics: &mut Diagnostics) {
    match private::is_open_to_others(file) {
        Ok(false) => {}
        Ok(true) => {
            let message = format!(
                "{} is open to others than its owner, and the URL in it is a secret: chmod 600",
                file.display()
            );
            diagnostics.error(key, message);
        }
        Err(error) => diagnostics.warn(key, format!("{}: {error}", file.display())),
    }
}
