//! Reads what the installed system is told at its first boot: keys, accounts, services, templates.

use std::collections::BTreeMap;

use serde_json::Value;

use super::config_drive::{self, ConfigDriveSpec};
use super::model::{Account, Mcollective, PhoneHome, Puppet, Secret};
use super::names;
use super::netboot::{self, Netboot};
use super::network;
use super::reader::{Field, Object};

/// `authorized_keys` and the cluster's `auth_key`, which arrives as a pair of quotes when it is not set.
pub fn ssh_keys(meta: &Object<'_>) -> Option<Vec<String>> {
    let keys = meta.get("authorized_keys").and_then(|field| each(&field, ssh_key));
    let own = meta.get("auth_key").and_then(|field| ssh_key(&field));
    let mut keys = keys?;
    keys.push(own?);
    keys.retain(|key| !key.is_empty());
    Some(keys)
}

fn ssh_key(field: &Field<'_>) -> Option<String> {
    field.parsed("a public key on one line", |text| {
        let key = names::unquoted(text);
        (!key.chars().any(char::is_control)).then(|| key.to_owned())
    })
}

/// What `read` makes of each element, each having been read so that each fault is found.
fn each<T>(field: &Field<'_>, read: impl Fn(&Field<'_>) -> Option<T>) -> Option<Vec<T>> {
    let items: Vec<_> = field.list()?.map(|field| read(&field)).collect();
    items.into_iter().collect()
}

/// Accounts in the order sent; older releases send none.
pub fn accounts(meta: &Object<'_>) -> Option<Vec<Account>> {
    meta.optional("user_accounts", |field| each(field, account)).map(Option::unwrap_or_default)
}

fn account(field: &Field<'_>) -> Option<Account> {
    let object = field.object()?;
    let login = |text: &str| names::is_login_name(text).then(|| text.to_owned());
    let name = object.get("name").and_then(|field| field.parsed("a login name", login));
    let secret = |key: &str| object.optional(key, |field| field.text().map(Secret::new));
    let (password, hashed_password) = (secret("password"), secret("hashed_password"));
    let absolute = |text: &str| names::is_mount_point(text).then(|| text.to_owned());
    let path = |key: &str| object.optional(key, |field| field.parsed("an absolute path", absolute));
    let (homedir, shell) = (path("homedir"), path("shell"));
    let lines = |key: &str| object.optional(key, |field| each(field, ssh_key)).map(Option::unwrap_or_default);
    let (sudo, ssh_keys) = (lines("sudo"), lines("ssh_keys"));
    Some(Account {
        name: name?,
        password: password?,
        hashed_password: hashed_password?,
        homedir: homedir?,
        shell: shell?.unwrap_or_else(|| "/bin/bash".to_owned()),
        sudo: sudo?,
        ssh_keys: ssh_keys?,
    })
}

/// The puppet agent; what is absent is not set up.
pub fn puppet(meta: &Object<'_>) -> Puppet {
    Puppet {
        master: meta.get("puppet_master").and_then(|field| field.parsed("a host name", host_name)),
        is_enabled: meta.get("puppet_enable").and_then(|field| field.flag()).unwrap_or(false),
    }
}

/// Absent keys mean that mcollective is not set up; 7.0 and older send no identity, which is then the node's id.
pub fn mcollective(meta: &Object<'_>, uid: Option<&str>) -> Option<Mcollective> {
    let text = |key: &str| meta.get(key).and_then(|field| field.parsed("one line without blanks around it", line));
    let (pskey, vhost, host) = (text("mco_pskey"), text("mco_vhost"), text("mco_host"));
    let (user, password, connector) = (text("mco_user"), text("mco_password"), text("mco_connector"));
    let is_enabled = meta.get("mco_enable").and_then(|field| field.flag()).unwrap_or(false);
    let identity = match meta.get("mco_identity") {
        Some(field) => field.identifier().filter(|identity| {
            let is_known = is_identity(identity);
            if !is_known {
                field.expected("letters, digits, dots and dashes");
            }
            is_known
        }),
        None => uid.filter(|uid| is_identity(uid)).map(str::to_owned),
    };
    Some(Mcollective {
        pskey: Secret::new(pskey?),
        vhost: vhost?,
        host: host?,
        user: user?,
        password: Secret::new(password?),
        connector: connector?,
        is_enabled,
        identity: identity?,
    })
}

fn host_name(text: &str) -> Option<String> {
    names::is_host_name(text).then(|| text.to_owned())
}

/// What mcollective takes for a name of a node.
fn is_identity(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// What mcollective's file, which has no quotes, can hold.
fn line(text: &str) -> Option<String> {
    (text.trim() == text && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Names of cloud-init templates; 6.0 and older send none.
pub fn templates(meta: &Object<'_>) -> Option<BTreeMap<String, String>> {
    let file_name = |text: &str| (names::is_device_name(text) && !text.contains('/')).then(|| text.to_owned());
    let read = |field: &Field<'_>| {
        let entries = field.entries()?;
        let named = entries.map(|(kind, field)| {
            let name = field.parsed("a file name without folders", file_name);
            name.map(|name| (kind.to_owned(), name))
        });
        named.collect::<Vec<_>>().into_iter().collect()
    };
    meta.optional("cloud_init_templates", read).map(Option::unwrap_or_default)
}

/// The extensions that Fuel ignores.
#[derive(Default)]
pub struct Extension {
    pub phone_home: Option<PhoneHome>,
    pub network: Option<Value>,
    pub requires_digest: bool,
    pub configures_repositories: bool,
    pub config_drive: ConfigDriveSpec,
    pub netboot: Option<Netboot>,
}

/// Reads them.
pub fn extension(object: &Object<'_>) -> Option<Extension> {
    let phone_home = object.optional("phone_home", phone_home);
    let network = object.optional("network", network::read);
    let netboot = object.optional("netboot", netboot::read);
    let requires_digest = object.optional("require_digest", Field::flag)?.unwrap_or_default();
    let configures_repositories = object.optional("repositories", Field::flag)?.unwrap_or_default();
    let config_drive = object.optional("config_drive", config_drive::read)?.unwrap_or_default();
    let (phone_home, network, netboot) = (phone_home?, network?, netboot?);
    Some(Extension { phone_home, network, requires_digest, configures_repositories, config_drive, netboot })
}

fn phone_home(field: &Field<'_>) -> Option<PhoneHome> {
    let field = field.object()?.get("url")?;
    let url = field.text()?;
    let has_scheme = url.starts_with("http://") || url.starts_with("https://");
    if has_scheme && url.chars().all(|c| c.is_ascii_graphic()) {
        return Some(PhoneHome { url: Secret::new(url) });
    }
    field.fault("expected an http:// or https:// URL");
    None
}
