//! What apt makes of a repository: its Release file, pins by it, and words about what went wrong. Pure.

use std::fmt::Write as _;

use crate::error::{Error, Kind};
use crate::master::bootstraps::repository::Repository;
use crate::master::bootstraps::settings::Settings;

/// Letters of a URI that apt writes as `%xx` in the name of a file.
const QUOTED: &str = "\\|{}[]<>\"^~_=!@#$%^&*";

/// The fields of a Release file by which packages are pinned, and the letter of each in apt's preferences.
const FIELDS: [(&str, char); 5] =
    [("Origin", 'o'), ("Label", 'l'), ("Suite", 'a'), ("Codename", 'n'), ("Version", 'v')];

/// The names that apt gives to a repository's Release file below `lists/`: the signed form, and the plain one.
pub(super) fn list_names(repository: &Repository) -> [String; 2] {
    let uri = repository.uri.trim_end_matches('/');
    let folder = if repository.suite.ends_with('/') {
        format!("{uri}/{}", repository.suite.trim_start_matches("./"))
    } else {
        format!("{uri}/dists/{}/", repository.suite)
    };
    ["InRelease", "Release"].map(|name| file_name(&format!("{folder}{name}")))
}

/// As `URItoFileName` of apt.
fn file_name(uri: &str) -> String {
    let path = match uri.split_once("://") {
        Some((_, rest)) => rest,
        None => uri.split_once(':').map_or(uri, |(_, rest)| rest),
    };
    let mut name = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter == '/' {
            name.push('_');
        } else if QUOTED.contains(letter) {
            // Writing to a String cannot fail.
            let _written = write!(name, "%{:02x}", u32::from(letter));
        } else {
            name.push(letter);
        }
    }
    name
}

/// Preferences that give the packages of a repository this priority, known by its Release file; nothing when that has none
/// of the fields.
pub(super) fn preferences(release: &str, priority: i32) -> Option<String> {
    let value = |field: &str| {
        let lines = release.lines().take_while(|line| !line.starts_with("-----BEGIN PGP SIGNATURE"));
        let mut values = lines.filter_map(|line| line.split_once(':')).filter(|(name, _)| *name == field);
        values.next().map(|(_, value)| value.trim().to_owned())
    };
    let known = FIELDS.iter().filter_map(|(field, letter)| Some((letter, value(field)?)));
    let conditions = known.filter(|(_, value)| !value.is_empty()).map(|(letter, value)| format!("{letter}={value}"));
    let conditions = conditions.collect::<Vec<_>>().join(",");
    (!conditions.is_empty()).then(|| format!("Package: *\nPin: release {conditions}\nPin-Priority: {priority}\n"))
}

/// The configuration with which apt fetches, here and in the root directory while it is built. It may hold passwords.
pub(super) fn configuration(settings: &Settings) -> String {
    let mut text = String::from(
        "APT::Install-Recommends \"false\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
         Acquire::http::Timeout \"30\";\nAcquire::https::Timeout \"30\";\n\
         Dir::Etc::netrc \"/etc/apt/auth.conf\";\nDir::Etc::netrcparts \"/etc/apt/auth.conf.d\";\n",
    );
    let mut set = |protocol: &str, name: &str, value: &str| {
        text.push_str(&format!("Acquire::{protocol}::Proxy{name} \"{value}\";\n"));
    };
    for (protocol, proxy) in [("http", &settings.http_proxy), ("https", &settings.https_proxy)] {
        let Some(proxy) = proxy else { continue };
        set(protocol, "", proxy.reveal());
        for host in &settings.direct_repo_addresses {
            set(protocol, &format!("::{host}"), "DIRECT");
        }
    }
    text
}

/// What is wrong when `apt-get update` fails or leaves something out.
pub(super) fn fault_of_update(lines: &[String]) -> Option<Error> {
    let with = |word: &str| lines.iter().find(|line| line.contains(word)).map(|line| words_of(line));
    let all = |start: &str, word: &str| {
        let found =
            lines.iter().filter(|line| line.starts_with(start) && line.contains(word)).map(|line| words_of(line));
        let found: Vec<_> = found.collect();
        (!found.is_empty()).then(|| found.join("; "))
    };
    if let Some(words) = with("No space left on device") {
        return Some(Error::new(Kind::Medium, words));
    }
    if let Some(words) = all("E: ", "is not signed.") {
        let why = all("W: ", "GPG error")
            .or_else(|| all("W: ", "signature"))
            .map_or_else(String::new, |why| format!(": {why}"));
        return Some(Error::new(Kind::Refused, format!("{words}{why}")).advise(
            "name the file with its keys in the repository's `key`; one that nobody signs must be named in allow_unsigned",
        ));
    }
    if let Some(words) = all("E: ", "does not have a Release file")
        .or_else(|| all("W: ", "doesn't have the component"))
        .or_else(|| all("N: ", "doesn't support architecture"))
    {
        return Some(Error::new(Kind::Request, words).advise("look for suite and components at that address"));
    }
    let words = all("E: ", "Failed to fetch").or_else(|| all("E: ", ""))?;
    Some(Error::new(Kind::Image, words))
}

