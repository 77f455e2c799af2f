//! How many files this process may have open.

use std::io;

/// The bound that [`raise_bound`] would give.
///
/// # Errors
/// What getrlimit(2) says.
pub(crate) fn highest_bound() -> io::Result<u64> {
    Ok(bounds()?.rlim_max)
}

/// Raises the bound as far as the system lets us without rights, and gives it.
///
/// # Errors
/// What getrlimit(2) or setrlimit(2) says.
pub fn raise_bound() -> io::Result<u64> {
    let mut bound = bounds()?;
    if bound.rlim_cur < bound.rlim_max {
        bound.rlim_cur = bound.rlim_max;
        // SAFETY: `bound` is a whole rlimit and lives through the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const bound) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(bound.rlim_cur)
}

fn bounds() -> io::Result<libc::rlimit> {
    let mut bound = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `bound` is a whole rlimit and lives through the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut bound) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_raised_once_and_for_all() {
        let bound = raise_bound().unwrap();
        assert!(bound > 0);
        assert_eq!(highest_bound().unwrap(), bound);
        assert_eq!(raise_bound().unwrap(), bound);
    }
}
