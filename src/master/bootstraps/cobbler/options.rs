//! The kernel line of a bootstrap in Cobbler, as Fuel puts it together. Pure.

use std::collections::BTreeMap;

use crate::netboot::cobbler::NONE;
use crate::netboot::xmlrpc::Value;
use crate::request::Secret;

/// What a site adds to the line that every bootstrap has.
pub(super) struct Site<'a> {
    /// Where the squashfs is, and its digest.
    pub(super) fetch: Option<(String, String)>,
    pub(super) nailgun_url: Option<&'a str>,
    pub(super) mco_user: Option<&'a str>,
    pub(super) mco_password: Option<&'a Secret>,
}

/// Options in order, each with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line(Vec<(String, Option<String>)>);

impl Line {
    /// Options apart by blanks.
    pub(super) fn parse(text: &str) -> Self {
        let option = |word: &str| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        };
        Self(text.split_whitespace().map(option).collect())
    }

    /// Upstream's line for a site.
    pub(super) fn of_site(site: &Site<'_>) -> Self {
        let mut text = "console=ttyS0,9600 console=tty0 panic=60 ethdevice-timeout=120".to_owned();
        let mut add = |words: &str| {
            text.push(' ');
            text.push_str(words);
        };
        // An image without a squashfs is its initrd, which says itself how it is started.
        if let Some((url, digest)) = &site.fetch {
            add(&format!("boot=live toram components fetch={url} bedplate.squashfs={digest}"));
        }
        add("biosdevname=0");
        if let Some(url) = site.nailgun_url {
            add(&format!("url={url}"));
        }
        if let Some(user) = site.mco_user {
            add(&format!("mco_user={user}"));
        }
        if let Some(password) = site.mco_password {
            add(&format!("mco_pass={}", password.reveal()));
        }
        if site.fetch.is_some() {
            add("ip=frommedia");
        }
        Self::parse(&text)
    }

    /// Upstream's rule: of the same key the extension's options count, and they come first. A key may stand several times.
    pub(super) fn extended_by(self, extension: &str) -> Self {
        let mut line = Self::parse(extension);
        let is_new: Vec<_> =
            self.0.into_iter().filter(|(key, _)| line.0.iter().all(|(other, _)| other != key)).collect();
        line.0.extend(is_new);
        line
    }

    pub(super) fn text(&self) -> String {
        let option = |(key, value): &(String, Option<String>)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        };
        self.0.iter().map(option).collect::<Vec<_>>().join(" ")
    }

    /// The first key of which two lines say different things. Cobbler keeps the order of one key's values alone.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let values = |line: &Self, key: &str| {
            let values = line.0.iter().filter(|(found, _)| found == key);
            // `quiet=` and `quiet` are one to Cobbler.
            values.map(|(_, value)| value.clone().unwrap_or_default()).collect::<Vec<_>>()
        };
        let keys = self.0.iter().chain(&other.0).map(|(key, _)| key);
        keys.into_iter().find(|key| values(self, key) != values(other, key)).cloned()
    }
}

/// Kernel options as Cobbler takes them, out of those that it holds. Their order is lost, but that of one key's values.
pub(super) fn of_members(members: &BTreeMap<String, Value>) -> String {
    let option = |key: &String, value: &Value| match value {
        Value::Text(value) if !value.is_empty() && value != NONE => format!("{key}={}", quoted(value)),
        Value::Integer(number) => format!("{key}={number}"),
        Value::Flag(flag) => format!("{key}={}", u8::from(*flag)),
        _ => key.clone(),
    };
    let options = members.iter().flat_map(|(key, value)| match value {
        Value::List(values) => values.iter().map(|value| option(key, value)).collect(),
        one => vec![option(key, one)],
    });
    options.collect::<Vec<_>>().join(" ")
}

/// Cobbler splits as a shell does.
fn quoted(value: &str) -> String {
    let is_plain = |letter: char| !letter.is_whitespace() && !matches!(letter, '\'' | '"' | '\\');
    if value.chars().all(is_plain) { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site<'a>(password: &'a Secret) -> Site<'a> {
        let fetch = ("http://10.20.0.2:8080/bootstraps/U/root.squashfs".to_owned(), "sha256:00".to_owned());
        Site {
            fetch: Some(fetch),
            nailgun_url: Some("http://10.20.0.2:8000/api"),
            mco_user: Some("mcollective"),
            mco_password: Some(password),
        }
    }

    #[test]
    fn the_line_is_upstreams_with_the_digest() {
        let password = Secret::new("marionette");
        let expected = "console=ttyS0,9600 console=tty0 panic=60 ethdevice-timeout=120 boot=live toram components \
             fetch=http://10.20.0.2:8080/bootstraps/U/root.squashfs bedplate.squashfs=sha256:00 biosdevname=0 \
             url=http://10.20.0.2:8000/api mco_user=mcollective mco_pass=marionette ip=frommedia";
        assert_eq!(Line::of_site(&site(&password)).text(), expected);
        let bare = Site { fetch: None, nailgun_url: None, mco_user: None, mco_password: None };
        let expected = "console=ttyS0,9600 console=tty0 panic=60 ethdevice-timeout=120 biosdevname=0";
        assert_eq!(Line::of_site(&bare).text(), expected);
    }

    #[test]
    fn options_of_an_image_come_first_and_win() {
        let line = Line::parse("console=ttyS0,9600 console=tty0 panic=60 quiet biosdevname=0");
        let extended = |words: &str| line.clone().extended_by(words).text();
        assert_eq!(extended(""), line.text());
        assert_eq!(
            extended("biosdevname=1 net.ifnames=1"),
            "biosdevname=1 net.ifnames=1 console=ttyS0,9600 console=tty0 panic=60 quiet"
        );
        assert_eq!(extended("console=a x console=b"), "console=a x console=b panic=60 quiet biosdevname=0");
        assert_eq!(extended("quiet=1"), "quiet=1 console=ttyS0,9600 console=tty0 panic=60 biosdevname=0");
    }

    #[test]
    fn what_cobbler_holds_becomes_what_it_takes() {
        let text = |text: &str| Value::Text(text.to_owned());
        let list = Value::List(vec![text("tty0"), text("ttyS0")]);
        let members = [("quiet", text("~")), ("console", list), ("a", text("b 'c'")), ("x", text("1"))];
        let members = members.map(|(key, value)| (key.to_owned(), value)).into();
        assert_eq!(of_members(&members), r"a='b '\''c'\''' console=tty0 console=ttyS0 quiet x=1");
    }

    #[test]
    fn lines_differ_in_what_their_keys_say_and_not_in_the_order_of_keys() {
        let differ = |one: &str, other: &str| Line::parse(one).difference(&Line::parse(other));
        assert_eq!(differ("a=1 b c=2 c=3", "c=2 c=3 b  a=1"), None);
        assert_eq!(differ("c=2 c=3", "c=3 c=2").as_deref(), Some("c"));
        assert_eq!(differ("a=1", "a=1 b=2").as_deref(), Some("b"));
        assert_eq!(differ("a=1 b=2", "a=1").as_deref(), Some("b"));
    }
}
