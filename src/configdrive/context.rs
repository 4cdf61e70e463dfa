//! What templates may use: the request's values in the form in which first boot needs them.

use serde::Serialize;

use super::password;
use crate::error::{Error, Kind, Result};
use crate::request::{self, Account, Request, Secret};

/// The variables of a template.
#[derive(Serialize)]
pub struct Context {
    instance_id: String,
    /// Fully qualified; upstream sets it as host name, too.
    hostname: String,
    timezone: String,
    master_ip: String,
    master_url: String,
    /// Public keys for root.
    ssh_keys: Vec<String>,
    users: Vec<User>,
    admin: Admin,
    name_servers: Vec<String>,
    search_domains: Vec<String>,
    /// Lines of resolv.conf, for images whose network cloud-init does not configure.
    resolver: String,
    repositories: Vec<Repository>,
    configures_repositories: bool,
    puppet: Puppet,
    mcollective: Option<Mcollective>,
    phone_home_url: Option<String>,
}

#[derive(Serialize)]
struct Repository {
    kind: String,
    name: String,
    uri: String,
    suite: Option<String>,
    section: Option<String>,
    priority: Option<i64>,
}

#[derive(Serialize)]
struct Puppet {
    master: Option<String>,
    is_enabled: bool,
}

/// With the secrets: the installed system needs them as they are.
#[derive(Serialize)]
struct Mcollective {
    pskey: String,
    vhost: String,
    host: String,
    user: String,
    password: String,
    connector: String,
    is_enabled: bool,
    identity: String,
}

#[derive(Serialize)]
struct User {
    name: String,
    /// Never the clear text.
    password_hash: Option<String>,
    homedir: Option<String>,
    shell: String,
    sudo: Vec<String>,
    ssh_keys: Vec<String>,
}

#[derive(Serialize)]
struct Admin {
    name: String,
    mac: String,
    /// With prefix length: `10.20.0.5/24`.
    address: String,
    gateway: Option<String>,
    /// The name that the request gives this address.
    set_name: Option<String>,
}

impl Context {
    /// The variables for a request.
    ///
    /// # Errors
    /// `Request` when the netmask is not one.
    pub fn of(request: &Request, instance_id: &str) -> Result<Self> {
        let mut users: Vec<_> = request.accounts.iter().map(|account| User::of(account, instance_id)).collect();
        if users.is_empty() {
            users.push(User::root_by_key());
        }
        let mut name_servers = request.name_servers.clone();
        if name_servers.is_empty() {
            // What upstream writes in any case: the master resolves for its nodes.
            name_servers.push(request.master_ip.clone());
        }
        Ok(Self {
            instance_id: instance_id.to_owned(),
            hostname: request.hostname.clone(),
            timezone: request.timezone.clone(),
            master_ip: request.master_ip.clone(),
            master_url: format!("http://{}:8000/api", request.master_ip),
            ssh_keys: request.ssh_keys.clone(),
            users,
            admin: Admin::of(request)?,
            name_servers,
            search_domains: request.search_domains.clone(),
            resolver: resolver(request),
            repositories: request.repositories.iter().map(Repository::of).collect(),
            configures_repositories: request.configures_repositories,
            puppet: Puppet { master: request.puppet.master.clone(), is_enabled: request.puppet.is_enabled },
            mcollective: request.mcollective.as_ref().map(Mcollective::of),
            phone_home_url: request.phone_home.as_ref().map(|phone_home| phone_home.url.reveal().to_owned()),
        })
    }
}

/// The master resolves for its nodes, as upstream has it.
fn resolver(request: &Request) -> String {
    let mut lines = vec!["# Written by bedplate.".to_owned()];
    if !request.search_domains.is_empty() {
        lines.push(format!("search {}", request.search_domains.join(" ")));
    }
    lines.extend(request.search_domains.first().map(|domain| format!("domain {domain}")));
    lines.push(format!("nameserver {}", request.master_ip));
    lines.join("\n")
}

impl Repository {
    fn of(asked: &request::Repository) -> Self {
        Self {
            kind: asked.kind.clone(),
            name: asked.name.clone(),
            uri: asked.uri.clone(),
            suite: asked.suite.clone(),
            section: asked.section.clone(),
            priority: asked.priority,
        }
    }
}

impl Mcollective {
    fn of(asked: &request::Mcollective) -> Self {
        Self {
            pskey: asked.pskey.reveal().to_owned(),
            vhost: asked.vhost.clone(),
            host: asked.host.clone(),
            user: asked.user.clone(),
            password: asked.password.reveal().to_owned(),
            connector: asked.connector.clone(),
            is_enabled: asked.is_enabled,
            identity: asked.identity.clone(),
        }
    }
}

impl User {
    fn of(account: &Account, instance_id: &str) -> Self {
        let made = |clear: &Secret| password::sha512_crypt(clear.reveal(), &password::salt(instance_id, &account.name));
        let ready = account.hashed_password.as_ref().map(|hash| hash.reveal().to_owned());
        Self {
            name: account.name.clone(),
            password_hash: ready.or_else(|| account.password.as_ref().map(made)),
            homedir: account.homedir.clone(),
            shell: account.shell.clone(),
            sudo: account.sudo.clone(),
            ssh_keys: account.ssh_keys.clone(),
        }
    }

    /// Root without any password: documents of releases before 9.0 name no accounts. (Upstream set `r00tme`.)
    fn root_by_key() -> Self {
        let (homedir, sudo, ssh_keys) = (None, Vec::new(), Vec::new());
        Self { name: "root".into(), password_hash: None, homedir, shell: "/bin/bash".into(), sudo, ssh_keys }
    }
}

impl Admin {
    fn of(request: &Request) -> Result<Self> {
        let admin = &request.admin;
        let mask = u32::from(admin.netmask);
        let prefix = mask.leading_ones();
        if mask.count_ones() != prefix {
            let message = format!("netmask {} of interface {} has gaps", admin.netmask, admin.name);
            return Err(Error::new(Kind::Request, message));
        }
        let named = request.nic_names.iter().find(|name| name.mac.eq_ignore_ascii_case(&admin.mac));
        Ok(Self {
            // Where there is no name to set, cloud-init's older renderers take this one for the interface's own.
            name: named.map_or(&admin.name, |named| &named.name).clone(),
            mac: admin.mac.to_lowercase(),
            address: format!("{}/{prefix}", admin.ip),
            gateway: admin.gateway.map(|gateway| gateway.to_string()),
            set_name: named.map(|named| named.name.clone()),
        })
    }
}
