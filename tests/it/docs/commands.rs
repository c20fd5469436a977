//! `sh`: the arguments of each `tableferry` are parsed, and scripts exist. The quick start is run.

use super::blocks::{blocks_in, blocks_of};
use super::{Page, pages, root};
use crate::support::{databases, job_with};

/// Programs that this test does not run, and why.
const NOT_RUN: [(&str, &str); 13] = [
    ("apt-get", "it installs packages"),
    ("cargo", "it has built this test"),
    ("curl", "tests/it/listen asks the same addresses"),
    ("dnf", "it installs packages"),
    ("docker", "it needs a container engine"),
    ("install", "tests/systemd.sh installs these files"),
    ("journalctl", "tests/systemd.sh reads the journal"),
    ("jq", "it is not part of the project"),
    ("kubectl", "it needs a cluster"),
    ("produce", "it stands for the reader's program"),
    ("systemctl", "tests/systemd.sh runs these units"),
    ("systemd-sysusers", "it makes a user"),
    ("tar", "it writes to /usr"),
];

/// The commands of a block, each as its words.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    for line in text.lines() {
        let (mut word, mut quote) = (None::<String>, None);
        for c in line.chars() {
            match (c, quote) {
                ('\'' | '"', None) => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (_, Some(open)) if c == open => quote = None,
                ('#', None) if word.is_none() => break,
                ('|' | ' ', None) => {
                    found.last_mut().unwrap().extend(word.take());
                    if c == '|' {
                        found.push(Vec::new());
                    }
                }
                _ => word.get_or_insert_default().push(c),
            }
        }
        assert_eq!(quote, None, "{line}");
        found.last_mut().unwrap().extend(word);
        found.push(Vec::new());
    }
    found.retain(|words| !words.is_empty());
    found
}

#[test]
fn words_are_those_of_a_shell() {
    let found = commands("a 'b c' --d \"e'f\" | jq '.x == \"y\"'  # comment\n\nsh x.sh\n");
    assert_eq!(found[0], ["a", "b c", "--d", "e'f"]);
    assert_eq!(found[1], ["jq", ".x == \"y\""]);
    assert_eq!(found[2..], [["sh", "x.sh"]]);
}

#[test]
fn every_command_exists_with_its_options() {
    let job = job_with("");
    for block in blocks_in("sh") {
        for words in commands(&block.text) {
            let (program, arguments) = words.split_first().unwrap();
            match program.as_str() {
                "tableferry" => {
                    // What stands before `--help` is parsed, and nothing is done.
                    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                    arguments.push("--help");
                    let parsed = job.run(&arguments);
                    assert_eq!(parsed.code, Some(0), "{}: {words:?}: {parsed}", block.place);
                }
                "sh" => assert!(root().join(&arguments[0]).is_file(), "{}", block.place),
                other => assert!(
                    NOT_RUN.iter().any(|(name, _)| *name == other),
                    "{}: {other}",
                    block.place
                ),
            }
        }
    }
}

#[test]
fn every_script_that_a_page_names_exists() {
    let mut named = 0;
    for page in pages() {
        for (at, _) in page.text.match_indices("sh ") {
            let path = page.text[at + 3..]
                .split([' ', '`', '\n', ')'])
                .next()
                .unwrap();
            if path.ends_with(".sh") {
                named += 1;
                assert!(root().join(path).is_file(), "{}: {path}", page.name);
            }
        }
    }
    assert!(named > 10, "{named}");
}

#[test]
fn the_quick_start_copies() {
    let readme = blocks_of(&Page::read("README.md"));
    let is = |language: &str, part: &str| {
        let mut blocks = readme.iter();
        blocks
            .find(|block| block.language == language && block.text.contains(part))
            .unwrap()
    };
    let db = databases("quick_start");
    db.both(
        "CREATE TABLE products (sku text PRIMARY KEY, price numeric);
         CREATE SCHEMA sales; CREATE TABLE sales.orders (id int PRIMARY KEY, sku text)",
    );
    db.source.sql(
        "INSERT INTO products SELECT i::text, i FROM generate_series(1, 100) i;
         INSERT INTO sales.orders SELECT i, i::text FROM generate_series(1, 1000) i",
    );
    let mut configuration = is("toml", "[servers.shop]").text.clone();
    for (shown, real) in [
        ("postgresql://reader@shop-db.example/shop", db.source.uri()),
        ("postgresql://loader@warehouse.example/dwh", db.target.uri()),
    ] {
        assert!(configuration.contains(shown), "{configuration}");
        configuration = configuration.replace(shown, &real);
    }
    let job = job_with(&configuration);
    let mut run = 0;
    for words in commands(&is("sh", "tableferry check").text) {
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        // `tableferry daemon` runs until SIGTERM: tests/it/daemon runs it.
        if arguments != ["daemon"] {
            let outcome = job.run(&arguments);
            assert_eq!(outcome.code, Some(0), "{words:?}: {outcome}");
            run += 1;
        }
    }
    assert_eq!(run, 4);
    db.assert_same("products");
    db.assert_same("sales.orders");
}
