//! Folders and files: there, and permitted.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};

use super::findings::Findings;
use crate::config::{Config, Login};
use crate::engine::os::files::read_regular;
use crate::engine::os::process::{may_change, user_id};
use crate::limits::{LOGIN_FILE_BYTES_MAX, STATE_ROOM_BYTES_MIN};

/// `sync.logs_path`: a folder that we can read and delete in.
pub(super) fn logs(config: &Config, findings: &mut Findings) {
    let path = &config.sync.logs_path;
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) => {
            return findings.fault(format!(
                "sync.logs_path: {shown}: {error}; give the folder to which HA writes its logs"
            ));
        }
        Ok(metadata) if !metadata.is_dir() => {
            return findings.fault(format!(
                "sync.logs_path: {shown} is no folder; give the folder to which HA writes its logs"
            ));
        }
        Ok(_) => {}
    }
    if let Err(error) = may_change(path) {
        findings.fault(format!(
            "sync.logs_path: {shown}: {error}; it must be readable and writable, \
            since finished logs are deleted"
        ));
    }
    // The textual comparison at parsing doesn't see links.
    if let (Ok(logs), Ok(state)) = (path.canonicalize(), config.state_path().canonicalize())
        && logs == state
    {
        findings.fault(format!(
            "sync.logs_path: {shown} is our own state folder {}; give HA's log folder",
            config.state_path().display()
        ));
    }
    findings.fact("logs", shown.to_string());
}

/// `<ngx_path>/status`: there and writable, or to be made.
pub(super) fn state(config: &Config, findings: &mut Findings) {
    let state = config.state_path();
    let Some(existing) = state.ancestors().find(|path| path.exists()) else {
        return findings.fault(format!(
            "sync.ngx_path: no part of {} exists; give HA's home",
            state.display()
        ));
    };
    let made = if existing == state {
        ""
    } else {
        " (to be made)"
    };
    if !existing.is_dir() {
        return findings.fault(format!(
            "sync.ngx_path: {} is no folder, so the state folder {} can't be made; give HA's home",
            existing.display(),
            state.display()
        ));
    }
    if let Ok(system) = statvfs(existing)
        && let Some(why) = takes_no_write(&system, writes_as_superuser(existing))
    {
        let told = format!(
            "sync.ngx_path: {}: its file system {why}",
            existing.display()
        );
        let is_read_only = system.f_flag.contains(StatVfsMountFlags::RDONLY);
        match state.join(".spare").exists() && !is_read_only {
            true => findings.warning(format!(
                "{told}; until then a server that runs goes on by the room that it kept aside"
            )),
            false => findings.fault(format!(
                "{told}; without its state in {} the server replays nothing and deletes no log",
                state.display()
            )),
        }
    }
    match may_change(existing) {
        Ok(()) => findings.fact("state", format!("{}{made}", state.display())),
        Err(error) => findings.fault(format!(
            "sync.ngx_path: {}: {error}; let the user that runs hustdbsync write there, for its \
             state in {}",
            existing.display(),
            state.display()
        )),
    }
}

/// Whether the server writes there as the superuser, as far as its folder tells: `check` may be run
/// by another user than the server.
fn writes_as_superuser(folder: &Path) -> bool {
    user_id() == 0 && fs::metadata(folder).is_ok_and(|folder| folder.uid() == 0)
}

/// Why nothing can be written to a file system, by the superuser or by others; a bound that it does
/// not tell is none.
fn takes_no_write(system: &StatVfs, is_superuser: bool) -> Option<&'static str> {
    let (blocks, files) = match is_superuser {
        true => (system.f_bfree, system.f_ffree),
        false => (system.f_bavail, system.f_favail),
    };
    let free_bytes = blocks.saturating_mul(system.f_frsize);
    if system.f_flag.contains(StatVfsMountFlags::RDONLY) {
        Some("is read-only; find out why, and mount it anew")
    } else if system.f_blocks > 0 && free_bytes < STATE_ROOM_BYTES_MIN {
        Some("is full; make room there")
    } else if system.f_files > 0 && files == 0 {
        Some("takes no more files (df -i); remove some there")
    } else {
        None
    }
}

