//! Archives made by hand, for what no tool would write.

use super::header::BLOCK;

/// A POSIX header with a checksum.
pub(crate) fn header(name: &[u8], kind: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(100, if kind == b'5' { "0000755" } else { "0000644" });
    // Nobody but root gives files away.
    put(108, &format!("{:07o}", nix::unistd::geteuid().as_raw()));
    put(116, &format!("{:07o}", nix::unistd::getegid().as_raw()));
    put(124, &format!("{size:011o}"));
    put(136, &format!("{:011o}", 1_000_000_000));
    put(257, "ustar\x0000");
    block[156] = kind;
    seal(&mut block);
    block
}

/// Puts the checksum in.
pub(crate) fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Making(pub(crate) Vec<u8>);

impl Making {
    /// A header as it is, and data filled up to whole blocks.
    pub(crate) fn raw(mut self, header: &[u8; BLOCK], data: &[u8]) -> Self {
        self.0.extend_from_slice(header);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.raw(&header(name.as_bytes(), b'0', data.len() as u64), data)
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.raw(&header(name.as_bytes(), b'5', 0), b"")
    }

    /// `kind` is 1 for a hard link, 2 for a symbolic one.
    pub(crate) fn link(self, kind: u8, name: &str, target: &str) -> Self {
        let mut block = header(name.as_bytes(), kind, 0);
        block[157..157 + target.len()].copy_from_slice(target.as_bytes());
        seal(&mut block);
        self.raw(&block, b"")
    }

    /// Records of a PAX header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.raw(&header(b"PaxHeaders/x", b'x', data.len() as u64), &data)
    }

    /// The two blocks at the end.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

/// A record whose length counts its own digits.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..9).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length).unwrap();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}
