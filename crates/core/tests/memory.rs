//! What a body needs while a mapping has it: at most so many times its own size, whatever its shape.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a failed step is a failed test

use portcullis_core::mapping::Value;

/// As docs/reference/mapping.md says.
const TIMES: usize = 64;
const SIZE: usize = 4 * 1024 * 1024;

/// KiB of this process in memory (proc_pid_status(5)).
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_body_needs_no_more_than_a_stated_multiple_of_itself() {
    let mut held = Vec::new();
    for item in ["0", "\"\"", "[]", "{}", "[0]", "{\"a\":0}", "\"aaaaaaaaaaaaaaaaaaaaaaaa\"", "1.5"]
    {
        let count = SIZE / (item.len() + 1);
        let text = format!("[{}0]", format!("{item},").repeat(count));
        let before = resident();
        held.push(Value::parse(text.as_bytes()).unwrap());
        let needed = resident().saturating_sub(before) * 1024;
        let times = needed / text.len();
        assert!(times <= TIMES, "{item}: {times} times");
    }
}
