//! The active image in Cobbler: distro, profile, and the system `default` for machines that it does not know.

mod options;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use log::{info, warn};
use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Error, Kind, Result};
use crate::http::{self, Client};
use crate::image::Cancel;
use crate::netboot::cobbler::{Attempt, Server, Session, Trouble, flag};
use crate::netboot::read_secret;
use crate::netboot::xmlrpc::Value;
use crate::request::Secret;

use super::metadata::Part;
use super::store::Image;

use options::Line;

/// What a site says of its Cobbler: the key `cobbler` of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The XML-RPC interface, as `http://10.20.0.2/cobbler_api`.
    pub url: String,
    /// Who logs in.
    pub user: String,
    /// The file with that user's password.
    pub password_file: PathBuf,
    /// The distro's name.
    #[serde(default = "upstreams_name")]
    pub distro: String,
    /// The profile's name.
    #[serde(default = "upstreams_name")]
    pub profile: String,
    /// The system that stands for machines without one of their own.
    #[serde(default = "default_system")]
    pub system: String,
    /// What Cobbler takes the image for; it must know it.
    #[serde(default = "upstreams_breed")]
    pub breed: String,
    /// The version of that; it must know it as well.
    #[serde(default = "upstreams_version")]
    pub os_version: String,
    /// Where nodes fetch `UUID/root.squashfs`; a running master takes its own address.
    #[serde(default)]
    pub images_url: Option<String>,
    /// Where cobblerd finds the images, if it sees their folder under another path.
    #[serde(default)]
    pub images_dir: Option<PathBuf>,
    /// Nailgun's interface, `url=` on the kernel line.
    #[serde(default)]
    pub nailgun_url: Option<String>,
    /// mcollective's account.
    #[serde(default)]
    pub mco_user: Option<String>,
    /// The file with that account's password.
    #[serde(default)]
    pub mco_password_file: Option<PathBuf>,
    /// Further kernel options of the site. They come before upstream's and win over them, as those of an image do.
    #[serde(default)]
    pub kernel_options: String,
    /// Whether Cobbler is asked to write all of its files anew; 3.x writes those that changed anyhow.
    #[serde(default = "yes")]
    pub sync: bool,
    /// How many seconds a call may take.
    #[serde(default)]
    pub timeout: Option<u64>,
}

fn upstreams_name() -> String {
    "ubuntu_bootstrap".to_owned()
}

fn default_system() -> String {
    "default".to_owned()
}

fn upstreams_breed() -> String {
    "ubuntu".to_owned()
}

fn upstreams_version() -> String {
    "xenial".to_owned()
}

fn yes() -> bool {
    true
}

impl Settings {
    /// Checks what becomes part of a kernel line.
    ///
    /// # Errors
    /// What is wrong, with its key.
    pub fn check(&self) -> std::result::Result<(), String> {
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let addresses = [("images_url", &self.images_url), ("nailgun_url", &self.nailgun_url)];
        for (key, address) in addresses {
            if address.as_ref().is_some_and(|address| !is_word(address) || !address.contains("://")) {
                return Err(format!("{key}: expected an address without blanks"));
            }
        }
        self.url.parse::<http::Url>().map_err(|_| "url: expected an address".to_owned())?;
        if self.mco_user.as_ref().is_some_and(|user| !is_word(user)) {
            return Err("mco_user: expected one word".to_owned());
        }
        if !crate::master::config::is_kernel_text(&self.kernel_options) {
            return Err("kernel_options: expected one line of printable ASCII without ${".to_owned());
        }
        for (key, name) in [("distro", &self.distro), ("profile", &self.profile), ("system", &self.system)] {
            let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'+');
            if name.is_empty() || !name.bytes().all(is_letter) {
                return Err(format!("{key}: expected a name, found {name:?}"));
            }
        }
        Ok(())
    }
}

/// Cobbler, ready to be told of images.
#[derive(Debug)]
pub struct Registry {
    settings: Settings,
    images_url: String,
    mco_password: Option<Secret>,
    server: Server,
    client: Client,
}

/// What an object of Cobbler is to hold, or held; nothing when there was none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Object {
    kind: String,
    name: String,
    fields: Option<BTreeMap<String, Field>>,
}

/// A value of a field that is set here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Field {
    Flag(bool),
    Text(String),
}

impl Field {
    fn value(&self) -> Value {
        match self {
            Self::Flag(flag) => (*flag).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }
}

/// What Cobbler held before it was told of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// In the order in which they are made.
    objects: Vec<Object>,
}

