//! What is mounted where, as `/proc/self/mountinfo` has it (proc(5)).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// The mounts that this process sees. Whoever polls it for `POLLPRI` is told of each change.
pub(crate) const MOUNTS: &str = "/proc/self/mountinfo";

/// The field of a line that has the mount point.
const MOUNT_POINT: usize = 4;

/// Whether something is mounted on this folder, of which no part may be a symbolic link.
///
/// # Errors
/// What the system says where it does not tell what is mounted.
pub(super) fn is_mount_point(folder: &Path) -> io::Result<bool> {
    Ok(is_among(&std::fs::read(MOUNTS)?, folder.as_os_str()))
}

fn is_among(mounts: &[u8], folder: &OsStr) -> bool {
    let mut points = mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(MOUNT_POINT));
    points.any(|point| unescape(point) == folder)
}

/// A space, a tab, a newline and a backslash are written as `\` and three octal digits.
fn unescape(mut text: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(text.len());
    while let [byte, rest @ ..] = text {
        match text {
            [b'\\', digits @ ..] if octal(digits).is_some() => {
                plain.extend(octal(digits));
                text = &digits[3..];
            }
            _ => {
                plain.push(*byte);
                text = rest;
            }
        }
    }
    OsString::from_vec(plain)
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..3)?).ok()?;
    u8::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[track_caller]
    fn check(folder: &[u8], expected: bool) {
        let mounts = b"36 35 98:0 / / rw - ext4 /dev/sda1 rw\n\
            40 36 0:42 /x /var/logs/10.0.0.1:80 rw,relatime shared:9 - ext4 /dev/sda1 rw\n\
            41 36 0:43 / /a\\040b\\134 rw - tmpfs none rw\ntorn";
        assert_eq!(is_among(mounts, OsStr::from_bytes(folder)), expected);
    }

    #[test]
    fn a_mount_point_is_found_by_its_whole_name() {
        check(b"/", true);
        check(b"/var/logs/10.0.0.1:80", true);
        check(b"/var/logs/10.0.0.1:8", false);
        check(b"/var/logs", false);
        check(b"/x", false);
        check(b"/a b\\", true);
        check(b"/a\\040b\\134", false);
        check(b"", false);
    }

    #[test]
    fn the_systems_own_are_read() {
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_mount_point(folder.path()).unwrap());
    }
}
