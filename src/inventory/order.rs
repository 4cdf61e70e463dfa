//! The order in which people count devices: sda, sdb, .., sdz, sdaa; nvme2n1 before nvme10n1.

/// Families whose names continue with letters that count like the columns of a spreadsheet.
const LETTERED: [&str; 4] = ["sd", "vd", "xvd", "hd"];

/// A piece of a name; the derived order is the order of devices.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// Words, in alphabetical order.
    Text(String),
    /// Letters that count: shorter ones first.
    Letters(usize, String),
    /// Digits as a number; the text keeps names apart that differ in leading zeroes only.
    Number(u128, String),
}

/// A key that sorts names of devices in natural order.
#[must_use]
pub fn natural_key(name: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = name;
    if let Some((family, letters)) = LETTERED.iter().find_map(|family| Some((*family, name.strip_prefix(family)?))) {
        let (letters, tail) = split_while(letters, |c| c.is_ascii_lowercase());
        if !letters.is_empty() && tail.chars().all(|c| c.is_ascii_digit()) {
            pieces.push(Piece::Text(family.to_owned()));
            pieces.push(Piece::Letters(letters.len(), letters.to_owned()));
            rest = tail;
        }
    }
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let (run, tail) = split_while(rest, |c| c.is_ascii_digit() == is_digit);
        pieces.push(match run.parse() {
            Ok(number) if is_digit => Piece::Number(number, run.to_owned()),
            _ => Piece::Text(run.to_owned()),
        });
        rest = tail;
    }
    pieces
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_counted_as_people_count_them() {
        let expected =
            ["eth2", "eth10", "md2", "md126", "nvme0n1", "nvme2n1", "nvme10n1", "sda", "sdb", "sdz", "sdaa", "vda"];
        let mut names = expected;
        names.sort_unstable();
        names.sort_by_key(|name| natural_key(name));
        assert_eq!(names, expected);
    }

    #[test]
    fn digits_beyond_any_number_are_still_ordered() {
        let long = "9".repeat(60);
        assert!(natural_key(&format!("x{long}")) > natural_key("x"));
    }
}
