//! Finding zeros.

/// Bytes that are compared at once: the compiler makes wide registers of them.
const LANE: usize = 256;

/// Whether all of these bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let mut lanes = bytes.chunks_exact(LANE);
    lanes.by_ref().all(|lane| lane.iter().fold(0, |all, byte| all | byte) == 0)
        && lanes.remainder().iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_anywhere_is_found() {
        for length in [0, 1, 255, 256, 257, 4096, 5000] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes), "{length}");
            for at in 0..length {
                bytes[at] = 1 << (at % 8);
                assert!(!is_zero(&bytes), "byte {at} of {length}");
                bytes[at] = 0;
            }
        }
    }
}
