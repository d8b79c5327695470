//! Time, processors and memory, as Linux counts them.

use std::fs;

use anyhow::{Context, Result};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// Where a process runs, if there are two processors or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Core {
    /// Callers and upstream share one.
    Load,
    /// Envoy has one.
    Envoy,
}

/// The clock that all processes of this machine share, in nanoseconds.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or_default()
}

/// Puts all threads of a process on one processor. Does nothing on a machine with only one.
pub(super) fn pin(process: u32, core: Core) -> Result<()> {
    if let Some(set) = place(core) {
        for thread in threads(process)? {
            // one that has ended meanwhile needs no place
            let _moved = sched_setaffinity(Pid::from_raw(thread), &set).is_ok();
        }
    }
    Ok(())
}

/// The same for the calling thread.
pub(super) fn pin_this_thread(core: Core) -> Result<()> {
    match place(core) {
        Some(set) => Ok(sched_setaffinity(None, &set)?),
        None => Ok(()),
    }
}

fn place(core: Core) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    set.set(match core {
        Core::Load => 0,
        Core::Envoy => 1,
    });
    (processors() >= 2).then_some(set)
}

fn processors() -> usize {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let each = info.lines().filter(|line| line.starts_with("processor"));
    each.count()
}

/// Processor time of a process so far, in nanoseconds: what the scheduler has counted for its
/// threads, or if it does not, the process's ticks.
pub(super) fn used_ns(process: u32) -> Result<u64> {
    let mut total = 0;
    for thread in threads(process)? {
        let counted = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat"));
        let Ok(counted) = counted else {
            return ticks(process);
        };
        let used = counted.split_ascii_whitespace().next().unwrap_or_default();
        total += used.parse::<u64>()?;
    }
    Ok(total)
}

fn ticks(process: u32) -> Result<u64> {
    const TICK_NS: u64 = 10_000_000;
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("no stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let field =
        |number: usize| -> Result<u64> { Ok(fields.get(number).context("no stat")?.parse()?) };
    Ok((field(11)? + field(12)?) * TICK_NS)
}

/// Resident memory of a process, in KiB.
pub(super) fn resident_kib(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(text.parse()?)
}

/// What the machine is, in words.
pub(super) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |line| line.trim_start_matches([' ', '\t', ':']));
    format!("{} x {model}", processors())
}

fn threads(process: u32) -> Result<Vec<i32>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        if let Some(thread) = entry?.file_name().to_str() {
            threads.push(thread.parse()?);
        }
    }
    Ok(threads)
}
