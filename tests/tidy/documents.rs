//! What the documents name exists: links lead to files and headings, paths in code font to files,
//! and `file.rs::name` to something that the file defines.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::check;

/// Folders at the root in which documents name files.
const FOLDERS: [&str; 7] = [
    ".ci",
    "benches",
    "docs",
    "fuzz",
    "packaging",
    "src",
    "tests",
];

/// Paths that documents name and that are not committed.
const NOT_COMMITTED: [&str; 1] = ["fuzz/corpus"];

/// What may stand before a name where it is defined.
const DEFINITIONS: [&str; 9] = [
    "fn ",
    "struct ",
    "enum ",
    "trait ",
    "type ",
    "const ",
    "static ",
    "mod ",
    "macro_rules! ",
];

/// Every file of the repository, by its path from the root. What builds and fuzzing leave is no
/// part of it.
fn files() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder can be listed") {
            let path = entry.expect("its entries can be read").path();
            let below = path.strip_prefix(root).expect("it is below the root");
            let name = below.display().to_string();
            let last = below.file_name().and_then(|name| name.to_str());
            let is_built = last.is_some_and(|last| last == ".git" || last.starts_with("target"));
            if is_built || NOT_COMMITTED.contains(&&*name) {
                continue;
            }
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(name),
            }
        }
    }
    assert!(found.len() > 300, "{} files are too few", found.len());
    found
}

/// Every document, by its path from the root, with its text.
pub(crate) fn documents() -> Vec<(String, String)> {
    let found: Vec<(String, String)> = files()
        .into_iter()
        .filter(|name| name.ends_with(".md"))
        .map(|name| {
            let text = read(&name);
            (name, text)
        })
        .collect();
    assert!(found.len() > 20, "{} documents are too few", found.len());
    found
}