/// What is wrong when apt does not find what is to be installed.
pub(super) fn fault_of_choice(lines: &[String]) -> Error {
    let from = lines.iter().position(|line| line.contains("unmet dependencies")).map_or(0, |at| at + 1);
    let broken = lines[from..].iter().filter(|line| from > 0 && line.starts_with(' ')).map(|line| words_of(line));
    let errors = lines.iter().filter(|line| line.starts_with("E: ")).map(|line| words_of(line));
    let words: Vec<_> = broken.chain(errors).take(10).collect();
    let words = if words.is_empty() { "apt-get failed without a word".to_owned() } else { words.join("; ") };
    Error::new(Kind::Request, words).advise("no repository has them as they are asked for; nothing was built")
}

/// A line of apt without its mark.
fn words_of(line: &str) -> String {
    let line = ["E: ", "W: ", "N: "].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
    line.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::request::Secret;

    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn lists_are_found_by_the_names_that_apt_gives() {
        let names = |text: &str| list_names(&text.parse().unwrap());
        assert_eq!(names("deb http://a.b/debian bookworm main")[0], "a.b_debian_dists_bookworm_InRelease");
        assert_eq!(names("deb http://a.b:80/x_y/ s main")[1], "a.b:80_x%5fy_dists_s_Release");
        assert_eq!(names("deb http://a/mos ./")[0], "a_mos_InRelease");
        assert_eq!(names("deb file:/srv/r s/updates main")[0], "_srv_r_dists_s_updates_InRelease");
    }

    #[test]
    fn pins_are_upstreams() {
        let release = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: Mirantis\nLabel: mos10.0\nSuite: mos10.0\n\
                       Codename: mos10.0\nDate: x\nSHA256:\n ab 12 main/binary-amd64/Packages\n\
                       -----BEGIN PGP SIGNATURE-----\nVersion: GnuPG v1\n";
        let expected = "Package: *\nPin: release o=Mirantis,l=mos10.0,a=mos10.0,n=mos10.0\nPin-Priority: 1050\n";
        assert_eq!(preferences(release, 1050).unwrap(), expected);
        assert_eq!(preferences("Date: x\n", 1050), None);
    }

    #[test]
    fn proxies_are_for_their_protocol_and_not_for_direct_hosts() {
        let settings = Settings {
            http_proxy: Some(Secret::new("http://p:3128")),
            direct_repo_addresses: BTreeSet::from(["10.20.0.2".into()]),
            ..Settings::default()
        };
        let text = configuration(&settings);
        let tail = "Acquire::http::Proxy \"http://p:3128\";\nAcquire::http::Proxy::10.20.0.2 \"DIRECT\";\n";
        assert!(text.ends_with(tail) && !text.contains("https::Proxy"), "{text}");
    }

    #[test]
    fn words_of_apt_say_whose_fault_it_is() {
        let fault = |text: &str| fault_of_update(&lines(text)).map(|error| (error.kind(), error.to_string()));
        assert_eq!(fault("Get:1 http://a demo InRelease [786 B]\nReading package lists..."), None);
        let wrong_key = "W: GPG error: http://a demo InRelease: The following signatures couldn't be verified because the public \
                         key is not available: NO_PUBKEY 0E8D\nE: The repository 'http://a demo InRelease' is not signed.";
        let expected = "The repository 'http://a demo InRelease' is not signed: GPG error: http://a demo InRelease: The following \
                        signatures couldn't be verified because the public key is not available: NO_PUBKEY 0E8D";
        assert_eq!(fault(wrong_key), Some((Kind::Refused, expected.to_owned())));
        let absent = "E: The repository 'http://a nosuch Release' does not have a Release file.";
        assert_eq!(fault(absent).unwrap().0, Kind::Request);
        let component = "W: Skipping acquire of configured file 'x/binary-amd64/Packages' as repository 'http://a demo \
                         InRelease' doesn't have the component 'x' (component misspelt in sources.list?)";
        assert_eq!(fault(component).unwrap().0, Kind::Request);
        let down = "E: Failed to fetch http://a/dists/demo/InRelease  Could not connect to a:1 (127.0.0.1). - connect (111: \
                    Connection refused)\nE: Some index files failed to download. They have been ignored, or old ones used instead.";
        let expected = "Failed to fetch http://a/dists/demo/InRelease Could not connect to a:1 (127.0.0.1). - connect (111: \
                        Connection refused)";
        assert_eq!(fault(down), Some((Kind::Image, expected.to_owned())));
        let full = "E: Write error - write (28: No space left on device)\nE: Failed to fetch x";
        assert_eq!(fault(full), Some((Kind::Medium, "Write error - write (28: No space left on device)".to_owned())));
    }

    #[test]
    fn packages_that_are_not_there_are_named() {
        let error = fault_of_choice(&lines("Reading package lists...\nE: Unable to locate package nosuch"));
        assert_eq!((error.kind(), error.to_string()), (Kind::Request, "Unable to locate package nosuch".to_owned()));
        let unmet = "The following packages have unmet dependencies:\n a : Depends: b but it is not installable\n\
                     E: Unable to correct problems, you have held broken packages.";
        let expected =
            "a : Depends: b but it is not installable; Unable to correct problems, you have held broken packages";
        assert_eq!(fault_of_choice(&lines(unmet)).to_string(), expected);
    }
}
