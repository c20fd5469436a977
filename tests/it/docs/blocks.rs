//! The fenced blocks of the pages. Each language has a test that runs its blocks.

use super::{Page, pages};

pub struct Block {
    /// `docs/modes.md:12`.
    pub place: String,
    pub language: String,
    pub text: String,
}

/// The languages, and the test of their blocks.
const LANGUAGES: [(&str, &str); 7] = [
    ("json", "reports.rs"),
    ("python", "library/examples.rs"),
    ("rust", "library/examples.rs"),
    ("sh", "commands.rs"),
    ("sql", "statements.rs, privileges.rs"),
    ("toml", "configurations.rs"),
    (
        "yaml",
        "nothing here reads YAML: deploy/ has files that are tested",
    ),
];

/// All blocks of a page.
pub fn blocks_of(page: &Page) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block {
                    place: format!("{}:{}", page.name, number + 1),
                    language: language.trim().to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(block)) => {
                block.text += line;
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block is not closed", page.name);
    found
}

/// The blocks of all pages in this language.
pub fn blocks_in(language: &str) -> Vec<Block> {
    let all = pages();
    let all = all.iter().flat_map(blocks_of);
    let found: Vec<Block> = all.filter(|block| block.language == language).collect();
    assert!(!found.is_empty(), "no block in {language}");
    found
}

#[test]
fn every_block_has_a_language_that_a_test_runs() {
    for block in pages().iter().flat_map(blocks_of) {
        let known = LANGUAGES.iter().any(|(name, _)| *name == block.language);
        assert!(known, "{}: `{}`", block.place, block.language);
    }
}
