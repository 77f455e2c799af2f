//! The preloaded library that makes calls fail (shim.c), and its strings.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The library, built once. It goes away with the folder that cargo gives tests.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults_shim.so");
    let output = Command::new("cc")
        .args([
            "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
        ])
        .arg(&library)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c"))
        .arg("-ldl")
        .output()
        .expect("a C compiler called cc, which these tests need");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    library
});

/// Where in the file `struct fault` has what.
const ARMED: u64 = 0;
const LEFT: u64 = 8;
const HITS: u64 = 12;
const CALL_BYTES: usize = 24;
const ABOUT_BYTES: usize = 88;

/// How one process is made to fail.
pub(crate) struct Faults {
    file: File,
    path: PathBuf,
}

impl Faults {
    /// None yet; the file that the process shares is made below `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let path = folder.join("fault");
        let file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        file.set_len(16 + CALL_BYTES as u64 + ABOUT_BYTES as u64)
            .unwrap();
        Self { file, path }
    }

    /// What the process needs in its environment.
    pub(crate) fn environment(&self) -> [(&'static str, &str); 2] {
        [
            ("LD_PRELOAD", LIBRARY.to_str().unwrap()),
            ("FAULT_FILE", self.path.to_str().unwrap()),
        ]
    }

    /// From now on `call`s about `about` fail with `error`, or do a part only where it is 0, or
    /// hang for `-error` seconds: `left` times, or always.
    pub(crate) fn arm(&self, call: &str, about: &str, error: i32, left: Option<i32>) {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&error.to_ne_bytes());
        bytes.extend_from_slice(&left.unwrap_or(-1).to_ne_bytes());
        bytes.extend_from_slice(&0i32.to_ne_bytes());
        let mut text = |text: &str, room: usize| {
            assert!(text.len() < room, "{text}");
            bytes.extend_from_slice(text.as_bytes());
            bytes.resize(bytes.len() + room - text.len(), 0);
        };
        text(call, CALL_BYTES);
        text(about, ABOUT_BYTES);
        self.file.write_all_at(&bytes, ARMED + 4).unwrap();
        self.file.write_all_at(&1i32.to_ne_bytes(), ARMED).unwrap();
    }

    /// No call fails any more.
    pub(crate) fn disarm(&self) {
        self.file.write_all_at(&0i32.to_ne_bytes(), ARMED).unwrap();
    }

    /// How often the last one has struck.
    pub(crate) fn hits(&self) -> i32 {
        self.number(HITS)
    }

    /// Whether it has struck as often as it was to.
    pub(crate) fn is_spent(&self) -> bool {
        self.number(LEFT) == 0
    }

    fn number(&self, at: u64) -> i32 {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        i32::from_ne_bytes(bytes)
    }
}
