//! The files that an `include` of nginx's stands for: one, or all that a mask fits.
//!
//! As nginx has it: a path that is not absolute begins at the folder of `nginx.conf`; `*`, `?` and
//! `[…]` fit within one name, not a dot at its beginning; the files come in the order of their
//! names; and a mask may fit none.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cli::pattern;

/// The files that `include` stands for, at most `files_max`. The second part is whether there are
/// more.
pub(super) fn files(folder: &Path, include: &str, files_max: usize) -> (Vec<PathBuf>, bool) {
    let start = match include.starts_with('/') {
        true => PathBuf::from("/"),
        false => folder.to_owned(),
    };
    let mut found = vec![start];
    let mut has_more = false;
    for part in include.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for path in found {
            if !is_mask(part) {
                next.push(path.join(part));
                continue;
            }
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name());
            let mut names: Vec<_> = names.filter(|name| fits(part, name)).collect();
            names.sort();
            next.extend(names.into_iter().map(|name| path.join(name)));
        }
        has_more |= next.len() > files_max;
        next.truncate(files_max);
        found = next;
    }
    if is_mask(include) {
        found.retain(|path| path.exists());
    }
    (found, has_more)
}

fn is_mask(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether a mask fits a whole name.
fn fits(mask: &str, name: &OsStr) -> bool {
    let (mask, name) = (mask.as_bytes(), name.as_bytes());
    if name.first() == Some(&b'.') && mask.first() != Some(&b'.') {
        return false;
    }
    pattern::fits(mask, name, fits_one)
}

/// How many octets of the mask stand for this one of the name, if they do.
fn fits_one(mask: &[u8], octet: u8) -> Option<usize> {
    match mask.first()? {
        b'?' => Some(1),
        b'[' => match fits_class(&mask[1..], octet) {
            Some((length, is_in)) => is_in.then_some(1 + length),
            // It has no end, so it is an octet like others.
            None => (octet == b'[').then_some(1),
        },
        other => (*other == octet).then_some(1),
    }
}

/// The length of the class that `mask` begins with, its end included, and whether it has the octet.
/// `None` where it has no end.
fn fits_class(mask: &[u8], octet: u8) -> Option<(usize, bool)> {
    let is_not = matches!(mask.first(), Some(b'!' | b'^'));
    let first = usize::from(is_not);
    // A bracket that comes first is one of the class.
    let end = first + 1 + memchr::memchr(b']', mask.get(first + 1..)?)?;
    let class = &mask[first..end];
    let (mut at, mut is_in) = (0, false);
    while at < class.len() {
        match class[at..] {
            [from, b'-', to, ..] => {
                is_in |= (from..=to).contains(&octet);
                at += 3;
            }
            [one, ..] => {
                is_in |= one == octet;
                at += 1;
            }
            [] => break,
        }
    }
    Some((end + 1, is_in != is_not))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_fits_as_a_shell_has_it() {
        for (mask, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", false),
            (".*", ".conf", true),
            ("*.conf", "a.conf.1", false),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("?.conf", "a.conf", true),
            ("?.conf", "ab.conf", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]a]x", "]x", true),
            ("[a", "[a", true),
            ("[", "a", false),
            ("a", "ab", false),
        ] {
            assert_eq!(fits(mask, OsStr::new(name)), expected, "{mask} {name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_mask_makes_it_panic(mask in "[a\\[\\]!^*?-]{0,12}", name in "[ab-]{0,8}") {
            let _ = fits(&mask, OsStr::new(&name));
        }
    }

    #[track_caller]
    fn check(include: &str, files_max: usize, expected: &[&str], more: bool) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        for file in [
            "conf.d/b.conf",
            "conf.d/a.conf",
            "conf.d/c.txt",
            "e.d/a.conf",
            "one",
        ] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), "").unwrap();
        }
        let (found, has_more) = files(root, include, files_max);
        let relative = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        let found: Vec<String> = found.iter().map(relative).collect();
        assert_eq!(
            (found, has_more),
            (expected.iter().map(ToString::to_string).collect(), more)
        );
    }

    #[test]
    fn an_include_stands_for_one_file_or_for_those_that_its_mask_fits() {
        check("one", 9, &["one"], false);
        check("none", 9, &["none"], false);
        check(
            "conf.d/*.conf",
            9,
            &["conf.d/a.conf", "conf.d/b.conf"],
            false,
        );
        check("*.d/a.conf", 9, &["conf.d/a.conf", "e.d/a.conf"], false);
        check("*.d/b.conf", 9, &["conf.d/b.conf"], false);
        check("none.d/*", 9, &[], false);
        check("conf.d/*", 2, &["conf.d/a.conf", "conf.d/b.conf"], true);
    }
}
