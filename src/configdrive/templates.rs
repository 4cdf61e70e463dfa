//! Finds and renders templates: a site's own first, by the names that upstream tries, then ours.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior, Value};
use serde::Serialize;

use super::context::Context;
use crate::error::{Context as _, Error, Kind, Result};
use crate::request::Request;

/// The templates that the agent carries. A site's may extend them by these names.
const OURS: [(&str, &str); 10] = [
    ("cloud_config.jinja2", include_str!("../../configdrive-templates/cloud_config.jinja2")),
    ("cloud_config_centos.jinja2", include_str!("../../configdrive-templates/cloud_config_centos.jinja2")),
    ("cloud_config_debian.jinja2", include_str!("../../configdrive-templates/cloud_config_debian.jinja2")),
    ("cloud_config_ubuntu.jinja2", include_str!("../../configdrive-templates/cloud_config_ubuntu.jinja2")),
    ("first_boot.jinja2", include_str!("../../configdrive-templates/first_boot.jinja2")),
    ("first_boot_centos.jinja2", include_str!("../../configdrive-templates/first_boot_centos.jinja2")),
    ("first_boot_debian.jinja2", include_str!("../../configdrive-templates/first_boot_debian.jinja2")),
    ("first_boot_ubuntu.jinja2", include_str!("../../configdrive-templates/first_boot_ubuntu.jinja2")),
    ("meta_data.jinja2", include_str!("../../configdrive-templates/meta_data.jinja2")),
    ("network_config.jinja2", include_str!("../../configdrive-templates/network_config.jinja2")),
];

/// Families of operating systems that have templates of their own, with the words that profiles have for them.
const FAMILIES: [(&str, &[&str]); 3] = [
    ("ubuntu", &["ubuntu"]),
    ("debian", &["debian"]),
    ("centos", &["centos", "rhel", "redhat", "rocky", "alma", "oracle"]),
];

/// The templates for one request.
pub struct Templates<'a> {
    environment: Environment<'static>,
    request: &'a Request,
    folder: Option<&'a Path>,
}

/// A template's text and where it is from.
struct Source {
    name: String,
    text: String,
    /// Whose fault it is when it does not work.
    kind: Kind,
}

impl<'a> Templates<'a> {
    /// The templates for `request`; those in `folder` come first.
    ///
    /// # Errors
    /// `Usage` when the folder is none.
    pub fn new(request: &'a Request, folder: Option<&'a Path>) -> Result<Self> {
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(Error::new(Kind::Usage, format!("{} is not a folder with templates", folder.display())));
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_formatter(write_quoted);
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
        environment.set_syntax(syntax.build().context(Kind::Bug, || "setting up the template engine")?);
        for (name, text) in OURS {
            environment.add_template(name, text).context(Kind::Bug, || format!("reading template {name}"))?;
        }
        environment.add_filter("tojson", |value: Value| -> Result<Value, minijinja::Error> {
            if value.is_undefined() {
                return Err(minijinja::ErrorKind::UndefinedError.into());
            }
            let text = yaml(&value)
                .map_err(|error| minijinja::Error::new(minijinja::ErrorKind::BadSerialization, error.to_string()))?;
            Ok(Value::from_safe_string(text))
        });
        environment.add_filter("sh", |value: Value| -> Result<Value, minijinja::Error> {
            let text = value.as_str().ok_or_else(|| {
                minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, "the filter sh quotes strings alone")
            })?;
            Ok(Value::from_safe_string(shell(text)?))
        });
        Ok(Self { environment, request, folder })
    }

    /// Renders the template of a kind.
    ///
    /// # Errors
    /// As [`super::render`].
    pub fn render_text(&self, kind: &str, context: &Context) -> Result<String> {
        self.render(&self.source(kind)?, context)
    }

    fn source(&self, kind: &str) -> Result<Source> {
        self.of_site(kind)?.map_or_else(|| of_ours(kind, self.request), Ok)
    }

    /// Renders the template of a kind, and checks that the result is YAML.
    ///
    /// # Errors
    /// As [`super::render`].
    pub fn render_yaml(&self, kind: &str, context: &Context) -> Result<String> {
        let source = self.source(kind)?;
        let text = self.render(&source, context)?;
        // The result is parsed, not quoted: what stands around the broken line may be a password hash.
        serde_saphyr::from_str::<serde_json::Value>(&text)
            .map_err(|_| Error::new(source.kind, format!("the result of template {} is not YAML", source.name)))?;
        Ok(text)
    }

    /// Renders the site's template of a kind that we have none of; nothing where the site has none either.
    ///
    /// # Errors
    /// As [`super::render`].
    pub fn render_of_site(&self, kind: &str, context: &Context) -> Result<Option<String>> {
        self.of_site(kind)?.map(|source| self.render(&source, context)).transpose()
    }

    fn render(&self, source: &Source, context: &Context) -> Result<String> {
        self.environment
            .render_named_str(&source.name, &source.text, Serde(context))
            .context(source.kind, || format!("rendering template {}", source.name))
    }

    fn of_site(&self, kind: &str) -> Result<Option<Source>> {
        let Some(folder) = self.folder else { return Ok(None) };
        for name in names(kind, self.request) {
            let path: PathBuf = folder.join(&name);
            match fs::read_to_string(&path) {
                Ok(text) => return Ok(Some(Source { name: path.display().to_string(), text, kind: Kind::Usage })),
                Err(error) if error.kind() == IoErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Error::caused(Kind::Usage, format!("reading template {}", path.display()), error));
                }
            }
        }
        Ok(None)
    }
}

