//! What the benches run on, and where on it.

#![allow(unsafe_code, reason = "sched_setaffinity(2), clock_gettime(2)")]

use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

/// The processors that the process was given.
static GIVEN: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let mut set = no_processors();
    // SAFETY: the pointer is to a set of the size given.
    let known = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } == 0;
    let all = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: the set is valid, and the numbers are below what it has room for.
    let given = all.filter(|cpu| known && unsafe { libc::CPU_ISSET(*cpu, &set) });
    given.collect()
});

/// The processors, the system, the compiler's target.
pub fn description() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let system = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = match GIVEN.len() {
        1 => "1 processor".to_owned(),
        count => format!("{count} processors"),
    };
    format!(
        "{processors} ({}), {} {}",
        model.as_deref().unwrap_or(std::env::consts::ARCH),
        std::env::consts::OS,
        system.trim()
    )
}

/// Has all threads that there are, and those that they will start, run on one processor.
pub fn use_one_processor() {
    run_on(&GIVEN[..GIVEN.len().min(1)]);
}

/// Undoes that.
pub fn use_all_processors() {
    run_on(&GIVEN);
}

/// If that can't be, the bench measures what there is.
fn run_on(cpus: &[usize]) {
    let mut set = no_processors();
    for cpu in cpus {
        // SAFETY: the set is valid, and had room for this number when it was given.
        unsafe { libc::CPU_SET(*cpu, &mut set) };
    }
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    for thread in threads.filter_map(|thread| thread.ok()?.file_name().to_str()?.parse().ok()) {
        // SAFETY: the pointer is to a set of the size given.
        unsafe { libc::sched_setaffinity(thread, size_of_val(&set), &set) };
    }
}

fn no_processors() -> libc::cpu_set_t {
    // SAFETY: a `cpu_set_t` is an array of integers, for which zero is the empty set.
    unsafe { std::mem::zeroed() }
}

/// How long the processors have run the calling thread, with what the kernel has done for it.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a valid `timespec`.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// As many descriptors as can be had: how many that is.
pub fn raise_descriptor_limit() -> usize {
    let raised = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    usize::try_from(raised).unwrap_or(usize::MAX)
}

/// The threads of a process that are called this and sleep in the kernel.
pub fn sleeping(process: &str, name: &str) -> usize {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok())
        .filter(|stat| stat.contains(&format!("({name}) S")))
        .count()
}
