//! The memory of this process.

/// The largest resident set so far in bytes, where the kernel tells.
#[must_use]
pub fn peak() -> Option<u64> {
    peak_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Gives large buffers back to the system as soon as they are freed.
///
/// glibc would learn from the first of them to keep the next in its heap, where blocks of xz add up. mallopt(3).
#[allow(unsafe_code, reason = "mallopt has no safe wrapper")]
pub fn return_large_buffers() {
    // SAFETY: mallopt sets a number of the allocator and takes no address; an answer of 0 leaves everything as it was.
    let _unchanged = unsafe { nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, LARGE) };
}

/// Bytes from which on a buffer counts as large.
const LARGE: nix::libc::c_int = 4 << 20;

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
