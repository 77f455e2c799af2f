//! Who has a log open for writing, by what /proc shows: for a sentence to the operator, nothing
//! hangs on it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Processes that are named; there are more where the sentence says so.
const NAMED_MAX: usize = 4;

/// The processes that have this file open for writing, as far as we may look.
pub(super) fn writers_of(file: &File) -> Option<String> {
    let metadata = file.metadata().ok()?;
    let wanted = (metadata.dev(), metadata.ino());
    let mut named = Vec::new();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if !writes(&process.path(), wanted) {
            continue;
        }
        if named.len() == NAMED_MAX {
            named.push("and others".to_owned());
            break;
        }
        let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        named.push(format!("{pid} ({})", command.trim_end()));
    }
    (!named.is_empty()).then(|| named.join(", "))
}

fn writes(process: &Path, wanted: (u64, u64)) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        let is_it = fs::metadata(descriptor.path())
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == wanted);
        let info = || fs::read_to_string(process.join("fdinfo").join(descriptor.file_name()));
        is_it && info().is_ok_and(|info| is_for_writing(&info))
    })
}

/// Whether a descriptor's fdinfo says that it is for writing.
fn is_for_writing(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & 3 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_process_that_writes_is_named_and_one_that_reads_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let writer = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        let reader = File::open(&path).unwrap();
        let named = writers_of(&reader).expect("we write to it");
        assert!(
            named.starts_with(&std::process::id().to_string()),
            "{named}"
        );
        drop(writer);
        assert_eq!(writers_of(&reader), None);
    }
}
