//! What a scenario is told with: machines, their consoles, a server, ssh, and what must hold after every one.
//!
//! | module | holds |
//! |---|---|
//! | [`scenario`] | the work folder, what is checked after every scenario |
//! | [`artefacts`] | bootstrap, OS image and programs that were built |
//! | [`vm`], [`accel`], [`slots`] | a QEMU machine, how it is run, how many at a time |
//! | [`serial`], [`qmp`] | its console and its control socket |
//! | [`disk`] | disks as sparse files, their content's digest, the canary |
//! | [`http`] | a server with routes, a request log and faults |
//! | [`ssh`] | the ssh client |
//! | [`syslog`] | a receiver of remote logs |
//! | [`process`], [`wait`] | programs of the host; deadlines |
//! | [`secrets`] | the search for what must not be found |
//! | [`document`] | provision.json as Nailgun writes it |
//! | [`installed`] | what is asked of an installed system from outside |
//! | [`master`], [`journey`] | the embedded master as a process; a node's way with it |

pub mod accel;
pub mod artefacts;
pub mod disk;
pub mod document;
pub mod http;
pub mod installed;
pub mod journey;
pub mod master;
pub mod process;
pub mod qmp;
pub mod scenario;
pub mod secrets;
pub mod serial;
pub mod slots;
pub mod ssh;
pub mod syslog;
pub mod vm;
pub mod wait;
