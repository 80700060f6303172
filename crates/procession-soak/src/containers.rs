//! Real containers, one after the other: of runc alone, so no daemon has to run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::plan::{FIRST_CONTAINER, Token};

/// From the end of one to the beginning of the next.
const PAUSE: Duration = Duration::from_millis(700);

/// How a container ends: see the plan of one.
const CODE: i32 = 3;

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    is_paused: AtomicBool,
    is_running: AtomicBool,
    played: AtomicU64,
    failure: std::sync::Mutex<Option<String>>,
}

/// Containers that come and go until this is dropped.
#[derive(Debug)]
pub(crate) struct Containers {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Containers {
    /// Why there can be none, if so.
    pub(crate) fn shortcoming() -> Option<String> {
        let is_there = |program: &str| {
            let run =
                Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
            run.is_ok()
        };
        let missing = ["runc", "busybox"].into_iter().find(|program| !is_there(program));
        missing.map(|program| format!("{program} is not installed"))
    }

    pub(crate) fn start(home: &Path, run: u32, seed: u64) -> Result<Self> {
        let maker = Maker::new(home.join("containers"), run, seed)?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !theirs.is_over.load(Ordering::SeqCst) {
                theirs.is_running.store(true, Ordering::SeqCst);
                if !theirs.is_paused.load(Ordering::SeqCst) {
                    let number = theirs.played.load(Ordering::SeqCst);
                    if let Err(error) = maker.play(FIRST_CONTAINER + number) {
                        let mut failure =
                            theirs.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        failure.get_or_insert(format!("container {number}: {error:#}"));
                        return theirs.is_running.store(false, Ordering::SeqCst);
                    }
                    theirs.played.fetch_add(1, Ordering::SeqCst);
                }
                theirs.is_running.store(false, Ordering::SeqCst);
                thread::sleep(PAUSE);
            }
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits until none runs, and lets none begin.
    pub(crate) fn pause(&self) {
        self.shared.is_paused.store(true, Ordering::SeqCst);
        while self.shared.is_running.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn go_on(&self) {
        self.shared.is_paused.store(false, Ordering::SeqCst);
    }

    pub(crate) fn played(&self) -> u64 {
        self.shared.played.load(Ordering::SeqCst)
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Maker {
    folder: PathBuf,
    run: u32,
    seed: u64,
    spec: Value,
}

impl Maker {
    fn new(folder: PathBuf, run: u32, seed: u64) -> Result<Self> {
        let bin = folder.join("rootfs/bin");
        fs::create_dir_all(&bin)?;
        for name in ["proc", "dev", "sys", "tmp"] {
            fs::create_dir_all(folder.join("rootfs").join(name))?;
        }
        let busybox = which("busybox").context("busybox is not in the path")?;
        fs::copy(busybox, bin.join("busybox"))?;
        for name in ["sh", "true"] {
            symlink("busybox", bin.join(name))?;
        }
        let made = Command::new("runc").arg("spec").current_dir(&folder).status()?;
        ensure!(made.success(), "runc spec ended with {made}");
        let spec = serde_json::from_slice(&fs::read(folder.join("config.json"))?)?;
        Ok(Self { folder, run, seed, spec })
    }

    /// Runs one to its end.
    fn play(&self, act: u64) -> Result<()> {
        let token = |life| Token { run: self.run, seed: self.seed, act, life, image: 0 };
        let script = format!("/bin/true {}; /bin/true {}; exit {CODE}", token(1), token(2));
        // The shell's own first argument after the script is `$0`; for who looks on, the first is the token.
        let words = ["/bin/sh", &token(0).to_string()];
        let id = format!("{act:064x}");
        let mut spec = self.spec.clone();
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = words.into();
        spec["process"]["cwd"] = "/".into();
        spec["root"]["readonly"] = false.into();
        spec["linux"]["cgroupsPath"] = format!("/procession-soak-{}/{id}", self.run).into();
        fs::write(self.folder.join("rootfs").join(token(0).to_string()), script)?;
        fs::write(self.folder.join("config.json"), spec.to_string())?;
        let mut runc = Command::new("runc");
        runc.arg("--root")
            .arg(self.folder.join("state"))
            .arg("run")
            .arg("--bundle")
            .arg(&self.folder)
            .arg(&id);
        let output = runc.stdin(Stdio::null()).output()?;
        let _ = fs::remove_file(self.folder.join("rootfs").join(token(0).to_string()));
        ensure!(
            output.status.code() == Some(CODE),
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        // The folder of this run in each hierarchy; those of the containers runc has removed.
        for root in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(root.path().join(format!("procession-soak-{}", self.run)));
        }
        let _ = fs::remove_dir(format!("/sys/fs/cgroup/procession-soak-{}", self.run));
    }
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
