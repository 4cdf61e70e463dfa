//! Extended attributes. xattr(7).
#![allow(unsafe_code, reason = "nix has no calls for them; each call states the kernel's contract")]

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::errno::Errno;
use nix::libc;

/// Sets an attribute of an open file or folder.
///
/// # Errors
/// What the kernel says; `EINVAL` for a name with a zero byte.
pub fn set(file: impl AsFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the name ends with a zero byte, the value is as long as told, and the kernel only reads both; the descriptor
    // is open as long as `file` lives.
    let done =
        unsafe { libc::fsetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(done).map(drop)
}

/// Sets an attribute of what has this name in an open folder, also where that cannot be opened: a link, a device, a pipe.
///
/// `last` is one part of a path. The kernel has no call for it before 6.13; /proc leads to the folder.
///
/// # Errors
/// What the kernel says; `EINVAL` when `last` is no part of a path.
pub fn set_at(folder: impl AsFd, last: &[u8], name: &[u8], value: &[u8]) -> Result<(), Errno> {
    if last.is_empty() || last == b"." || last == b".." || last.contains(&b'/') {
        return Err(Errno::EINVAL);
    }
    let path = [format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).as_bytes(), last].concat();
    let (path, name) = (CString::new(path).map_err(|_| Errno::EINVAL)?, CString::new(name).map_err(|_| Errno::EINVAL)?);
    // SAFETY: path and name end with a zero byte, the value is as long as told, and the kernel only reads all three.
    let done = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(done).map(drop)
}