impl Registry {
    /// Cobbler as the settings name it. `own_url` is where a running master serves its images.
    ///
    /// # Errors
    /// `Usage` when a setting is missing or wrong, or a password cannot be read.
    pub fn new(settings: &Settings, own_url: Option<&str>, cancel: Cancel) -> Result<Self> {
        let fault = |words: String| Error::new(Kind::Usage, format!("cobbler.{words}"));
        settings.check().map_err(fault)?;
        let images_url = settings.images_url.as_deref().or(own_url).ok_or_else(|| {
            fault("images_url: where nodes fetch images is not known".to_owned())
                .advise("for example http://10.20.0.2:8080/bootstraps")
        })?;
        let mco_password = settings.mco_password_file.as_deref();
        let mco_password = mco_password.map(|path| read_secret("cobbler.mco_password_file", path)).transpose()?;
        if mco_password.as_ref().is_some_and(|word| !word.reveal().bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(fault("mco_password_file: expected one word, since it stands on the kernel line".to_owned()));
        }
        let server = Server {
            url: settings.url.parse().context(Kind::Usage, || "cobbler.url")?,
            user: settings.user.clone(),
            password: read_secret("cobbler.password_file", &settings.password_file)?,
            answer_within: settings.timeout.map(Duration::from_secs),
            hidden: mco_password.iter().cloned().collect(),
            cancel,
        };
        let images_url = images_url.trim_end_matches('/').to_owned();
        let client = Client::new(&http::Settings::default())?;
        Ok(Self { settings: settings.clone(), images_url, mco_password, server, client })
    }

    /// What Cobbler holds now of all that is set here.
    ///
    /// # Errors
    /// `Master` when Cobbler is unreachable or refuses.
    pub fn read(&self) -> Result<Before> {
        let what = "asking Cobbler what it holds";
        self.server.patiently(what, || {
            let session = Session::open(&self.server, &self.client)?;
            let template = template(&self.settings, autoinstall(&session)?);
            let read = |(kind, name, keys): (&str, String, Vec<&str>)| {
                let fields = session.read(kind, &name)?.map(|members| held(&keys, &members));
                Ok(Object { kind: kind.to_owned(), name, fields })
            };
            Ok(Before { objects: template.into_iter().map(read).collect::<Attempt<_>>()? })
        })
    }

    /// Tells Cobbler of an image, and reads back that it holds what it was told.
    ///
    /// # Errors
    /// `Master` when Cobbler is unreachable, refuses, or says otherwise afterwards.
    pub fn register(&self, image: &Image) -> Result<()> {
        let line = self.line(image);
        let what = format!("registering the bootstrap image {} in Cobbler", image.id());
        self.server.patiently(&what, || {
            let session = Session::open(&self.server, &self.client)?;
            let wanted = self.wanted(image, &line, autoinstall(&session)?);
            self.put(&session, &wanted)
        })?;
        info!("registered the bootstrap image {} in Cobbler", image.id());
        Ok(())
    }

    /// Gives back to Cobbler what it held; what it did not hold is removed.
    ///
    /// # Errors
    /// `Master` when Cobbler is unreachable or refuses.
    pub fn restore(&self, before: &Before) -> Result<()> {
        // Also a run that is to end leaves things as they were.
        let server = Server { cancel: Cancel::default(), ..self.server.clone() };
        server.patiently("restoring what Cobbler held", || {
            let session = Session::open(&server, &self.client)?;
            let (kept, removed): (Vec<_>, Vec<_>) = before.objects.iter().partition(|object| object.fields.is_some());
            for object in removed.iter().rev().filter(|object| object.kind == "system") {
                session.remove(&object.kind, &object.name)?;
            }
            for object in &kept {
                write(&session, object)?;
            }
            // Last those that others were made from.
            for object in removed.iter().rev().filter(|object| object.kind != "system") {
                session.remove(&object.kind, &object.name)?;
            }
            self.sync(&session)
        })
    }

    fn put(&self, session: &Session<'_>, wanted: &[Object]) -> Attempt<()> {
        for object in wanted {
            write(session, object)?;
        }
        self.sync(session)?;
        for object in wanted {
            require(session, object)?;
        }
        Ok(())
    }

    fn sync(&self, session: &Session<'_>) -> Attempt<()> {
        if self.settings.sync { session.sync() } else { Ok(()) }
    }

    fn wanted(&self, image: &Image, line: &Line, autoinstall: &'static str) -> Vec<Object> {
        let folder = match &self.settings.images_dir {
            Some(folder) => folder.join(image.id().as_str()),
            None => image.folder.clone(),
        };
        let path = |part: Part| folder.join(part.file()).to_string_lossy().into_owned();
        let Settings { distro, profile, breed, os_version, .. } = &self.settings;
        let value = |key: &str| match key {
            "arch" => Field::Text("x86_64".to_owned()),
            "breed" => Field::Text(breed.clone()),
            "os_version" => Field::Text(os_version.clone()),
            "kernel" => Field::Text(path(Part::Kernel)),
            "initrd" => Field::Text(path(Part::Initrd)),
            "distro" => Field::Text(distro.clone()),
            "kernel_options" => Field::Text(line.text()),
            "profile" => Field::Text(profile.clone()),
            "netboot_enabled" => Field::Flag(true),
            // autoinstall, kickstart: none.
            _ => Field::Text(String::new()),
        };
        let object = |(kind, name, keys): (&'static str, String, Vec<&'static str>)| {
            let fields = keys.into_iter().map(|key| (key.to_owned(), value(key))).collect();
            Object { kind: kind.to_owned(), name, fields: Some(fields) }
        };
        template(&self.settings, autoinstall).into_iter().map(object).collect()
    }

