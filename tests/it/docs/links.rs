//! Every link to a file of the project leads to that file, and to a heading in it.

use std::path::{Component, Path, PathBuf};

use super::{Page, markdown_in, pages, root};

/// The pages whose links are looked at.
fn all_pages() -> Vec<Page> {
    let mut all = pages();
    let others = ["ARCHITECTURE.md", "CHANGELOG.md", "LIMITS.md"].map(str::to_owned);
    let others = others.into_iter().chain(markdown_in("benches"));
    all.extend(others.map(|name| Page::read(&name)));
    all
}

/// The text without blocks and code, in which brackets mean other things.
fn prose(text: &str) -> String {
    let outside = text.split("```").step_by(2).collect::<String>();
    let mut kept = String::new();
    let mut rest = outside.as_str();
    while let Some((before, after)) = rest.split_once('`') {
        kept += before;
        rest = after.split_once('`').map_or("", |(_, rest)| rest);
    }
    kept + rest
}

fn links(page: &Page) -> Vec<String> {
    let text = prose(&page.text);
    let ends = text.match_indices("](").map(|(at, _)| &text[at + 2..]);
    let links = ends.map(|rest| rest.split(')').next().unwrap_or_default().to_owned());
    links.filter(|link| !link.contains("://")).collect()
}

/// The address of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let text = heading.trim().to_lowercase();
    let text: String = text.chars().filter(kept).collect();
    text.replace(' ', "-")
}

fn anchors(text: &str) -> Vec<String> {
    let outside = text.split("```").step_by(2).collect::<String>();
    outside
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// `docs/../src` as `src`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(normal.pop(), "{}", path.display()),
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn anchors_are_made_like_those_of_a_forge() {
    assert_eq!(anchor(" compare = \"changed\""), "compare--changed");
    assert_eq!(
        anchor(" Foreign keys and triggers"),
        "foreign-keys-and-triggers"
    );
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for page in all_pages() {
        for link in links(&page) {
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => PathBuf::from(&page.name),
                path => normal(&Path::new(&page.name).parent().unwrap().join(path)),
            };
            let is_there = root().join(&target).exists();
            assert!(is_there, "{}: {link}", page.name);
            if !heading.is_empty() {
                let text = Page::read(target.to_str().unwrap()).text;
                let is_there = anchors(&text).iter().any(|anchor| anchor == heading);
                assert!(is_there, "{}: {link}", page.name);
            }
            followed += 1;
        }
    }
    assert!(followed > 50, "{followed}");
}

#[test]
fn the_readme_leads_to_every_page() {
    let readme = Page::read("README.md");
    for name in markdown_in("docs") {
        let link = format!("]({name}");
        assert!(
            readme.text.contains(&link),
            "README.md does not link {name}"
        );
    }
}
