//! Keeping a thread on one core.

use std::io;
use std::mem::size_of;

/// The cores that this thread may run on, by number, ascending.
///
/// # Errors
/// What sched_getaffinity(2) says.
pub fn cores() -> io::Result<Vec<usize>> {
    // SAFETY: all zeros is a valid, empty set of cores.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is as long as we say and lives through the call; 0 is this thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let most = 8 * size_of::<libc::cpu_set_t>();
    Ok((0..most)
        // SAFETY: the number is below the bits that the set has.
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect())
}

/// Keeps this thread on `core`, one of [`cores`].
///
/// # Errors
/// What sched_setaffinity(2) says.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    if core >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all zeros is a valid, empty set of cores.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below the bits that the set has.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is as long as we say and lives through the call; 0 is this thread.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_kept_on_each_core_it_has() {
        let all = cores().unwrap();
        assert!(!all.is_empty());
        for core in all {
            std::thread::spawn(move || {
                pin(core).unwrap();
                assert_eq!(cores().unwrap(), [core]);
            })
            .join()
            .unwrap();
        }
        assert!(pin(usize::MAX).is_err());
    }
}
