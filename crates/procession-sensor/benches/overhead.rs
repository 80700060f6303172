//! What the sensor costs those who fork: CPU time per fork + exec + exit of a tiny static program.
//!
//! Three arrangements take turns, so that a machine that gets slower or faster in between treats
//! them alike: no sensor; empty programs on the same hooks, which is what any BPF sensor costs;
//! and our sensor with its reader. Printed are medians, and ratios to *no sensor* in the same run.
//!
//! ```text
//! cargo bench -p procession-sensor --bench overhead                 # as root
//! PROCESSES=8000 ROUNDS=15 cargo bench -p procession-sensor --bench overhead
//! ```

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{env, fs, mem, ptr};

use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf};
use procession::EventKind;
use procession_sensor::{EbpfConfig, EbpfSource, Source};

static EMPTY: &[u8] = aya::include_bytes_aligned!("../bpf/empty.bpf.o");

const HOOKS: [(&str, &str); 3] =
    [("on_fork", "sched_process_fork"), ("on_exec", "sched_process_exec"), ("on_exit", "sched_process_exit")];

fn main() {
    // `cargo test --benches` runs benchmarks to see that they start.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let setting =
        |name: &str, default| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (processes, rounds) = (setting("PROCESSES", 4_000), setting("ROUNDS", 9));
    let program = tiny_program();
    // The caches are warm, and the frequency is up.
    spawn_all(&program, processes);

    let (mut none, mut empty, mut sensor, mut reader) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        none.push(cost(&program, processes));
        let programs = attach_empty();
        empty.push(cost(&program, processes));
        drop(programs);
        let reading = Reading::start();
        sensor.push(cost(&program, processes));
        reader.push(reading.stop(processes));
    }
    let base = median(&mut none);
    println!("{processes} processes a round, {rounds} rounds, medians");
    println!("{:<28} {:>12} {:>10}", "arrangement", "CPU us each", "ratio");
    for (name, values) in [("no sensor", &mut none), ("empty programs", &mut empty), ("sensor", &mut sensor)]
    {
        let value = median(values);
        println!("{name:<28} {value:>12.2} {:>10.3}", value / base);
    }
    let reader = median(&mut reader);
    println!("{:<28} {reader:>12.2} {:>10.3}", "the reader, on its own", reader / base);
}

/// CPU microseconds per process, of the one who spawns and of the children.
fn cost(program: &Path, processes: u32) -> f64 {
    let before = cpu_time(libc::RUSAGE_THREAD) + cpu_time(libc::RUSAGE_CHILDREN);
    spawn_all(program, processes);
    let after = cpu_time(libc::RUSAGE_THREAD) + cpu_time(libc::RUSAGE_CHILDREN);
    after.saturating_sub(before).as_secs_f64() * 1e6 / f64::from(processes)
}

/// The cheapest way that there is, so that the sensor's share is as large as it can be.
fn spawn_all(program: &Path, processes: u32) {
    let path = CString::new(program.as_os_str().as_bytes()).unwrap();
    let arguments = [path.as_ptr().cast_mut(), ptr::null_mut()];
    let environment = [ptr::null_mut()];
    for _ in 0..processes {
        let (mut pid, mut status) = (0, 0);
        // SAFETY: the path ends in NUL, both vectors end in a null pointer, and all of them outlive
        // the call; the two attribute pointers may be null.
        let error = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                path.as_ptr(),
                ptr::null(),
                ptr::null(),
                arguments.as_ptr(),
                environment.as_ptr(),
            )
        };
        assert_eq!(error, 0);
        // SAFETY: waitpid(2) writes one integer to the pointer, which leads to a valid one.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
    }
}

fn cpu_time(who: libc::c_int) -> Duration {
    // SAFETY: all zero bytes are a valid `rusage`, a struct of integers.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: getrusage(2) writes one `rusage` to the pointer, which leads to a valid one.
    assert_eq!(unsafe { libc::getrusage(who, &raw mut usage) }, 0);
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.try_into().unwrap())
            + Duration::from_micros(t.tv_usec.try_into().unwrap())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn attach_empty() -> Ebpf {
    let btf = Btf::from_sys_fs().unwrap();
    let mut ebpf = Ebpf::load(EMPTY).unwrap();
    for (name, tracepoint) in HOOKS {
        let program: &mut BtfTracePoint = ebpf.program_mut(name).unwrap().try_into().unwrap();
        program.load(tracepoint, &btf).unwrap();
        program.attach().unwrap();
    }
    ebpf
}

/// The sensor, and a thread that reads it.
struct Reading {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, Duration)>,
}

impl Reading {
    fn start() -> Self {
        let mut source = EbpfSource::open(EbpfConfig::default()).unwrap();
        source.walk(&mut |_| {}).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut exits = 0;
            let before = cpu_time(libc::RUSAGE_THREAD);
            let mut count = |event: &procession::Event<'_>| match event.kind {
                EventKind::Exit(_) => exits += 1,
                EventKind::Lost(lost) => panic!("{lost} events lost"),
                _ => {}
            };
            while !asked.load(Ordering::Acquire) {
                source.poll(Duration::from_millis(20), &mut count).unwrap();
            }
            source.finish(&mut count).unwrap();
            (exits, cpu_time(libc::RUSAGE_THREAD).saturating_sub(before))
        });
        Self { stop, thread }
    }

    /// CPU microseconds of the reader per process.
    fn stop(self, processes: u32) -> f64 {
        self.stop.store(true, Ordering::Release);
        let (exits, cpu) = self.thread.join().unwrap();
        assert!(exits >= processes, "{exits} exits of {processes}");
        cpu.as_secs_f64() * 1e6 / f64::from(processes)
    }
}

/// The least program that there is: static, and gone at once.
fn tiny_program() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (directory.join("tiny.c"), directory.join("tiny"));
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let built = Command::new("cc").args(["-O2", "-static", "-o"]).args([&program, &source]).status();
    assert!(built.is_ok_and(|status| status.success()), "needs a C compiler and a static C library");
    program
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
