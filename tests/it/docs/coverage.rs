//! What people look for is there: commands, exit codes, modes, kinds of errors, how to test.

use super::{Page, root};
use crate::support::job_with;

#[test]
fn the_readme_has_the_two_commands() {
    let readme = Page::read("README.md");
    for command in [
        "```sh\nsh deploy/demo.sh\n```",
        "```sh\nsh tests/run.sh\n```",
    ] {
        assert!(readme.text.contains(command), "{command}");
    }
}

#[test]
fn every_command_is_listed() {
    let page = Page::read("docs/commands.md");
    let help = job_with("").run(&["--help"]);
    let (_, list) = help.stdout.split_once("Commands:\n").unwrap();
    let names = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    let names: Vec<&str> = names.filter(|name| *name != "help").collect();
    assert!(names.len() > 10, "{help}");
    for name in names {
        let is_listed = page.text.lines().any(|line| {
            line.starts_with('|')
                && (line.contains(&format!("`{name}`")) || line.contains(&format!("`{name} ")))
        });
        assert!(is_listed, "docs/commands.md lacks `{name}`");
    }
    for code in [0, 1, 2, 3, 4, 78] {
        assert!(page.text.contains(&format!("\n| {code} | ")), "{code}");
    }
}

/// `DataRejected` as `data_rejected`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}

#[test]
fn every_kind_of_error_is_explained() {
    let source = std::fs::read_to_string(root().join("src/error.rs")).unwrap();
    let (_, rest) = source.split_once("pub enum ErrorKind {").unwrap();
    let (body, _) = rest.split_once("\n}").unwrap();
    let kinds = body.lines().map(str::trim);
    let kinds: Vec<&str> = kinds
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.trim_end_matches(','))
        .collect();
    assert!(kinds.len() > 15, "{kinds:?}");
    let page = Page::read("docs/failures.md");
    for kind in kinds {
        let row = format!("\n| `{}` | ", snake(kind));
        assert!(page.text.contains(&row), "docs/failures.md lacks {row}");
    }
}

#[test]
fn every_mode_is_explained() {
    let page = Page::read("docs/modes.md");
    for mode in ["append", "truncate", "swap", "merge", "upsert"] {
        assert!(page.text.contains(&format!("`{mode}`")), "{mode}");
    }
    let privileges = Page::read("docs/privileges.md");
    for mode in ["append", "truncate", "swap", "merge", "upsert"] {
        let block = format!("```sql\n-- on the target: {mode}\n");
        assert!(privileges.text.contains(&block), "{mode}");
    }
}
