//! What a disk says of its own health: NVMe's critical warning, ATA's SMART status. Asked of the device, within a time.
#![allow(unsafe_code, reason = "ioctls; each call states the kernel's contract")]

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{c_int, c_void};

/// How long the device may take; the kernel ends the command then.
const COMMAND_MS: u32 = 5_000;
/// How long is waited for the kernel.
const PATIENCE: Duration = Duration::from_secs(15);

/// linux/nvme_ioctl.h, `struct nvme_passthru_cmd`.
#[repr(C)]
#[derive(Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    words_2_and_3: [u32; 2],
    metadata: u64,
    address: u64,
    metadata_length: u32,
    data_length: u32,
    words_10_to_15: [u32; 6],
    timeout_ms: u32,
    result: u32,
}

/// scsi/sg.h, `struct sg_io_hdr`.
#[repr(C)]
struct ScsiRequest {
    interface_id: c_int,
    direction: c_int,
    command_length: u8,
    sense_length: u8,
    pieces: u16,
    data_length: u32,
    data: *mut c_void,
    command: *mut u8,
    sense: *mut u8,
    timeout_ms: u32,
    flags: u32,
    pack_id: c_int,
    user: *mut c_void,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_written: u8,
    host_status: u16,
    driver_status: u16,
    resid: c_int,
    duration_ms: u32,
    info: u32,
}

mod ioctl {
    use super::{NvmeCommand, ScsiRequest};

    nix::ioctl_readwrite!(nvme_admin, b'N', 0x41, NvmeCommand);
    nix::ioctl_readwrite_bad!(sg_io, 0x2285, ScsiRequest);
}

/// What to do with a disk that is not well.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum UnhealthyDisks {
    /// Tell of it, and go on.
    #[default]
    Warn,
    /// Refuse the run.
    Refuse,
}

impl UnhealthyDisks {
    /// What the word stands for.
    ///
    /// # Errors
    /// A text that names the words.
    pub fn parse(word: &str) -> Result<Self, String> {
        match word {
            "warn" => Ok(Self::Warn),
            "refuse" => Ok(Self::Refuse),
            other => Err(format!("expected warn or refuse, found {other}")),
        }
    }
}

/// What is wrong with a disk by its own words; nothing when it is well, or does not tell.
#[must_use]
pub fn complaint(device: &Path) -> Option<String> {
    let (answer, answers) = mpsc::channel();
    let path = device.to_owned();
    // Not joined: it may hang in a dead disk for ever.
    std::thread::spawn(move || {
        // Nobody listens any more when the disk was too slow.
        let _unheard = answer.send(ask(&path));
    });
    match answers.recv_timeout(PATIENCE) {
        Ok(complaint) => complaint,
        Err(_) => Some(format!("it has not answered within {} s when asked for its health", PATIENCE.as_secs())),
    }
}

fn ask(device: &Path) -> Option<String> {
    let file = File::open(device).ok()?;
    if device.to_string_lossy().starts_with("/dev/nvme") { nvme(&file) } else { ata(&file) }
}

/// NVM Express base specification 2.0, section 5.16.1.3: the first byte of log page 2.
fn nvme(file: &File) -> Option<String> {
    const GET_LOG_PAGE: u8 = 0x02;
    const LOG: u32 = 512;
    let mut log = [0u8; LOG as usize];
    let mut command = NvmeCommand {
        opcode: GET_LOG_PAGE,
        namespace: u32::MAX,
        address: log.as_mut_ptr().expose_provenance() as u64,
        data_length: LOG,
        timeout_ms: COMMAND_MS,
        ..NvmeCommand::default()
    };
    // Page 2; one less than the number of words of four bytes.
    command.words_10_to_15[0] = ((LOG / 4 - 1) << 16) | 0x02;
    // SAFETY: the kernel reads the command and writes `data_length` bytes at `address`, where `log` is, which outlives the call.
    let answer = unsafe { ioctl::nvme_admin(file.as_raw_fd(), &raw mut command) };
    if !matches!(answer, Ok(0)) {
        log::debug!("asking for NVMe's health: {answer:?}");
        return None;
    }
    critical_warning(log[0])
}