fn of_ours(kind: &str, request: &Request) -> Result<Source> {
    let family = family(request).map(|family| format!("{kind}_{family}.jinja2"));
    let (name, text) = family
        .into_iter()
        .chain([format!("{kind}.jinja2")])
        .find_map(|name| OURS.iter().find(|(ours, _)| *ours == name))
        .ok_or_else(|| Error::bug(format!("there is no template for {kind}")))?;
    Ok(Source { name: (*name).to_owned(), text: (*text).to_owned(), kind: Kind::Bug })
}

/// The family whose templates fit: the one that the names of Nailgun's templates end in (`cloud_config_fuel_9.0_ubuntu.jinja2`),
/// else the one that the profile names.
fn family(request: &Request) -> Option<&'static str> {
    let named = request.templates.values().find_map(|name| {
        let stem = name.strip_suffix(".jinja2").unwrap_or(name);
        FAMILIES.iter().find(|(family, _)| stem.rsplit('_').next() == Some(family))
    });
    let profile = request.profile.to_lowercase();
    let guessed = || FAMILIES.iter().find(|(_, words)| words.iter().any(|word| profile.contains(word)));
    named.or_else(guessed).map(|(family, _)| *family)
}

/// The file names that upstream tries for a kind of template, in its order.
fn names(kind: &str, request: &Request) -> Vec<String> {
    let profile = request.profile.as_str();
    let cut = |at: char| profile.split(at).next().unwrap_or(profile);
    let given = request.templates.get(kind).cloned();
    let made = [profile, cut('_'), cut('-')].map(|profile| format!("{kind}_{profile}.jinja2"));
    let mut seen = BTreeSet::new();
    given
        .into_iter()
        .chain(made)
        .chain([format!("{kind}.jinja2")])
        // The names come from the request: none may lead out of the folder.
        .filter(|name| !name.contains('/') && seen.insert(name.clone()))
        .collect()
}

/// Writes a value, unless it is a bare string: whatever a request holds must pass through `tojson`.
fn write_quoted(out: &mut Output, state: &mut State, value: &Value) -> Result<(), minijinja::Error> {
    if value.as_str().is_some() && !value.is_safe() {
        return Err(minijinja::Error::new(
            minijinja::ErrorKind::InvalidOperation,
            "a string is inserted without quoting: pipe it through tojson or sh",
        ));
    }
    minijinja::escape_formatter(out, state, value)
}

/// A string as one word of a shell.
fn shell(text: &str) -> Result<String, minijinja::Error> {
    if text.contains('\0') {
        let message = "a string with the character NUL cannot be written for a shell";
        return Err(minijinja::Error::new(minijinja::ErrorKind::BadSerialization, message));
    }
    Ok(format!("'{}'", text.replace('\'', "'\\''")))
}

