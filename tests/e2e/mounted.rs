//! What is mounted while a test runs: a disk in a file, by loop devices; a folder on another;
//! memory. For whoever may.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};

const BYTES: u64 = 8 << 20;
/// Machines have eight loop devices, and a test takes several.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A file system in a file, mounted on a folder. All is undone when this goes, also where the test
/// fails.
pub(crate) struct Disk {
    on: PathBuf,
    /// Files that are attached and their loop devices; what is mounted is the last one.
    attached: Vec<(PathBuf, String)>,
    _alone: MutexGuard<'static, ()>,
}

impl Disk {
    /// Makes one in the file `image`, and mounts it on the folder `on`. Or says why this can't be.
    pub(crate) fn mount(image: &Path, on: &Path) -> Result<Self, String> {
        let alone = ONE_AT_A_TIME.lock();
        let mut disk = Self {
            on: on.to_owned(),
            attached: Vec::new(),
            _alone: alone.unwrap_or_else(|poisoned| poisoned.into_inner()),
        };
        File::create(image).unwrap().set_len(BYTES).unwrap();
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image])?;
        disk.attach(image)?;
        disk.mount_last()?;
        Ok(disk)
    }

    /// Unmounts it and mounts it again, with another device number.
    pub(crate) fn mount_again(&mut self) {
        must(run("umount", &[&self.on]));
        // While the first is attached, the other gets another number.
        let (image, first) = self.attached.pop().unwrap();
        let attached = self.attach(&image);
        must(run("losetup", &["-d".as_ref(), Path::new(&first)]));
        must(attached);
        must(self.mount_last());
    }

    /// A copy of the disk as it is now, inode numbers and all; gives its file.
    pub(crate) fn copy(&self) -> PathBuf {
        let (image, _) = self.attached.last().unwrap();
        let copy = image.with_extension(self.attached.len().to_string());
        must(run("fsfreeze", &["-f".as_ref(), &*self.on]));
        let copied = fs::copy(image, &copy);
        let thawed = run("fsfreeze", &["-u".as_ref(), &*self.on]);
        copied.unwrap();
        must(thawed);
        copy
    }

    /// Takes it away from whoever has files of it open. They keep these.
    pub(crate) fn unmount_lazily(&self) {
        must(run("umount", &["-l".as_ref(), &*self.on]));
    }

    /// Mounts a copy in its place, over it where it is mounted.
    pub(crate) fn mount_copy(&mut self, copy: &Path) {
        must(self.attach(copy));
        must(self.mount_last());
    }

    fn attach(&mut self, image: &Path) -> Result<(), String> {
        let device = run("losetup", &["--find".as_ref(), "--show".as_ref(), image])?;
        let device = device.trim().to_owned();
        self.attached.push((image.to_owned(), device));
        Ok(())
    }

    fn mount_last(&self) -> Result<(), String> {
        let (_, device) = self.attached.last().unwrap();
        let args = ["-t", "ext4", device].map(Path::new);
        run("mount", &[&args[..], &[&*self.on]].concat()).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // One by one those that are mounted over one another, until there is none.
        while run("umount", &["-l".as_ref(), &*self.on]).is_ok() {}
        for (_, device) in &self.attached {
            // One that is still held goes with its last holder.
            let _ = run("losetup", &["-d".as_ref(), Path::new(device)]);
        }
    }
}

/// Something mounted on a folder. It is undone when this goes.
pub(crate) struct Mount {
    on: PathBuf,
}

impl Mount {
    /// Mounts the folder `from` on the folder `on` too. Or says why this can't be.
    pub(crate) fn bind(from: &Path, on: &Path) -> Result<Self, String> {
        run("mount", &["--bind".as_ref(), from, on])?;
        Ok(Self { on: on.to_owned() })
    }

    /// Mounts an empty file system in memory. Or says why this can't be.
    pub(crate) fn memory(on: &Path) -> Result<Self, String> {
        let args = ["-t", "tmpfs", "-o", "size=1m", "none"].map(Path::new);
        run("mount", &[&args[..], &[on]].concat())?;
        Ok(Self { on: on.to_owned() })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("umount", &["-l".as_ref(), &*self.on]);
    }
}

/// Runs a program of the system's; gives what it says.
fn run(program: &str, args: &[&Path]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
        )
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", said.trim()))
}

#[track_caller]
fn must<T>(done: Result<T, String>) -> T {
    done.unwrap_or_else(|why| panic!("{why}"))
}
