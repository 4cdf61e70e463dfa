//! Sizes and positions as types: a number of bytes is never taken for a number of sectors or mebibytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of bytes: a size or an offset from the start of a medium.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Bytes(u64);

/// A number of mebibytes (2^20 bytes), the unit of `ks_spaces`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Mib(u64);

/// A logical block address, counted in the logical sectors of its disk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lba(u64);

/// Bytes per logical sector of a disk: 512 or 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("enum" = [512, 4096])))]
#[serde(try_from = "u32", into = "u32")]
pub enum SectorSize {
    /// 512 bytes.
    B512,
    /// 4096 bytes ("4Kn").
    B4096,
}

const MIB: u64 = 1 << 20;

/// The same count as 64 bits: memory is addressed with no more on any target.
#[must_use]
pub fn widen(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// `count` bytes.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// `count` KiB; saturates, for constants.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 10))
    }

    /// `count` MiB; saturates, for constants.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(MIB))
    }

    /// The plain count.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sum, or nothing when it exceeds 2^64 - 1.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or nothing when it would be negative.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The difference, zero when it would be negative.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whole mebibytes in it, rounded down.
    #[must_use]
    pub const fn floor_mib(self) -> Mib {
        Mib(self.0 / MIB)
    }

    /// The exact count with its unit, for messages that must not round.
    #[must_use]
    pub fn exact(self) -> String {
        format!("{} bytes", self.0)
    }
}

/// Rounded for people: `465.8 GiB`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut unit = 0;
        // Tenths of the unit, rounded down, so that no float is needed.
        let mut tenths = u128::from(self.0) * 10 / 1024;
        while tenths >= 10_240 && unit + 1 < UNITS.len() {
            tenths /= 1024;
            unit += 1;
        }
        if tenths % 10 == 0 {
            write!(f, "{} {}", tenths / 10, UNITS[unit])
        } else {
            write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
        }
    }
}

impl Mib {
    /// `count` mebibytes.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The plain count.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The same size in bytes, or nothing when it exceeds 2^64 - 1.
    #[must_use]
    pub fn bytes(self) -> Option<Bytes> {
        self.0.checked_mul(MIB).map(Bytes)
    }

    /// The sum, or nothing when it exceeds 2^64 - 1.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

/// Exact, since mebibytes are the document's own unit: `51200 MiB`.
impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0)
    }
}

impl Lba {
    /// The sector with this index.
    #[must_use]
    pub const fn new(index: u64) -> Self {
        Self(index)
    }

    /// The plain index.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl SectorSize {
    /// Bytes per sector.
    #[must_use]
    pub const fn get(self) -> u64 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }

    /// The sector that starts at this offset, or nothing when no sector starts there.
    #[must_use]
    pub fn lba_at(self, offset: Bytes) -> Option<Lba> {
        offset.get().is_multiple_of(self.get()).then(|| Lba(offset.get() / self.get()))
    }
}

impl TryFrom<u32> for SectorSize {
    type Error = String;

    fn try_from(bytes: u32) -> Result<Self, Self::Error> {
        match bytes {
            512 => Ok(Self::B512),
            4096 => Ok(Self::B4096),
            other => Err(format!("logical sectors of {other} bytes: expected 512 or 4096")),
        }
    }
}

impl From<SectorSize> for u32 {
    fn from(size: SectorSize) -> Self {
        match size {
            SectorSize::B512 => 512,
            SectorSize::B4096 => 4096,
        }
    }
}

/// The largest window (zstd) or dictionary (xz) that is unpacked, in MiB where it is given.
///
/// By default every preset of a form's own tool fits: 128 MiB for zstd (`--ultra -22`, `--long`), 64 MiB for xz (`-9`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaxWindow(Option<u64>);

impl MaxWindow {
    /// In MiB: the largest window of zstd, `--long=31`.
    pub const MOST: u64 = 2048;

    /// For zstd, in bytes.
    #[must_use]
    pub fn zstd(self) -> u64 {
        self.0.unwrap_or(128) * (1 << 20)
    }

    /// For xz, in bytes.
    #[must_use]
    pub fn xz(self) -> u64 {
        self.0.unwrap_or(64) * (1 << 20)
    }
}

impl std::str::FromStr for MaxWindow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(mib @ 1..=Self::MOST) => Ok(Self(Some(mib))),
            _ => Err(format!("expected a number of MiB from 1 to {}, found {text:?}", Self::MOST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_with_one_decimal_rounded_down() {
        let shown = |n| Bytes::new(n).to_string();
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1024), "1 KiB");
        assert_eq!(shown(500_107_862_016), "465.7 GiB");
        assert_eq!(shown(u64::MAX), "15.9 EiB");
    }

    #[test]
    fn arithmetic_never_wraps() {
        assert_eq!(Bytes::new(u64::MAX).checked_add(Bytes::new(1)), None);
        assert_eq!(Mib::new(u64::MAX).bytes(), None);
        assert_eq!(Bytes::ZERO.checked_sub(Bytes::new(1)), None);
    }

    #[test]
    fn lba_exists_only_at_sector_starts() {
        assert_eq!(SectorSize::B4096.lba_at(Bytes::new(8192)), Some(Lba::new(2)));
        assert_eq!(SectorSize::B4096.lba_at(Bytes::new(512)), None);
    }

    #[test]
    fn a_window_is_a_number_of_mib() {
        let fault = |text: &str| text.parse::<MaxWindow>().unwrap_err();
        assert_eq!(fault("0"), "expected a number of MiB from 1 to 2048, found \"0\"");
        assert_eq!(fault("2049"), "expected a number of MiB from 1 to 2048, found \"2049\"");
        assert_eq!(fault("1G"), "expected a number of MiB from 1 to 2048, found \"1G\"");
        let window: MaxWindow = "1".parse().unwrap();
        assert_eq!((window.zstd(), window.xz()), (1 << 20, 1 << 20));
        assert_eq!((MaxWindow::default().zstd(), MaxWindow::default().xz()), (128 << 20, 64 << 20));
    }
}
