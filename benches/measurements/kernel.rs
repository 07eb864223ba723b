//! What the kernel knows of processes: CPU time and memory.

#![allow(unsafe_code, reason = "the standard library waits for a process, but does not tell what it used")]

use std::process::Child;
use std::time::Duration;

/// What a process used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub user: Duration,
    pub system: Duration,
    /// Bytes.
    pub peak_rss: u64,
}

impl Usage {
    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }

    fn of(used: &libc::rusage) -> Self {
        let time = |time: libc::timeval| Duration::from_micros((time.tv_sec * 1_000_000 + time.tv_usec) as u64);
        Self { user: time(used.ru_utime), system: time(used.ru_stime), peak_rss: used.ru_maxrss as u64 * 1024 }
    }
}

/// Microseconds of `time` for each of `events` events.
pub fn micros(time: Duration, events: usize) -> f64 {
    time.as_secs_f64() * 1e6 / events as f64
}

/// Waits for a child: its exit status as `wait` gives it, and what it used in its life.
pub fn wait(child: &Child) -> (i32, Usage) {
    let mut status = 0;
    // SAFETY: both are plain old data of this frame, which `wait4` fills; the child is ours and not yet waited for.
    let used = unsafe {
        let mut used = std::mem::zeroed::<libc::rusage>();
        assert_eq!(libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut used), child.id() as libc::pid_t);
        used
    };
    (status, Usage::of(&used))
}

/// CPU time that this thread has spent. What it does in its own code costs the kernel nothing.
pub fn thread_cpu() -> Duration {
    // SAFETY: `timespec` is plain old data of this frame, which `clock_gettime` fills.
    let time = unsafe {
        let mut time = std::mem::zeroed::<libc::timespec>();
        assert_eq!(libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time), 0);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What a running process has used so far. CPU time comes in hundredths of a second.
pub fn so_far(process: u32) -> Usage {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |index: usize| Duration::from_millis(10 * fields[index].parse::<u64>().unwrap());
    Usage { user: ticks(11), system: ticks(12), peak_rss: status(process, "VmHWM") }
}

/// Bytes of memory that a process holds now.
pub fn rss(process: u32) -> u64 {
    status(process, "VmRSS")
}

fn status(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
