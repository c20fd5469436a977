//! The packages, as far as that can be seen without building them: `sh tests/package.sh` builds and installs them, and
//! `sh tests/dockerfile.sh` does the steps of the Dockerfile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::service::left_out;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

fn tableferry(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tableferry"));
    command.args(arguments).env_remove("TABLEFERRY_CONFIG");
    command.output().unwrap()
}

fn assert_accepted(configuration: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), configuration).unwrap();
    let output = tableferry(&["--config", file.path().to_str().unwrap(), "check"]);
    assert!(output.status.success(), "{output:?}");
}

/// Cargo.toml's `package`.
fn manifest() -> serde_json::Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let output = cargo.current_dir(root()).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"][0].clone()
}

/// The files that a package's list in Cargo.toml names, with their mode and place in the package. Those below target/
/// are made by deploy/package.sh, and may be missing.
fn packed(kind: &str) -> BTreeMap<PathBuf, String> {
    let list = &manifest()["metadata"][kind]["assets"];
    let mut packed = BTreeMap::new();
    for asset in list.as_array().unwrap() {
        let source = asset["source"].as_str().unwrap();
        let target = asset["dest"].as_str().unwrap().trim_start_matches('/');
        let target = format!("{} {target}", asset["mode"].as_str().unwrap());
        if source.starts_with("target/") {
            packed.insert(source.into(), target);
            continue;
        }
        let found = matching(source);
        assert!(!found.is_empty(), "{kind}: there is no {source}");
        packed.extend(found.into_iter().map(|file| (file, target.clone())));
    }
    packed
}

/// `directory/*.extension`, or one file.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let Some((directory, extension)) = pattern.split_once("*.") else {
        let file = root().join(pattern);
        return file.is_file().then(|| pattern.into()).into_iter().collect();
    };
    let entries = fs::read_dir(root().join(directory)).unwrap();
    let names = entries.map(|entry| PathBuf::from(entry.unwrap().file_name()));
    names
        .filter(|name| name.extension().is_some_and(|found| found == extension))
        .map(|name| Path::new(directory).join(name))
        .collect()
}

#[test]
fn both_kinds_of_packages_hold_the_same_files() {
    let deb = packed("deb");
    let mut rpm = packed("generate-rpm");
    for target in rpm.values_mut() {
        *target = target.replace("/zsh/site-functions/", "/zsh/vendor-completions/");
    }
    assert_eq!(deb, rpm);
    for unit in fs::read_dir(root().join("systemd")).unwrap() {
        let unit = Path::new("systemd").join(unit.unwrap().file_name());
        assert!(deb.contains_key(&unit), "{unit:?} is not packed");
    }
}

#[test]
fn the_tarball_holds_what_the_packages_hold() {
    let script = read("deploy/package.sh");
    let tarball = script.split("tarball() {").nth(1).unwrap();
    for file in packed("deb").into_keys() {
        let file = file.to_str().unwrap();
        // The only one in /etc.
        if file == "deploy/package/local.toml" {
            continue;
        }
        let patterns = [
            file.replace("target/package/", "$OUT/"),
            file.replace("target/package/man/*.1", "$OUT\"/man/*"),
            format!("{}/*", file.split('/').next().unwrap()),
        ];
        assert!(
            patterns.iter().any(|pattern| tarball.contains(pattern)),
            "{file} is not in the tarball"
        );
    }
}

#[test]
fn configurations_that_are_deployed_are_valid() {
    let conffile = read("deploy/package/local.toml");
    assert!(
        conffile
            .lines()
            .all(|line| line.is_empty() || line.starts_with('#')),
        "it is read after the administrator's own file, and must not override it"
    );
    let used = |line: &str| {
        let key = line.strip_prefix('#')?;
        (!key.starts_with(' ')).then(|| format!("{key}\n"))
    };
    let uncommented: String = conffile.lines().filter_map(used).collect();
    assert!(uncommented.contains("listen"), "{uncommented}");
    assert_accepted(&uncommented);
    assert_accepted(&config_map());
}

/// The file `tableferry.toml` of kubernetes.yaml.
fn config_map() -> String {
    let yaml = read("deploy/kubernetes.yaml");
    let lines = yaml
        .lines()
        .skip_while(|line| *line != "  tableferry.toml: |")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    lines
        .map(|line| line.strip_prefix("    ").unwrap_or_default().to_owned() + "\n")
        .collect()
}

#[test]
fn kubernetes_accepts_its_objects() {
    let unpacked = root().join("target/kubernetes/bin/kubernetes-validate");
    let validate = [Path::new("kubernetes-validate"), &unpacked]
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_ok());
    let Some(validate) = validate else {
        return left_out("kubernetes.yaml", "kubernetes-validate is not installed");
    };
    let output = Command::new(validate)
        .arg("--strict")
        .arg(root().join("deploy/kubernetes.yaml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_dockerfile_copies_what_is_there_and_not_ignored() {
    let dockerfile = read("deploy/Dockerfile");
    let ignore = read(".dockerignore");
    let kept: Vec<_> = ignore.lines().filter_map(|l| l.strip_prefix('!')).collect();
    let is_kept = |file: &str| {
        kept.iter().any(|kept| match kept.strip_suffix('*') {
            Some(prefix) => file.starts_with(prefix),
            None => file == *kept,
        })
    };
    for kept in &kept {
        let name = kept.trim_end_matches('*');
        assert!(root().join(name).exists(), "there is no {kept}");
    }
    for line in dockerfile.lines().filter(|line| line.starts_with("COPY")) {
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        if words[0].starts_with("--from") || words[0] == "." {
            continue;
        }
        for file in &words[..words.len() - 1] {
            assert!(root().join(file).exists() && is_kept(file), "{file}");
        }
    }
    // The oldest Rust that builds it.
    let minor = |version: &str| version.split('.').nth(1).unwrap().parse::<u32>().unwrap();
    let image = dockerfile.split("FROM rust:").nth(1).unwrap();
    let image = image.split('-').next().unwrap();
    assert!(minor(image) >= minor(manifest()["rust_version"].as_str().unwrap()));
}

#[test]
fn every_man_page_that_is_referred_to_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let output = tableferry(&["man", directory.path().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let pages: BTreeSet<String> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let first = fs::read_to_string(directory.path().join("tableferry.1")).unwrap();
    let first = first.replace('\\', "");
    let named: BTreeSet<String> = first
        .lines()
        .filter_map(|line| line.strip_suffix("(1)"))
        .map(|name| format!("{name}.1"))
        .collect();
    assert!(named.len() > 15, "{named:?}");
    assert!(named.is_subset(&pages), "{named:?} {pages:?}");
    let printed = String::from_utf8(tableferry(&["man"]).stdout).unwrap();
    assert!(printed.contains(".SH SUBCOMMANDS"), "{printed}");
}
