//! `toml`: `tableferry check` accepts each block, with the servers that it names but does not show.

use std::collections::BTreeSet;

use super::blocks::{Block, blocks_in};
use crate::support::job_with;

/// The servers that jobs name and the block does not have. A name with a dot is that of a table.
fn missing_servers(block: &Block) -> BTreeSet<&str> {
    block
        .text
        .lines()
        .filter_map(|line| {
            let (key, rest) = line.split_once('=')?;
            let is_end = matches!(key.trim(), "source" | "target");
            rest.split('"').nth(1).filter(|_| is_end)
        })
        .filter(|server| !server.contains('.'))
        .filter(|server| !block.text.contains(&format!("[servers.{server}]")))
        .collect()
}

#[test]
fn every_configuration_is_accepted() {
    for block in blocks_in("toml") {
        let job = job_with(&block.text);
        let others: String = missing_servers(&block)
            .into_iter()
            .map(|name| format!("[servers.{name}]\nconninfo = \"host={name}.example user=me\"\n"))
            .collect();
        job.file("conf.d/others.toml", others);
        let checked = job.run(&["check"]);
        assert_eq!(checked.code, Some(0), "{}: {checked}", block.place);
    }
}
