//! The units are what systemd wants: no complaint from `verify`, and little exposure.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// In tenths: `systemd-analyze security` calls 1.2 "OK", 10 "unsafe".
const EXPOSURE_MAX: &str = "--threshold=12";

const SERVICES: [&str; 3] = [
    "tableferry.service",
    "tableferry@x.service",
    "tableferry-run@x.service",
];

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("systemd")
        .join(name);
    fs::read_to_string(path).unwrap()
}

/// The units as if installed: templates with an instance, and a binary that exists.
fn installed() -> TempDir {
    let dir = TempDir::new().unwrap();
    let binary = env!("CARGO_BIN_EXE_tableferry");
    for name in SERVICES.into_iter().chain(["tableferry-run@x.timer"]) {
        let text = unit(&name.replace("@x", "@")).replace("/usr/bin/tableferry", binary);
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// `None` on a machine without systemd.
fn analyze(arguments: &[&str], unit: &Path) -> Option<Output> {
    let mut command = Command::new("systemd-analyze");
    match command.args(arguments).arg(unit).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("not tested: there is no systemd-analyze");
            None
        }
        Err(error) => panic!("systemd-analyze: {error}"),
    }
}

#[test]
fn systemd_accepts_every_unit_without_a_word() {
    let dir = installed();
    for name in SERVICES.into_iter().chain(["tableferry-run@x.timer"]) {
        let Some(output) = analyze(&["verify"], &dir.path().join(name)) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    }
}

#[test]
fn services_are_hardened() {
    let dir = installed();
    for name in SERVICES {
        let arguments = ["security", "--offline=true", "--no-pager", EXPOSURE_MAX];
        let Some(output) = analyze(&arguments, &dir.path().join(name)) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {said}");
    }
}

#[test]
fn all_services_are_hardened_alike() {
    let hardening = |name: &str| {
        let text = unit(name);
        let section = text
            .split("\n\n")
            .find(|part| part.starts_with("# Hardening"));
        section.unwrap().trim().to_owned()
    };
    let daemon = hardening("tableferry.service");
    assert_eq!(hardening("tableferry@.service"), daemon);
    assert_eq!(hardening("tableferry-run@.service"), daemon);
}