fn critical_warning(byte: u8) -> Option<String> {
    // Bit 1 is the temperature, which passes.
    let known = [
        (0, "it has hardly any spare blocks left"),
        (2, "it is not reliable any more"),
        (3, "it has become read-only"),
        (4, "its backup of volatile memory has failed"),
    ];
    let told: Vec<_> = known.iter().filter(|(bit, _)| byte >> bit & 1 == 1).map(|(_, words)| *words).collect();
    (!told.is_empty()).then(|| format!("{} (critical warning {byte:#04x})", told.join(", ")))
}

/// SMART RETURN STATUS through SAT's ATA PASS-THROUGH (16), SAT-4 section 12.2.2: the answer is in the registers.
fn ata(file: &File) -> Option<String> {
    /// No data, registers wanted; features DAh; LBA C24F00h; command B0h.
    const COMMAND: [u8; 16] = [0x85, 3 << 1, 0x20, 0, 0xda, 0, 0, 0, 0, 0, 0x4f, 0, 0xc2, 0, 0xb0, 0];
    const NO_DATA: c_int = -1;
    let (mut command, mut sense) = (COMMAND, [0u8; 32]);
    let mut request = ScsiRequest {
        interface_id: c_int::from(b'S'),
        direction: NO_DATA,
        command_length: 16,
        sense_length: 32,
        pieces: 0,
        data_length: 0,
        data: std::ptr::null_mut(),
        command: command.as_mut_ptr(),
        sense: sense.as_mut_ptr(),
        timeout_ms: COMMAND_MS,
        flags: 0,
        pack_id: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_written: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration_ms: 0,
        info: 0,
    };
    // SAFETY: the kernel reads 16 bytes at `command`, writes at most 32 at `sense`, and both outlive the call.
    match unsafe { ioctl::sg_io(file.as_raw_fd(), &raw mut request) } {
        Ok(_) => smart_status(&sense),
        Err(error) => {
            if error != Errno::ENOTTY && error != Errno::EINVAL {
                log::debug!("asking for SMART's status: {error}");
            }
            None
        }
    }
}

/// The registers as SAT gives them back: a descriptor of type 09h in sense data with descriptors.
fn smart_status(sense: &[u8]) -> Option<String> {
    let is_descriptors = sense.first().is_some_and(|code| code & 0x7f == 0x72);
    let descriptor = sense.get(8..22).filter(|it| is_descriptors && it[0] == 0x09)?;
    // LBA mid and high: 4Fh C2h as they were sent, or F4h 2Ch when a threshold is passed.
    ((descriptor[9], descriptor[11]) == (0xf4, 0x2c)).then(|| "it expects to fail soon (SMART)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_warnings_are_told_in_words_and_a_warm_disk_is_well() {
        assert_eq!(critical_warning(0), None);
        assert_eq!(critical_warning(0b10), None);
        assert_eq!(
            critical_warning(0b1101).as_deref(),
            Some(
                "it has hardly any spare blocks left, it is not reliable any more, it has become read-only (critical warning 0x0d)"
            )
        );
    }

    #[test]
    fn status_of_smart_is_read_from_the_registers() {
        let sense = |mid: u8, high: u8| {
            let mut sense = [0; 32];
            (sense[0], sense[8], sense[9]) = (0x72, 0x09, 0x0c);
            (sense[17], sense[19]) = (mid, high);
            sense
        };
        assert_eq!(smart_status(&sense(0x4f, 0xc2)), None);
        assert_eq!(smart_status(&sense(0xf4, 0x2c)).as_deref(), Some("it expects to fail soon (SMART)"));
        assert_eq!(smart_status(&[0x70; 32]), None);
        assert_eq!(smart_status(&[]), None);
    }

    #[test]
    fn words_of_the_option_are_read() {
        assert_eq!(UnhealthyDisks::parse("refuse"), Ok(UnhealthyDisks::Refuse));
        assert_eq!(UnhealthyDisks::parse("ignore"), Err("expected warn or refuse, found ignore".to_owned()));
    }

    #[test]
    fn structures_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<NvmeCommand>(), 72);
        assert_eq!(size_of::<ScsiRequest>(), 88);
    }

    #[test]
    fn what_does_not_tell_is_taken_for_well() {
        assert_eq!(complaint(Path::new("/dev/null")), None);
        assert_eq!(complaint(Path::new("/dev/no-such-disk")), None);
    }
}
