//! What Linux tells about this process, in `/proc`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::open_files;
use crate::status::server::ProcessFacts;

/// Asks the system; some ten microseconds.
///
/// # Errors
/// `/proc` is not there, or not as it should be.
pub(crate) fn process_facts() -> io::Result<ProcessFacts> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let page_bytes = setting(libc::_SC_PAGESIZE)?;
    let ticks_per_second = setting(libc::_SC_CLK_TCK)?;
    let stat = Stat::parse(&stat).ok_or_else(|| unrecognized("/proc/self/stat"))?;
    #[allow(clippy::cast_precision_loss, reason = "seconds, told to 15 digits")]
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second as f64;
    Ok(ProcessFacts {
        start_seconds: boot_seconds()? + seconds(stat.start_ticks),
        cpu_seconds: seconds(stat.cpu_ticks),
        resident_bytes: stat.resident_pages * page_bytes,
        virtual_bytes: stat.virtual_bytes,
        threads: stat.threads,
        open_fds: open_fds()?,
        max_fds: open_files::highest_bound()?,
    })
}

/// The name of this host; empty where the system does not tell it.
pub(crate) fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// A path as it is from every folder.
pub(crate) fn absolute_path(path: &Path) -> String {
    let absolute = std::path::absolute(path);
    absolute.as_deref().unwrap_or(path).display().to_string()
}

/// 32 hexadecimal digits that nobody can guess.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn random_token() -> io::Result<String> {
    let mut bytes = [0; 16];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The fields of `/proc/self/stat` that are told.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // Behind the program's name, which is in parentheses and may have some itself. The first
        // field there is the third of proc(5).
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Seconds from 1970 to when the system was started.
fn boot_seconds() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok())
        .ok_or_else(|| unrecognized("/proc/stat"))
}

/// How many descriptors are open. Since Linux 6.2 the folder's size says so; before, they are
/// counted.
fn open_fds() -> io::Result<u64> {
    match fs::metadata("/proc/self/fd")?.size() {
        // One of those counted is the listing's own.
        0 => Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1) as u64),
        size => Ok(size),
    }
}

fn setting(name: libc::c_int) -> io::Result<u64> {
    // SAFETY: no memory is involved.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value)
        .ok()
        .filter(|value| *value > 0)
        .ok_or_else(io::Error::last_os_error)
}

fn unrecognized(path: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{path} is not as it should be"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn this_process_is_told_as_it_is() {
        let facts = process_facts().unwrap();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        assert!(facts.start_seconds <= now + 2.0 && facts.start_seconds > now - 86_400.0);
        assert!(facts.resident_bytes > 1 << 20 && facts.virtual_bytes >= facts.resident_bytes);
        assert!(facts.threads >= 1 && facts.cpu_seconds >= 0.0);
        // Whatever other tests open and close meanwhile, these stay open.
        let opened: Vec<fs::File> = (0..400)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        let facts = process_facts().unwrap();
        assert!(facts.open_fds >= 400, "{facts:?}");
        assert!(facts.max_fds >= facts.open_fds);
        drop(opened);
    }

    #[test]
    fn a_name_in_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 100 20 13 14 15 16 9 18 555 4096 3 21";
        let expected = Stat {
            cpu_ticks: 120,
            threads: 9,
            start_ticks: 555,
            virtual_bytes: 4096,
            resident_pages: 3,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }
}