/// `sync.auth_path`: the login for the backends.
pub(super) fn login(config: &Config, findings: &mut Findings) {
    let path = &config.sync.auth_path;
    let shown = path.display();
    let (text, mode) = match read_login(path) {
        Ok(read) => read,
        Err(error) => {
            return findings.fault(format!(
                "sync.auth_path: {shown}: {error}; give a readable file \
                whose first line is user:password"
            ));
        }
    };
    match Login::parse(&text) {
        Err(error) => findings.fault(format!("sync.auth_path: {shown}: {error}")),
        Ok(login) => {
            if login.looks_hashed() {
                findings.warning(format!(
                    "sync.auth_path: the password in {shown} looks like a hash; the backends take \
                     it in plain text only"
                ));
            }
            findings.fact("login", format!("user {} from {shown}", login.user()));
        }
    }
    readable_by_others("sync.auth_path", path, mode, findings);
}

/// The files that the HTTP server's passwords stand in.
pub(super) fn passwords(config: &Config, findings: &mut Findings) {
    for (setting, path) in config.password_files() {
        // That a file can't be read is told already.
        if let Ok(metadata) = fs::metadata(path) {
            readable_by_others(&setting, path, metadata.permissions().mode(), findings);
        }
    }
}

fn readable_by_others(setting: &str, path: &Path, mode: u32, findings: &mut Findings) {
    if mode & 0o004 != 0 {
        findings.warning(format!(
            "{setting}: others can read the password in {}; take that away with chmod o-r",
            path.display()
        ));
    }
}

fn read_login(path: &Path) -> std::io::Result<(Vec<u8>, u32)> {
    let text = read_regular(path, LOGIN_FILE_BYTES_MAX)?;
    Ok((text, fs::metadata(path)?.permissions().mode()))
}

