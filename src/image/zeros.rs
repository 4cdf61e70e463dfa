//! Finding zeros.

/// Whether all of these bytes are zero: the first is, and every other equals the one before it. So the comparison is the C
/// library's, which knows the widest registers of this processor.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((first, rest)) => *first == 0 && *rest == bytes[..rest.len()],
        None => true,
    }
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
