//! What the kernel knows about processes: processor time and memory.

use std::fs;

use anyhow::{Context as _, Result};

/// Nanoseconds on a processor, user and system, of all threads: the first number of
/// /proc/PID/task/TID/schedstat (kernel documentation, scheduler/sched-stats).
pub(crate) fn cpu_ns(pids: &[u32]) -> Result<u64> {
    let mut sum = 0_u64;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = task?.path().join("schedstat");
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let first = text.split_whitespace().next().context("an empty schedstat")?;
            sum = sum.saturating_add(first.parse::<u64>()?);
        }
    }
    Ok(sum)
}

/// KiB of memory with shared pages divided among those who share them: Pss of
/// /proc/PID/smaps_rollup, over a whole process tree.
pub(crate) fn pss_kib(pids: &[u32]) -> Result<u64> {
    let mut sum = 0_u64;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let number = line.and_then(|line| line.split_whitespace().next()).context("no Pss")?;
        sum = sum.saturating_add(number.parse::<u64>()?);
    }
    Ok(sum)
}
