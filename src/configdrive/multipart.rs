//! user-data of several parts as a MIME message, the form that cloud-init reads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// One part.
pub struct Part {
    /// What cloud-init makes of it: `text/cloud-config`.
    pub content_type: &'static str,
    /// Its name in cloud-init's log.
    pub filename: &'static str,
    /// Its content.
    pub text: String,
}

/// Characters of a base64 line (RFC 2045, section 6.8).
const BASE64_LINE: usize = 76;

/// The message, the same for the same parts.
pub fn multipart(parts: &[Part]) -> String {
    let boundary = boundary(parts);
    let mut text = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n");
    for part in parts {
        // cloud-init decodes 8 bit text as Latin-1; base64 arrives as it is.
        let (charset, encoding, body) = if part.text.is_ascii() {
            ("us-ascii", "7bit", part.text.clone())
        } else {
            ("utf-8", "base64", base64(&part.text))
        };
        text += &format!(
            "\n--{boundary}\n\
             Content-Type: {}; charset=\"{charset}\"\n\
             MIME-Version: 1.0\n\
             Content-Transfer-Encoding: {encoding}\n\
             Content-Disposition: attachment; filename=\"{}\"\n\n\
             {body}",
            part.content_type, part.filename
        );
    }
    text + &format!("\n--{boundary}--\n")
}

fn base64(text: &str) -> String {
    let mut wrapped = String::new();
    for (at, digit) in STANDARD.encode(text).chars().enumerate() {
        if at > 0 && at % BASE64_LINE == 0 {
            wrapped.push('\n');
        }
        wrapped.push(digit);
    }
    wrapped + "\n"
}

/// A line that no part can hold: it names the parts' own digest.
fn boundary(parts: &[Part]) -> String {
    let digest = parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(&part.text)).finalize();
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("=_bedplate_{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_order_and_foreign_letters_travel_as_base64() {
        let parts = [
            Part {
                content_type: "text/cloud-boothook",
                filename: "boothook.txt",
                text: "#!/bin/sh\n# \u{e4}\n".into(),
            },
            Part {
                content_type: "text/cloud-config",
                filename: "cloud_config.txt",
                text: "#cloud-config\na: 1\n".into(),
            },
        ];
        let line = boundary(&parts);
        assert_eq!(
            multipart(&parts),
            format!(
                "Content-Type: multipart/mixed; boundary=\"{line}\"\n\
                 MIME-Version: 1.0\n\
                 \n\
                 --{line}\n\
                 Content-Type: text/cloud-boothook; charset=\"utf-8\"\n\
                 MIME-Version: 1.0\n\
                 Content-Transfer-Encoding: base64\n\
                 Content-Disposition: attachment; filename=\"boothook.txt\"\n\
                 \n\
                 IyEvYmluL3NoCiMgw6QK\n\
                 \n\
                 --{line}\n\
                 Content-Type: text/cloud-config; charset=\"us-ascii\"\n\
                 MIME-Version: 1.0\n\
                 Content-Transfer-Encoding: 7bit\n\
                 Content-Disposition: attachment; filename=\"cloud_config.txt\"\n\
                 \n\
                 #cloud-config\n\
                 a: 1\n\
                 \n\
                 --{line}--\n"
            )
        );
    }
}