/// A value as JSON that is YAML as well and plain ASCII.
///
/// # Errors
/// `Bug` when it has no JSON form.
pub fn yaml(value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string(value).map_err(|cause| Error::bug(format!("writing a value as JSON: {cause}")))?;
    let mut text = String::with_capacity(json.len());
    // Outside of strings JSON is ASCII. YAML forbids some characters even in quotes, DEL for one, and has no surrogates.
    for c in json.chars() {
        let written = match u32::from(c) {
            0x20..0x7f => {
                text.push(c);
                Ok(())
            }
            code @ ..0x1_0000 => write!(text, "\\u{code:04x}"),
            code => write!(text, "\\U{code:08x}"),
        };
        written.map_err(|cause| Error::bug(format!("writing a value as JSON: {cause}")))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    #[test]
    fn names_are_tried_in_upstreams_order_and_stay_in_the_folder() {
        let mut request = request();
        request.profile = "ubuntu_1404-x86".into();
        request.templates = [("cloud_config".to_owned(), "cloud_config_fuel_10.0_ubuntu.jinja2".to_owned())].into();
        assert_eq!(
            names("cloud_config", &request),
            [
                "cloud_config_fuel_10.0_ubuntu.jinja2",
                "cloud_config_ubuntu_1404-x86.jinja2",
                "cloud_config_ubuntu.jinja2",
                "cloud_config_ubuntu_1404.jinja2",
                "cloud_config.jinja2",
            ]
        );
        request.templates = [("cloud_config".to_owned(), "../../etc/shadow".to_owned())].into();
        request.profile = "../x".into();
        assert_eq!(names("cloud_config", &request), ["cloud_config.jinja2"]);
    }

    #[test]
    fn names_that_nailgun_sends_resolve_to_ours() {
        let mut request = request();
        let mut resolved = |profile: &str, template: Option<&str>, kind: &str| {
            request.profile = profile.into();
            request.templates = template.map(|name| ("cloud_config".to_owned(), name.to_owned())).into_iter().collect();
            of_ours(kind, &request).unwrap().name
        };
        for (profile, template, kind, name) in [
            ("ubuntu_bootstrap", None, "cloud_config", "cloud_config_ubuntu.jinja2"),
            (
                "ubuntu_1404_x86_64",
                Some("cloud_config_fuel_8.0_centos.jinja2"),
                "first_boot",
                "first_boot_centos.jinja2",
            ),
            ("x", Some("cloud_config_fuel_9.0_ubuntu.jinja2"), "first_boot", "first_boot_ubuntu.jinja2"),
            ("centos7-x86_64", None, "cloud_config", "cloud_config_centos.jinja2"),
            ("debian_12", None, "first_boot", "first_boot_debian.jinja2"),
            ("Rocky-9", Some("own.jinja2"), "first_boot", "first_boot_centos.jinja2"),
            ("node", None, "cloud_config", "cloud_config.jinja2"),
            ("ubuntu", None, "meta_data", "meta_data.jinja2"),
        ] {
            assert_eq!(resolved(profile, template, kind), name, "{profile} {template:?}");
        }
        assert_eq!(of_ours("boothook", &request).err().map(|error| error.kind()), Some(Kind::Bug));
    }

    #[test]
    fn string_without_quoting_and_unknown_variable_are_refused() {
        let request = request();
        let templates = Templates::new(&request, None).unwrap();
        let context = Context::of(&request, "i1").unwrap();
        let refused = |text: &str| {
            let source = Source { name: "t".into(), text: text.into(), kind: Kind::Usage };
            let error = templates.render(&source, &context).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            error.to_string()
        };
        assert!(refused("a: {{ hostname }}").contains("pipe it through tojson or sh"));
        assert!(refused("a: {{ hostnmae | tojson }}").contains("undefined value"));
    }

    #[test]
    fn yaml_is_ascii_and_escapes_what_yaml_forbids() {
        assert_eq!(yaml(&"a\u{7f}\u{e9}\u{2028}\u{1F600}\n\"").unwrap(), r#""a\u007f\u00e9\u2028\U0001f600\n\"""#);
    }
}
