//! Name lookups of a static binary.
#![allow(unsafe_code, reason = "glibc offers no other way to choose the lookup services")]

/// Fixes where names are looked up to what is inside the binary. Called first in `main`, before any thread or lookup.
///
/// A static glibc loads the modules that nsswitch.conf names, together with the libc they were built for, and dies in them
/// with SIGFPE; `files` and `dns` are part of libc.a since glibc 2.34.
pub fn pin() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    pin_databases();
}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
fn pin_databases() {
    use std::ffi::{c_char, c_int};

    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    for (database, services) in [
        (c"hosts", c"files dns"),
        (c"passwd", c"files"),
        (c"group", c"files"),
        (c"initgroups", c"files"),
        (c"shadow", c"files"),
        (c"gshadow", c"files"),
        (c"services", c"files"),
        (c"protocols", c"files"),
        (c"networks", c"files"),
        (c"ethers", c"files"),
        (c"rpc", c"files"),
    ] {
        // SAFETY: nss.h: both arguments are NUL-terminated strings that glibc copies; no other thread runs yet.
        let status = unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
        if status != 0 {
            // Lookups of this database would follow nsswitch.conf, which works on most machines.
            eprintln!("bedplate: fixing name lookups of {} failed", database.to_string_lossy());
        }
    }
}
