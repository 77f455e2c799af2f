//! How soon a thread that wakes gets a core.

use std::io;

/// Gives this thread alone, not its process, a nice value: the lower, the sooner it gets a core
/// when it wakes (sched(7)). To lower it takes `CAP_SYS_NICE` or an `RLIMIT_NICE` that allows it.
///
/// # Errors
/// What `setpriority(2)` says.
pub fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: no memory is involved; 0 is the calling thread, which is what Linux gives a nice
    // value to.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> i32 {
        // SAFETY: no memory is involved; 0 is the calling thread.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn a_nice_value_is_one_threads_own() {
        let before = nice();
        std::thread::spawn(move || {
            set_nice(before + 1).unwrap();
            assert_eq!(nice(), before + 1);
        })
        .join()
        .unwrap();
        assert_eq!(nice(), before);
    }
}