    /// The kernel line of an image.
    fn line(&self, image: &Image) -> Line {
        let fetch = image.metadata.module(Part::Root).map(|module| {
            let digest = module.raw_sha256.as_ref().map(ToString::to_string).unwrap_or_default();
            (format!("{}/{}/{}", self.images_url, image.id(), Part::Root.file()), digest)
        });
        let site = options::Site {
            fetch,
            nailgun_url: self.settings.nailgun_url.as_deref(),
            mco_user: self.settings.mco_user.as_deref(),
            mco_password: self.mco_password.as_ref(),
        };
        let ours = Line::of_site(&site).extended_by(&self.settings.kernel_options);
        ours.extended_by(&image.metadata.extend_kopts)
    }
}

/// What is set: kind, name and fields of each object, in the order in which they are made.
fn template(settings: &Settings, autoinstall: &'static str) -> Vec<(&'static str, String, Vec<&'static str>)> {
    vec![
        ("distro", settings.distro.clone(), vec!["arch", "breed", "initrd", "kernel", "os_version"]),
        ("profile", settings.profile.clone(), vec![autoinstall, "distro", "kernel_options"]),
        ("system", settings.system.clone(), vec!["netboot_enabled", "profile"]),
    ]
}

/// What Cobbler calls the automatic installation, of which a bootstrap has none: 3.0 renamed it.
fn autoinstall(session: &Session<'_>) -> Attempt<&'static str> {
    let version = match session.call("version", &[])? {
        Ok(Value::Text(version)) => version,
        Ok(other) => return Err(session.strange("version", "a number", &other)),
        Err(fault) => return Err(session.refused("version", &fault)),
    };
    let is_old = version.starts_with("2.") || version.starts_with("1.");
    Ok(if is_old { "kickstart" } else { "autoinstall" })
}

/// The fields that are set here, out of all that an object holds.
fn held(keys: &[&str], members: &BTreeMap<String, Value>) -> BTreeMap<String, Field> {
    let field = |key: &&str| {
        let field = match (*key, members.get(*key)?) {
            ("netboot_enabled", value) => Field::Flag(flag(value)?),
            ("kernel_options", Value::Members(options)) => Field::Text(options::of_members(options)),
            (_, Value::Text(text)) => Field::Text(text.clone()),
            _ => return None,
        };
        Some(((*key).to_owned(), field))
    };
    keys.iter().filter_map(field).collect()
}

fn write(session: &Session<'_>, object: &Object) -> Attempt<()> {
    let fields = object.fields.iter().flatten().map(|(key, field)| (key.clone(), field.value())).collect();
    session.write(&object.kind, &object.name, &fields)
}

/// Reads back.
fn require(session: &Session<'_>, object: &Object) -> Attempt<()> {
    let Object { kind, name, fields } = object;
    let otherwise = |words: String| {
        let message = format!("{kind} {name:?} of Cobbler: it says otherwise when asked back: {words}");
        Err(Trouble::lasting(message, ""))
    };
    let Some(members) = session.read(kind, name)? else { return otherwise("there is none".to_owned()) };
    let keys: Vec<_> = fields.iter().flatten().map(|(key, _)| key.as_str()).collect();
    let found = held(&keys, &members);
    for (key, wanted) in fields.iter().flatten() {
        let is_so = match (wanted, found.get(key)) {
            (Field::Text(wanted), Some(Field::Text(found))) if key == "kernel_options" => {
                match Line::parse(wanted).difference(&Line::parse(found)) {
                    // Values are not told: a password is among them.
                    Some(option) => return otherwise(format!("{key}: {option} differs")),
                    None => true,
                }
            }
            (wanted, found) => found == Some(wanted),
        };
        if !is_so {
            let show = |field: Option<&Field>| match field {
                Some(Field::Flag(flag)) => flag.to_string(),
                Some(Field::Text(text)) => format!("{text:?}"),
                None => "nothing".to_owned(),
            };
            return otherwise(format!("{key}: expected {}, found {}", show(Some(wanted)), show(found.get(key))));
        }
    }
    Ok(())
}

impl Before {
    /// Whether Cobbler knew nothing of what is set here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.iter().all(|object| object.fields.is_none())
    }

    /// What a file says that Cobbler held.
    ///
    /// # Errors
    /// `Image` when the file holds something else.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let before: Self = serde_json::from_slice(bytes).context(Kind::Image, || "reading what Cobbler held before")?;
        let is_known = |object: &Object| matches!(object.kind.as_str(), "distro" | "profile" | "system");
        if before.objects.iter().all(is_known) {
            return Ok(before);
        }
        Err(Error::new(Kind::Image, "reading what Cobbler held before: expected distros, profiles and systems alone"))
    }
}

/// Tells that something could not be put back; the first error is the one that counts.
pub(super) fn with_outcome(error: Error, restored: Result<()>) -> Error {
    match restored {
        Ok(()) => error.within("nothing is changed, what Cobbler held is restored"),
        Err(second) => {
            warn!("{second}");
            let advice = format!("Cobbler may hold a part of it ({second}): activate an image again when it answers");
            error.advise(advice)
        }
    }
}
