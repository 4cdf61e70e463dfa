//! Lines of text for people: colours, columns, and no character that could change what is seen.

/// Columns that are filled at most, where the words permit.
pub const WIDTH: usize = 100;

/// A first column is not made wider than this for one long entry.
const COLUMN: usize = 46;

/// How a line is shown on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    Plain,
    Bold,
    Red,
    Yellow,
    Green,
}

impl Ink {
    /// ECMA-48, select graphic rendition.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Red => "\x1b[1;31m",
            Self::Yellow => "\x1b[33m",
            Self::Green => "\x1b[32m",
        }
    }
}

/// Text that grows by lines.
#[derive(Debug)]
pub struct Page {
    text: String,
    colour: bool,
}

impl Page {
    pub fn new(colour: bool) -> Self {
        Self { text: String::new(), colour }
    }

    pub fn into_text(self) -> String {
        self.text
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// A line; what would move the cursor or the order of the letters is shown as `?`.
    pub fn line(&mut self, ink: Ink, text: &str) {
        self.line_of(&[(ink, text)]);
    }

    /// A line of several parts.
    pub fn line_of(&mut self, parts: &[(Ink, &str)]) {
        for (ink, text) in parts {
            let is_painted = self.colour && *ink != Ink::Plain && !text.is_empty();
            if is_painted {
                self.text.push_str(ink.code());
            }
            self.text.extend(text.chars().map(harmless));
            if is_painted {
                self.text.push_str("\x1b[0m");
            }
        }
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
    }

    /// Words after `first`, filled; further lines begin below the first word.
    pub fn filled(&mut self, ink: Ink, first: &str, words: &str) {
        let indent = " ".repeat(width(first));
        let mut line = first.to_owned();
        let mut is_begun = false;
        for word in words.split(' ') {
            if is_begun && width(&line) + 1 + width(word) > WIDTH {
                self.line(ink, &line);
                line.clone_from(&indent);
                is_begun = false;
            }
            if is_begun {
                line.push(' ');
            }
            line.push_str(word);
            is_begun = true;
        }
        self.line(ink, &line);
    }

    /// Two columns, the second filled.
    pub fn pairs(&mut self, ink: Ink, rows: &[[&str; 2]]) {
        let column = rows.iter().map(|[first, _]| width(first)).max().unwrap_or(0).min(COLUMN);
        for [first, second] in rows {
            self.filled(ink, &format!("  {first:<column$}  "), second);
        }
    }
}

/// Letters in it.
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// The text, cut where it is longer than a column may be.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(2)).collect();
    format!("{kept}..")
}

/// The letter, or `?` for one that controls a terminal, turns the direction of writing, or is not seen at all: labels and
/// models come from the disk, and what is on it may be there to deceive.
fn harmless(letter: char) -> char {
    let is_hidden = matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    if letter.is_control() || is_hidden { '?' } else { letter }
}
