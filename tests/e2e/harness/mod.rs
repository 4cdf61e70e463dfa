//! What a scenario is told with: machines, their consoles, a server, ssh, and what must hold after every one.
//!
//! | module | holds |
//! |---|---|
//! | [`scenario`] | the work folder, what is checked after every scenario |
//! | [`artefacts`] | bootstrap, OS image and programs that were built |
//! | [`vm`], [`accel`], [`slots`] | a QEMU machine, how it is run, how many at a time |
//! | [`serial`], [`qmp`] | its console and its control socket |
//! | [`disk`] | disks as sparse files, their content's digest, the canary |
//! | [`write_log`] | what a disk was told, as QEMU recorded it |
//! | [`http`] | a server with routes, a request log and faults |
//! | [`ssh`] | the ssh client |
//! | [`syslog`] | a receiver of remote logs |
//! | [`process`], [`wait`] | programs of the host; deadlines |
//! | [`secrets`] | the search for what must not be found |
//! | [`record`] | a run, step by step, for programs |
//! | [`document`] | provision.json as Nailgun writes it |
//! | [`installed`] | what is asked of an installed system from outside |
//! | [`lan`] | a network of the scenario's own, with DHCP and TFTP |
//! | [`conductor`], [`asking`] | a broker, and who drives nodes through mcollective |
//! | [`cobbler`] | a cobblerd, its operator, and what an orchestrator asks of it |
//! | [`master`], [`journey`] | the embedded master as a process; a node's way with it |

pub mod accel;
pub mod artefacts;
#[path = "../../mcollective/conductor.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]
pub mod asking;
pub mod cobbler;
pub mod conductor;
pub mod disk;
pub mod document;
pub mod http;
pub mod installed;
pub mod journey;
pub mod lan;
pub mod master;
pub mod process;
pub mod qmp;
pub mod record;
pub mod scenario;
pub mod secrets;
pub mod serial;
pub mod slots;
pub mod ssh;
pub mod syslog;
pub mod vm;
pub mod wait;
pub mod write_log;