pub(crate) fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// The text outside of fenced blocks.
fn prose(text: &str) -> String {
    let mut is_fenced = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// What stands in code font, without what has white space in it.
fn code_spans(prose: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for paragraph in prose.split("\n\n") {
        let spans = paragraph.split('`').skip(1).step_by(2);
        found.extend(spans.filter(|span| !span.contains(char::is_whitespace)));
    }
    found
}

/// Where links lead, those to other hosts not among them.
fn links(prose: &str) -> Vec<&str> {
    let targets = prose.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://"))
        .collect()
}

/// A heading's anchor, as forges make it.
fn slug(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Why a link of this document leads nowhere; `None`: it leads somewhere.
fn broken(document: &str, text: &str, target: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let mut path = PathBuf::from(document);
    path.pop();
    for part in Path::new(file).components() {
        match part {
            Component::ParentDir if !path.pop() => return Some("it leaves the repository".into()),
            Component::ParentDir | Component::CurDir => {}
            part => path.push(part),
        }
    }
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
    if !file.is_empty() && !full.exists() {
        return Some(format!("there is no {}", path.display()));
    }
    if anchor.is_empty() {
        return None;
    }
    let other = match file.is_empty() {
        true => text.to_owned(),
        false => fs::read_to_string(full).unwrap_or_default(),
    };
    let other = prose(&other);
    let mut headings = other.lines().filter(|line| line.starts_with('#'));
    (!headings.any(|heading| slug(heading) == anchor))
        .then(|| format!("no heading makes the anchor {anchor}"))
}

/// Whether a path in code font is one of a file or folder of the repository. A Rust file may be
/// named by the end of its path.
fn names_a_file(path: &str, files: &[String]) -> bool {
    let path = path.trim_end_matches('/');
    let inside = format!("{path}/");
    let module = format!("{path}.rs");
    let end = format!("/{path}");
    files.iter().any(|file| {
        *file == path
            || *file == module
            || file.starts_with(&inside)
            || path.ends_with(".rs") && file.ends_with(&end)
    })
}

/// Whether code font is meant as a path of the repository.
fn is_path(span: &str) -> bool {
    let is_plain = span
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    let first = span.split('/').next().unwrap_or_default();
    is_plain && (span.ends_with(".rs") || span.contains('/') && FOLDERS.contains(&first))
}

fn defines(text: &str, name: &str) -> bool {
    DEFINITIONS.iter().any(|before| {
        let definition = format!("{before}{name}");
        text.match_indices(&definition).any(|(at, _)| {
            let after = text[at + definition.len()..].chars().next();
            !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

#[test]
fn every_link_leads_somewhere() {
    let mut complaints = Vec::new();
    let mut count = 0;
    for (document, text) in documents() {
        for target in links(&prose(&text)) {
            count += 1;
            let why = broken(&document, &text, target);
            complaints.extend(why.map(|why| format!("{document}: {target}: {why}")));
        }
    }
    check(complaints);
    assert!(count > 100, "{count} links are too few");
}

#[test]
fn every_path_in_code_font_is_a_file_or_folder() {
    let files = files();
    let mut complaints = Vec::new();
    let mut count = 0;
    for (document, text) in documents() {
        for span in code_spans(&prose(&text)) {
            let path = span.split("::").next().expect("a split has a first part");
            if !is_path(path) || NOT_COMMITTED.contains(&path) {
                continue;
            }
            count += 1;
            if !names_a_file(path, &files) {
                complaints.push(format!("{document}: there is no {path}"));
            }
        }
    }
    check(complaints);
    assert!(count > 50, "{count} paths are too few");
}

#[test]
fn every_name_that_a_document_finds_in_a_file_is_defined_there() {
    let files = files();
    let mut complaints = Vec::new();
    let mut count = 0;
    for (document, text) in documents() {
        for span in code_spans(&prose(&text)) {
            let Some((path, name)) = span.split_once("::") else {
                continue;
            };
            if !path.ends_with(".rs") {
                continue;
            }
            count += 1;
            let end = format!("/{path}");
            let mut named = files
                .iter()
                .filter(|file| *file == path || file.ends_with(&end));
            if !named.any(|file| defines(&read(file), name)) {
                complaints.push(format!("{document}: {path} defines no {name}"));
            }
        }
    }
    check(complaints);
    assert!(count > 20, "{count} names are too few");
}

#[test]
fn the_map_is_short_and_every_decision_is_in_the_list() {
    const MAP_LINES_MAX: usize = 200;
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(
        lines <= MAP_LINES_MAX,
        "ARCHITECTURE.md has {lines} lines, more than {MAP_LINES_MAX}: move what is no map to \
         docs/adr"
    );
    let list = read("docs/adr/README.md");
    let complaints = files()
        .iter()
        .filter_map(|file| file.strip_prefix("docs/adr/"))
        .filter(|name| *name != "README.md" && !list.contains(&format!("]({name})")))
        .map(|name| format!("docs/adr/README.md does not list {name}"))
        .collect();
    check(complaints);
}

#[test]
fn what_is_missing_is_noticed() {
    let text = "# A b\n[x](#a-b) `src/lib.rs` `none.rs`\n```\n[y](z)\n```\n`lib.rs::nothing_of_it`";
    let kept = prose(text);
    assert_eq!(links(&kept), ["#a-b"]);
    assert_eq!(broken("README.md", text, "#a-b"), None);
    assert!(broken("README.md", text, "#b").is_some());
    assert!(broken("README.md", text, "src/none.rs").is_some());
    assert!(broken("docs/format.md", text, "../src/lib.rs").is_none());
    assert!(broken("README.md", text, "../outside").is_some());
    assert_eq!(
        code_spans(&kept),
        ["src/lib.rs", "none.rs", "lib.rs::nothing_of_it"]
    );
    let files = files();
    assert!(names_a_file("src/lib.rs", &files) && names_a_file("tests/tidy", &files));
    assert!(!names_a_file("none.rs", &files) && !names_a_file("src/none", &files));
    assert!(is_path("lane.rs") && is_path("docs/adr") && !is_path("text/plain"));
    let lib = "pub fn nothing() {}";
    assert!(defines(lib, "nothing") && !defines(lib, "nothin"));
}
