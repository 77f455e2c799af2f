//! How long this machine takes to write a small file durably, as a checkpoint is, while a test
//! runs: a thread that does so again and again.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two writes: they are not to be what makes the disk slow.
const REST: Duration = Duration::from_millis(10);

/// See the module. Dropping it ends and joins its thread.
pub(crate) struct Yardstick {
    times: Arc<Mutex<Times>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Times {
    longest: Duration,
    /// Since when it writes, if it does.
    begun: Option<Instant>,
    is_over: bool,
}

impl Yardstick {
    /// Writes in a folder of its own, which it makes.
    pub(crate) fn start(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        let times = Arc::new(Mutex::new(Times::default()));
        let thread = {
            let times = Arc::clone(&times);
            thread::spawn(move || {
                while !times.lock().unwrap().is_over {
                    let begun = Instant::now();
                    times.lock().unwrap().begun = Some(begun);
                    write(&folder);
                    let mut times = times.lock().unwrap();
                    times.longest = times.longest.max(begun.elapsed());
                    times.begun = None;
                    drop(times);
                    thread::sleep(REST);
                }
            })
        };
        Self {
            times,
            thread: Some(thread),
        }
    }

    /// The longest that a write has taken since this was last asked, up to now.
    pub(crate) fn longest(&self) -> Duration {
        let mut times = self.times.lock().unwrap();
        let unfinished = times.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        std::mem::take(&mut times.longest).max(unfinished)
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        self.times.lock().unwrap().is_over = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A new file takes the place of the one before, and is durable then.
fn write(folder: &std::path::Path) {
    let (new, whole) = (folder.join("new"), folder.join("whole"));
    let mut file = File::create(&new).unwrap();
    file.write_all(&[b'x'; 1024]).unwrap();
    file.sync_all().unwrap();
    fs::rename(new, whole).unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
}
