//! The memory of this process.

/// The largest resident set so far in bytes, where the kernel tells.
#[must_use]
pub fn peak() -> Option<u64> {
    peak_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Reads `VmHWM` of /proc/PID/status, which the kernel gives in KiB. proc_pid_status(5).
fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_is_read_in_bytes() {
        assert_eq!(peak_in("VmPeak:\t  100 kB\nVmHWM:\t   5120 kB\n"), Some(5_242_880));
        assert_eq!(peak_in("VmHWM:\tsomething"), None);
        assert!(peak().is_some_and(|bytes| bytes > 1 << 20));
    }
}
