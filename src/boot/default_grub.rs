//! /etc/default/grub (/etc/sysconfig/grub): the settings that a later `update-grub` in the target uses.

use super::grub::{Serial, script_words};

/// Edits the text of the file: command line and timeouts become ours, all else stays.
///
/// A setting that is there, in one or several places, is set where it stood first; one that is missing is appended; a
/// commented line stays a comment (upstream activated such lines and lost parameters whose line was missing).
/// `GRUB_HIDDEN_TIMEOUT` and its kin go, and the timeout after a failed start is the usual one, so that GRUB never waits for a
/// key. A serial console of the kernel becomes GRUB's too, unless the file says otherwise.
#[must_use]
pub fn default_grub(existing: &str, cmdline: &str, timeout: u32) -> String {
    let settings = [
        ("GRUB_CMDLINE_LINUX", double_quoted(&script_words(cmdline))),
        ("GRUB_TIMEOUT", timeout.to_string()),
        ("GRUB_RECORDFAIL_TIMEOUT", timeout.to_string()),
    ];
    let mut missing: Vec<_> = settings.iter().collect();
    let mut has_terminal = false;
    let mut text = String::new();
    for statement in statements(existing) {
        let name = assigned(statement);
        if name.is_some_and(|name| name.starts_with("GRUB_HIDDEN_TIMEOUT")) {
            continue;
        }
        has_terminal |= name.is_some_and(|name| name.starts_with("GRUB_TERMINAL") || name == "GRUB_SERIAL_COMMAND");
        match settings.iter().find(|(wanted, _)| Some(*wanted) == name) {
            // The second of two assignments would win; ours stands where the first stood.
            Some(setting) if missing.iter().any(|left| left.0 == setting.0) => {
                missing.retain(|left| left.0 != setting.0);
                text += &format!("{}={}\n", setting.0, setting.1);
            }
            Some(_) => {}
            None => {
                text += statement;
                if !statement.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
    }
    for (name, value) in missing {
        text += &format!("{name}={value}\n");
    }
    if let Some(serial) = Serial::of(cmdline).filter(|_| !has_terminal) {
        text +=
            &format!("GRUB_TERMINAL=\"console serial\"\nGRUB_SERIAL_COMMAND={}\n", double_quoted(&serial.command()));
    }
    text
}

/// The name that a statement assigns to; none for comments and everything else.
fn assigned(statement: &str) -> Option<&str> {
    let statement = statement.trim_start();
    let statement = statement.strip_prefix("export ").map_or(statement, str::trim_start);
    let (name, _) = statement.split_once('=')?;
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then_some(name)
}

/// Cuts the shell text into lines, where a value in quotes or with a backslash at the line's end runs over several.
fn statements(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (statement, after) = rest.split_at(statement_length(rest));
        rest = after;
        (!statement.is_empty()).then_some(statement)
    })
}

/// Bytes up to and with the line break that ends the first statement.
fn statement_length(text: &str) -> usize {
    let mut quote = None;
    let mut is_escaped = false;
    let mut is_comment = false;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            _ if is_comment => {}
            _ if is_escaped => is_escaped = false,
            '\\' if quote != Some('\'') => {
                is_escaped = true;
                before = c;
                continue;
            }
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ if quote == Some(c) => quote = None,
            '#' if quote.is_none() && before.is_whitespace() => is_comment = true,
            '\n' if quote.is_none() => return at + 1,
            _ => {}
        }
        if is_comment && c == '\n' {
            return at + 1;
        }
        before = c;
    }
    text.len()
}

/// A value for the shell in double quotes, the form in which the distributions write it.
fn double_quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            text.push('\\');
        }
        text.push(c);
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_file_gets_our_line_and_timeouts_and_keeps_the_rest() {
        let debian = "# If you change this file, run 'update-grub' afterwards\n\
                      GRUB_DEFAULT=0\n\
                      GRUB_TIMEOUT=5\n\
                      GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n\
                      GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n\
                      GRUB_CMDLINE_LINUX=\"\"\n\
                      #GRUB_TERMINAL=console\n";
        assert_eq!(
            default_grub(debian, " console=tty0 net.ifnames=1", 10),
            "# If you change this file, run 'update-grub' afterwards\n\
             GRUB_DEFAULT=0\n\
             GRUB_TIMEOUT=10\n\
             GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n\
             GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n\
             GRUB_CMDLINE_LINUX=\"console=tty0 net.ifnames=1\"\n\
             #GRUB_TERMINAL=console\n\
             GRUB_RECORDFAIL_TIMEOUT=10\n"
        );
    }

    #[test]
    fn missing_lines_are_added_and_comments_stay_comments() {
        assert_eq!(
            default_grub("#GRUB_CMDLINE_LINUX=\"old\"\n# GRUB_TIMEOUT=1", "a", 0),
            "#GRUB_CMDLINE_LINUX=\"old\"\n# GRUB_TIMEOUT=1\n\
             GRUB_CMDLINE_LINUX=\"a\"\nGRUB_TIMEOUT=0\nGRUB_RECORDFAIL_TIMEOUT=0\n"
        );
    }

    #[test]
    fn hidden_timeouts_and_second_assignments_go_with_all_their_lines() {
        let text = "GRUB_HIDDEN_TIMEOUT=0\nGRUB_HIDDEN_TIMEOUT_QUIET=true\n#GRUB_HIDDEN_TIMEOUT=0\n\
                    GRUB_CMDLINE_LINUX=\"a \\\n  b\n c\" # why\nGRUB_TIMEOUT=-1\n export GRUB_CMDLINE_LINUX='x'\nX=1\n";
        assert_eq!(
            default_grub(text, "z", 3),
            "#GRUB_HIDDEN_TIMEOUT=0\nGRUB_CMDLINE_LINUX=\"z\"\nGRUB_TIMEOUT=3\nX=1\nGRUB_RECORDFAIL_TIMEOUT=3\n"
        );
    }

    #[test]
    fn apostrophe_in_a_comment_opens_no_quote() {
        let text = "# don't touch\nGRUB_TIMEOUT=5 # it's short\nA=b#c'\n'\n";
        assert_eq!(statements(text).count(), 3);
    }

    #[test]
    fn values_survive_the_shell() {
        let text = default_grub("", "a=$HOME b=`id` c=\"d e\" f=it's", 1);
        let file = std::env::temp_dir().join(format!("bedplate-default-grub-{}", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let script = format!(". {}; printf %s \"$GRUB_CMDLINE_LINUX\"", file.display());
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), r"'a=$HOME' 'b=`id`' 'c=d e' 'f=it'\''s'");
    }

    #[test]
    fn serial_console_is_grubs_too_unless_the_file_says_otherwise() {
        let ours = "GRUB_TERMINAL=\"console serial\"\n\
                    GRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1\"\n";
        assert!(default_grub("", "console=ttyS0,115200", 1).ends_with(ours));
        assert!(!default_grub("GRUB_TERMINAL=console\n", "console=ttyS0,115200", 1).contains("GRUB_SERIAL_COMMAND"));
    }
}
