//! Passwords as crypt(3) stores them: SHA-512 with 5000 rounds, which every distribution of the last fifteen years takes.

use sha_crypt::Params;
use sha2::{Digest as _, Sha512};

/// The digits of crypt's base 64, lowest first.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters of a salt; crypt uses no more.
const SALT_LENGTH: usize = 16;

/// A salt that is this account's alone and differs with each provisioning. It need not be secret.
pub fn salt(instance_id: &str, account: &str) -> String {
    let digest = Sha512::new().chain_update(instance_id).chain_update([0]).chain_update(account).finalize();
    digest.iter().take(SALT_LENGTH).map(|&byte| digit(u32::from(byte))).collect()
}

/// `$6$SALT$HASH` of a password.
pub fn sha512_crypt(password: &str, salt: &str) -> String {
    // The default rounds, which the text form therefore does not name.
    let hash = sha_crypt::sha512_crypt(password.as_bytes(), salt.as_bytes(), Params::RECOMMENDED);
    let mut text = format!("$6${salt}$");
    // Three bytes become four digits; each triple begins where the one before ended, modulo the three thirds.
    for at in 0..21 {
        let triple = [at, at + 21, at + 42];
        let [high, middle, low] = [0, 1, 2].map(|which| u32::from(hash[triple[(which + at) % 3]]));
        push(&mut text, high << 16 | middle << 8 | low, 4);
    }
    push(&mut text, u32::from(hash[63]), 2);
    text
}

fn push(text: &mut String, mut bits: u32, digits: usize) {
    for _ in 0..digits {
        text.push(digit(bits));
        bits >>= 6;
    }
}

/// The digit for the lowest six bits.
fn digit(bits: u32) -> char {
    // Six bits are an index below 64.
    usize::try_from(bits & 63).map_or('.', |at| char::from(DIGITS[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_crypt() {
        // The first is in the specification of SHA-crypt (Drepper, 2007); both are what `openssl passwd -6` prints.
        assert_eq!(
            sha512_crypt("Hello world!", "saltstring"),
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
        );
        assert_eq!(
            sha512_crypt("p\u{e4} ss$", "abcdefghij012345"),
            "$6$abcdefghij012345$kFoan03tZZyH3/AHY4KDxOByTwwcHi.pLqGp01kPjRy3o1OclcxekkkhbNxBi50h.i5CFIkW5d8D2cWyik7Jo0"
        );
    }

    #[test]
    fn salt_depends_on_provisioning_and_account() {
        let salts = [salt("i1", "root"), salt("i2", "root"), salt("i1", "fuel"), salt("i1r", "oot")];
        for (at, salt) in salts.iter().enumerate() {
            assert_eq!(salt.len(), SALT_LENGTH);
            assert!(salt.bytes().all(|byte| DIGITS.contains(&byte)));
            assert!(!salts[..at].contains(salt));
        }
    }
}
