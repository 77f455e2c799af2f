//! That no file of the library needs one that needs it. Files that one type is cut apart into count
//! as one: there a method stands in each.

use std::collections::{BTreeMap, BTreeSet};

use crate::{code, files, is_test};

/// A module's path below the crate: `["replay", "lane"]`.
type Module = Vec<String>;

/// One file, as far as imports are concerned.
struct Source {
    text: String,
    /// What its `use` lines name, whole from the crate on.
    imports: BTreeSet<Module>,
    /// And which of that it hands on.
    reexports: BTreeSet<Module>,
}

/// The module that a file below `src` is.
fn module_of(path: &str) -> Module {
    let below = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Module = below.split('/').map(str::to_owned).collect();
    if parts
        .last()
        .is_some_and(|last| last == "mod" || last == "lib")
    {
        parts.pop();
    }
    parts
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`; `x as y` as `x`.
fn expand(tree: &str) -> Vec<String> {
    let Some((before, rest)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree);
        return vec![name.trim().to_owned()];
    };
    let inside = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for character in inside.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("there is one").push(character);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| expand(part.trim()))
        .map(|part| format!("{}{part}", before.trim()))
        .collect()
}

/// A path as it is from the crate on; `None` for another crate's.
fn whole(path: &str, module: &Module, all: &BTreeSet<Module>) -> Option<Module> {
    let mut parts: Vec<&str> = path.split("::").collect();
    let mut base = module.clone();
    match *parts.first()? {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while parts.get(1) == Some(&"super") {
                parts.remove(0);
                base.pop();
            }
            base.pop();
        }
        first => {
            let child: Module = [base.clone(), vec![first.to_owned()]].concat();
            return all.contains(&child).then(|| {
                base.extend(parts.iter().map(|part| (*part).to_owned()));
                base
            });
        }
    }
    base.extend(parts[1..].iter().map(|part| (*part).to_owned()));
    Some(base)
}

/// The `use` lines of a text: whether each hands on, and its tree.
fn uses(text: &str) -> Vec<(bool, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let before = text[line..at].trim();
        if (before.is_empty() || before.starts_with("pub"))
            && let Some(end) = text[at..].find(';')
        {
            found.push((!before.is_empty(), &text[at + 4..at + end]));
        }
    }
    found
}

/// Paths in a text that begin with `crate::` or `super::`, and stand in no `use` line.
fn paths(text: &str) -> BTreeSet<&str> {
    let is_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let starts = ["crate::", "super::"].into_iter();
    let starts = starts.flat_map(|start| text.match_indices(start));
    let found = starts.map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c| !is_of_path(c)).unwrap_or(rest.len());
        rest[..end].trim_end_matches(':')
    });
    found.collect()
}

/// All files, by their modules.
fn sources() -> BTreeMap<Module, Source> {
    let files = files("src");
    let files: BTreeMap<Module, String> = files
        .iter()
        .filter(|(path, _)| !is_test(path) || path.contains("testdisk"))
        .filter(|(path, _)| path != "src/main.rs" && !path.ends_with("/tests.rs"))
        .map(|(path, text)| (module_of(path), code(text).collect::<Vec<_>>().join("\n")))
        .collect();
    let all: BTreeSet<Module> = files.keys().cloned().collect();
    let of = |(module, text): (Module, String)| {
        let (mut imports, mut reexports) = (BTreeSet::new(), BTreeSet::new());
        for (hands_on, tree) in uses(&text) {
            let trees = expand(&tree.replace('\n', " "));
            let trees = trees.iter().map(|path| path.replace(' ', ""));
            let paths: Vec<Module> = trees
                .filter_map(|path| whole(&path, &module, &all))
                .collect();
            if hands_on {
                reexports.extend(paths);
            } else {
                imports.extend(paths);
            }
        }
        let inline = paths(&text).into_iter();
        imports.extend(inline.filter_map(|path| whole(path, &module, &all)));
        let source = Source {
            text,
            imports,
            reexports,
        };
        (module, source)
    };
    files.into_iter().map(of).collect()
}

/// The file that has what a path names, and the name; a name that is handed on is followed.
fn owner(path: &Module, sources: &BTreeMap<Module, Source>) -> Option<(Module, String)> {
    let length = (0..=path.len()).rev();
    let module = length
        .map(|length| path[..length].to_vec())
        .find(|module| sources.contains_key(module))?;
    let name = path.get(module.len())?;
    let handed_on = &sources[&module].reexports;
    match handed_on.iter().find(|path| path.last() == Some(name)) {
        Some(further) if further != path => owner(further, sources),
        _ => Some((module, name.clone())),
    }
}

/// The types that a file has methods for.
fn has_methods_for(text: &str) -> BTreeSet<String> {
    let blocks = text.lines().filter(|line| line.starts_with("impl"));
    let types = blocks.filter(|line| !line.contains(" for ")).map(|line| {
        let rest = line.trim_start_matches("impl");
        let rest = match rest.strip_prefix('<') {
            Some(generics) => generics.split_once("> ").map_or("", |(_, rest)| rest),
            None => rest,
        };
        let name = rest.trim().split(|c: char| !c.is_alphanumeric()).next();
        name.unwrap_or_default().to_owned()
    });
    types.collect()
}

fn defines(text: &str, name: &str) -> bool {
    let is_definition = |line: &str| {
        ["struct", "enum"]
            .iter()
            .any(|kind| line.contains(&format!("{kind} {name}")) && !line.starts_with(' '))
    };
    text.lines().any(is_definition)
}

#[test]
fn no_file_needs_one_that_needs_it() {
    let sources = sources();
    let mut needs: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
    // Each file's type: the first of the files that it is cut apart into.
    let mut first: BTreeMap<Module, Module> = BTreeMap::new();
    for (module, source) in &sources {
        let owners = source.imports.iter();
        let owners = owners.filter_map(|path| owner(path, &sources));
        let owners: Vec<_> = owners.filter(|(other, _)| other != module).collect();
        for name in has_methods_for(&source.text) {
            let parent = module[..module.len().saturating_sub(1)].to_vec();
            let candidates = owners.iter().filter(|(_, taken)| *taken == name);
            let candidates = candidates.map(|(other, _)| other.clone()).chain([parent]);
            let whole = candidates
                .filter(|other| other != module && !defines(&source.text, &name))
                .find(|other| {
                    let text = sources.get(other).map(|source| &source.text);
                    text.is_some_and(|text| defines(text, &name))
                });
            if let Some(whole) = whole {
                first.insert(module.clone(), whole);
            }
        }
        let others = owners.into_iter().map(|(other, _)| other);
        needs.insert(module, others.collect());
    }
    let type_of = |module: &Module| {
        let mut module = module;
        while let Some(whole) = first.get(module) {
            module = whole;
        }
        module.clone()
    };
    let mut graph: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, others) in needs {
        let module = type_of(module);
        let others = others.iter().map(&type_of).filter(|other| *other != module);
        let others: Vec<Module> = others.collect();
        graph.entry(module).or_default().extend(others);
    }
    // What needs nothing that is left goes, and what nothing needs: circles stay.
    loop {
        let needed: BTreeSet<Module> = graph.values().flatten().cloned().collect();
        let known: BTreeSet<Module> = graph.keys().cloned().collect();
        graph.retain(|module, needs| {
            needs.retain(|other| known.contains(other));
            !needs.is_empty() && needed.contains(module)
        });
        if graph.len() == known.len() {
            break;
        }
    }
    let circles: Vec<String> = graph
        .iter()
        .map(|(module, needs)| format!("{module:?} needs {needs:?}"))
        .collect();
    assert!(circles.is_empty(), "these need each other:\n{circles:#?}");
}

#[test]
fn imports_are_read_as_rust_reads_them() {
    assert_eq!(
        expand("a::{b, c::{d, e as f}, self}"),
        ["a::b", "a::c::d", "a::c::e", "a::self"]
    );
    let all: BTreeSet<Module> = [vec![], vec!["a".to_owned()]].into_iter().collect();
    let module = vec!["a".to_owned()];
    let at = |path| whole(path, &module, &all).map(|path| path.join("::"));
    assert_eq!(at("crate::b::C").as_deref(), Some("b::C"));
    assert_eq!(at("super::b").as_deref(), Some("b"));
    assert_eq!(at("std::fs"), None);
    assert_eq!(
        uses("use a::b;\npub use c;\n"),
        [(false, "a::b"), (true, "c")]
    );
}
