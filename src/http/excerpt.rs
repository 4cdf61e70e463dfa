//! What a server said, for messages.

/// As much of a strange answer as a message shows.
const LENGTH: usize = 200;

/// The beginning of a body in printable characters, on one line.
#[must_use]
pub fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(LENGTH)]);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let words = words.collect::<Vec<_>>().join(" ");
    if words.is_empty() { "nothing".to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_answers_are_shown_short_and_printable() {
        assert_eq!(excerpt(b"<html>\r\n\x1b[2J  busy\0</html>"), "<html> [2J busy </html>");
        assert_eq!(excerpt(b" \n"), "nothing");
        assert!(excerpt(&[b'x'; 5000]).len() <= LENGTH);
    }
}