/// The folder of the configuration, where a daemon has its pid file and log.
pub(super) fn beside_configuration(config: &Config, findings: &mut Findings) {
    let folder = config
        .path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if let Err(error) = may_change(folder) {
        findings.warning(format!(
            "{}: {error}; a daemon writes its pid file and log there. `hustdbsync run` doesn't \
             need it",
            folder.display()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::harness::{Home, set_mode};
    use crate::config::Secret;

    #[test]
    fn a_log_folder_that_is_missing_or_no_folder_is_a_fault() {
        let mut home = Home::new();
        home.config.sync.logs_path = home.path("none");
        home.check(
            &[
                "sync.logs_path: ~/none: No such file or directory (os error 2); give the \
            folder to which HA writes its logs",
            ],
            &[],
        );
        home.config.sync.logs_path = home.path("htpasswd");
        home.check(
            &[
                "sync.logs_path: ~/htpasswd is no folder; give the folder to which HA writes \
            its logs",
            ],
            &[],
        );
    }

    #[test]
    fn a_link_from_the_log_folder_to_the_state_folder_is_found() {
        let mut home = Home::new();
        std::os::unix::fs::symlink(home.path("status"), home.path("link")).unwrap();
        home.config.sync.logs_path = home.path("link");
        home.check(
            &["sync.logs_path: ~/link is our own state folder ~/status; give HA's log folder"],
            &[],
        );
    }

    #[test]
    fn a_state_folder_is_made_where_it_can_be() {
        let mut home = Home::new();
        fs::remove_dir(home.path("status")).unwrap();
        home.check(&[], &[]);
        home.config.sync.ngx_path = home.path("htpasswd");
        home.check(
            &[
                "sync.ngx_path: ~/htpasswd is no folder, so the state folder ~/htpasswd/status \
            can't be made; give HA's home",
            ],
            &[],
        );
    }

    #[test]
    fn a_file_system_that_takes_no_write_is_told_from_one_that_does() {
        let roomy = || StatVfs {
            f_bsize: 4096,
            f_frsize: 4096,
            f_blocks: 1000,
            f_bfree: 100,
            f_bavail: 50,
            f_files: 1000,
            f_ffree: 10,
            f_favail: 10,
            f_fsid: 0,
            f_flag: StatVfsMountFlags::empty(),
            f_namemax: 255,
        };
        let check = |spoil: fn(&mut StatVfs), by: [Option<&str>; 2]| {
            let mut system = roomy();
            spoil(&mut system);
            let told = [true, false].map(|superuser| takes_no_write(&system, superuser));
            let begins = told.map(|why| why.and_then(|why| why.split(';').next()));
            assert_eq!(begins, by);
        };
        let full = Some("is full");
        check(|_| (), [None; 2]);
        check(|it| it.f_bavail = 0, [None, full]);
        check(|it| (it.f_bavail, it.f_bfree) = (0, 0), [full; 2]);
        // Some, as those of FUSE, tell nothing.
        check(
            |it| {
                (it.f_blocks, it.f_bavail, it.f_bfree) = (0, 0, 0);
                (it.f_files, it.f_favail, it.f_ffree) = (0, 0, 0);
            },
            [None; 2],
        );
        let no_files = Some("takes no more files (df -i)");
        check(|it| (it.f_favail, it.f_ffree) = (0, 0), [no_files; 2]);
        let read_only = Some("is read-only");
        check(|it| it.f_flag = StatVfsMountFlags::RDONLY, [read_only; 2]);
    }

    #[test]
    fn a_login_that_is_missing_or_malformed_is_a_fault() {
        let home = Home::new();
        fs::write(home.path("htpasswd"), "no colon\n").unwrap();
        home.check(
            &["sync.auth_path: ~/htpasswd: its first line has no colon; write user:password there"],
            &[],
        );
        fs::remove_file(home.path("htpasswd")).unwrap();
        home.check(
            &["sync.auth_path: ~/htpasswd: No such file or directory (os error 2); give a readable \
                file whose first line is user:password"],
            &[],
        );
        fs::create_dir(home.path("htpasswd")).unwrap();
        home.check(
            &[
                "sync.auth_path: ~/htpasswd: is a directory; give a readable file whose first \
            line is user:password",
            ],
            &[],
        );
    }

    #[test]
    fn a_login_that_others_can_read_and_one_that_looks_hashed_are_warnings() {
        let home = Home::new();
        fs::write(home.path("htpasswd"), "user:$apr1$a$b\n").unwrap();
        set_mode(&home.path("htpasswd"), 0o644);
        home.check(
            &[],
            &[
                "sync.auth_path: the password in ~/htpasswd looks like a hash; the backends take \
                 it in plain text only",
                "sync.auth_path: others can read the password in ~/htpasswd; take that away with \
                 chmod o-r",
            ],
        );
    }

    #[test]
    fn passwords_that_others_can_read_are_warnings() {
        let mut home = Home::new();
        fs::write(&home.config.path, "{}").unwrap();
        set_mode(&home.config.path, 0o644);
        home.check(&[], &[]);
        home.config.network.passwd = Secret::new("secret");
        home.config.network.viewer_password_file = Some(home.path("viewer"));
        fs::write(home.path("viewer"), "seen\n").unwrap();
        set_mode(&home.path("viewer"), 0o644);
        home.check(
            &[],
            &[
                "network.passwd: others can read the password in ~/conf/sync_server.json; take \
                 that away with chmod o-r",
                "network.viewer_password_file: others can read the password in ~/viewer; take \
                 that away with chmod o-r",
            ],
        );
        set_mode(&home.config.path, 0o640);
        set_mode(&home.path("viewer"), 0o600);
        home.check(&[], &[]);
    }

    #[test]
    fn a_configuration_in_a_folder_that_is_gone_is_a_warning() {
        let home = Home::new();
        fs::remove_dir(home.path("conf")).unwrap();
        home.check(
            &[],
            &[
                "~/conf: No such file or directory (os error 2); a daemon writes its pid file and \
                 log there. `hustdbsync run` doesn't need it",
            ],
        );
    }
}
