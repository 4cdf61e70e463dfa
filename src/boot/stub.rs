//! The boot code of a disk that is not finished: it hands back to the firmware.
//!
//! A BIOS takes the first disk that has 55AA at the end of its first sector and jumps into it, code or not; without code
//! the machine hangs there, and never starts from the network again.

/// Bytes at the start of an MBR that hold code; the disk signature follows at 440.
pub const BOOT_CODE_LENGTH: usize = 440;

/// What a person at the console sees. The BIOS puts it out through its teletype call.
const MESSAGE: &[u8] = b"\r\nThis disk is not installed yet: handing over to the next boot device.\r\n\0";

/// The code in front of [`MESSAGE`]. A BIOS loads the sector to 0000:7C00, in real mode.
const CODE: [u8; 32] = [
    0x31, 0xC0, //       00  xor  ax, ax
    0x8E, 0xD8, //       02  mov  ds, ax          ; data and stack in segment 0, wherever the BIOS left them
    0x8E, 0xD0, //       04  mov  ss, ax
    0xBC, 0x00, 0x7C, // 06  mov  sp, 7C00h       ; grows down from the code
    0xFC, //             09  cld
    0xBE, 0x20, 0x7C, // 0A  mov  si, 7C20h       ; the message, right behind the code
    0xAC, //             0D  lodsb
    0x84, 0xC0, //       0E  test al, al
    0x74, 0x09, //       10  jz   1Bh             ; its terminating zero
    0xBB, 0x07, 0x00, // 12  mov  bx, 0007h       ; page 0, grey
    0xB4, 0x0E, //       15  mov  ah, 0Eh         ; teletype output
    0xCD, 0x10, //       17  int  10h
    0xEB, 0xF2, //       19  jmp  0Dh
    0xCD, 0x18, //       1B  int  18h             ; "no bootable code": the BIOS tries its next device
    0xF4, //             1D  hlt                  ; a BIOS without a next device may return
    0xEB, 0xFD, //       1E  jmp  1Dh
];

/// Boot code that tells what is the matter and has the BIOS try its next boot device.
///
/// For bytes 0 to 439 of the first sector of a disk that must not start yet. The signature 55AA at 510 may stand or not.
#[must_use]
pub const fn handover_stub() -> [u8; BOOT_CODE_LENGTH] {
    let mut stub = [0; BOOT_CODE_LENGTH];
    let mut at = 0;
    while at < CODE.len() {
        stub[at] = CODE[at];
        at += 1;
    }
    while at < CODE.len() + MESSAGE.len() {
        stub[at] = MESSAGE[at - CODE.len()];
        at += 1;
    }
    stub
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The few instructions that the stub may hold: first byte, length, and the words for it.
    fn disassemble(code: &[u8], at: usize) -> (usize, String) {
        let relative = || {
            let next = i32::try_from(at + 2).unwrap();
            format!("{:02X}h", next + i32::from(code[at + 1].cast_signed()))
        };
        let word = || format!("{:04X}h", u16::from_le_bytes([code[at + 1], code[at + 2]]));
        match (code[at], code[at + 1]) {
            (0x31, 0xC0) => (2, "xor ax, ax".into()),
            (0x8E, 0xD8) => (2, "mov ds, ax".into()),
            (0x8E, 0xD0) => (2, "mov ss, ax".into()),
            (0xBC, _) => (3, format!("mov sp, {}", word())),
            (0xBE, _) => (3, format!("mov si, {}", word())),
            (0xBB, _) => (3, format!("mov bx, {}", word())),
            (0xB4, value) => (2, format!("mov ah, {value:02X}h")),
            (0xFC, _) => (1, "cld".into()),
            (0xAC, _) => (1, "lodsb".into()),
            (0xF4, _) => (1, "hlt".into()),
            (0x84, 0xC0) => (2, "test al, al".into()),
            (0x74, _) => (2, format!("jz {}", relative())),
            (0xEB, _) => (2, format!("jmp {}", relative())),
            (0xCD, number) => (2, format!("int {number:02X}h")),
            other => panic!("unknown instruction {other:02X?} at {at:02X}h"),
        }
    }

    #[test]
    fn stub_prints_its_message_and_hands_back_to_the_bios() {
        let stub = handover_stub();
        let mut at = 0;
        let mut listing = Vec::new();
        while at < CODE.len() {
            let (length, words) = disassemble(&stub, at);
            listing.push(format!("{at:02X} {words}"));
            at += length;
        }
        assert_eq!(
            listing,
            [
                "00 xor ax, ax",
                "02 mov ds, ax",
                "04 mov ss, ax",
                "06 mov sp, 7C00h",
                "09 cld",
                "0A mov si, 7C20h",
                "0D lodsb",
                "0E test al, al",
                "10 jz 1Bh",
                "12 mov bx, 0007h",
                "15 mov ah, 0Eh",
                "17 int 10h",
                "19 jmp 0Dh",
                "1B int 18h",
                "1D hlt",
                "1E jmp 1Dh",
            ]
        );
        let message = &stub[0x20..];
        let end = message.iter().position(|&byte| byte == 0).unwrap();
        assert!(message[..end].is_ascii());
        assert_eq!(&message[..=end], MESSAGE);
        assert!(message[end..].iter().all(|&byte| byte == 0));
    }
}
