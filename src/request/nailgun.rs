//! Reads provision.json as Fuel's Nailgun emits it (releases 6.1 to 10.0).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::model::{
    Account, AdminInterface, Container, ImageSpec, Mcollective, NicName, PhoneHome, Puppet, Repository, Request, Secret,
};
use super::names;
use super::reader::{Field, Findings, Object};
use super::spaces;

/// Keys of the document that concern Cobbler and Astute alone.
const FOR_OTHERS: [&str; 9] = [
    "name",
    "slave_name",
    "netboot_enabled",
    "power_type",
    "power_user",
    "power_address",
    "power_pass",
    "interfaces_extra",
    "partitioning",
];

/// Keys of `ks_meta` that no image-based installation reads.
const KS_META_FOR_OTHERS: [&str; 8] = [
    "admin_net",
    "fuel_version",
    "puppet_auto_setup",
    "mco_auto_setup",
    "install_log_2_syslog",
    "mlnx_vf_num",
    "mlnx_plugin_mode",
    "mlnx_iser_enabled",
];

/// What the agent of Fuel took when no time zone was sent.
const DEFAULT_TIMEZONE: &str = "America/Los_Angeles";

/// Reads the document. There is a request only when there is no violation.
pub fn read(document: &Value) -> (Option<Request>, Findings) {
    let findings = RefCell::new(Findings::default());
    let request = Field::root(document, &findings).object().and_then(|root| read_document(&root));
    let findings = findings.into_inner();
    // Every reader below returns nothing only after it recorded a fault, and some faults still leave a value.
    (request.filter(|_| findings.violations.is_empty()), findings)
}

fn read_document(root: &Object<'_>) -> Option<Request> {
    root.unused(&FOR_OTHERS);
    let uid = root.optional("uid").and_then(|field| field.identifier());
    let hostname = root.required("hostname").and_then(|field| field.parsed("a host name", host_name));
    let profile = root.required("profile").and_then(|field| field.word());
    let name_servers = root.required("name_servers").and_then(|field| quoted_words(&field));
    let search_domains = root.required("name_servers_search").and_then(|field| quoted_words(&field));
    let options = root.required("kernel_options").and_then(|field| field.object());
    let nic_names =
        options.as_ref().and_then(|options| options.required("udevrules")).and_then(|field| udev_rules(&field));
    let admin_mac = options
        .as_ref()
        .and_then(|options| options.required("netcfg/choose_interface"))
        .and_then(|field| field.parsed("a MAC address", names::mac_address).map(|mac| (field, mac)));
    let meta = root.required("ks_meta").and_then(|field| field.object());
    let gateway = meta.as_ref().and_then(|meta| meta.required("gw")).and_then(|field| gateway(&field));
    let interfaces = root.required("interfaces").and_then(|field| field.object());
    let admin = interfaces.and_then(|interfaces| admin_interface(&interfaces, admin_mac, gateway.flatten()));
    let extension = root.optional("bedplate").and_then(|field| field.object());
    let phone_home = extension.as_ref().and_then(|it| it.optional("phone_home")).and_then(|field| phone_home(&field));
    let network = extension.as_ref().and_then(|it| it.optional("network")).and_then(|field| network(&field));

    let meta = meta?;
    meta.unused(&KS_META_FOR_OTHERS);
    let pm_data = meta.required("pm_data").and_then(|field| field.object());
    let kernel_params =
        pm_data.as_ref().and_then(|data| data.required("kernel_params")).and_then(|field| kernel_params(&field));
    let spaces = pm_data.as_ref().and_then(|data| data.required("ks_spaces")).and_then(|field| spaces::read(&field));
    let images = meta.required("image_data").and_then(|field| images(&field));
    let repositories = repositories(&meta);
    let master_ip = meta.required("master_ip").and_then(|field| field.parsed("an address or host name", host_name));
    let timezone = match meta.optional("timezone") {
        Some(field) => field.parsed("a time zone such as Etc/UTC", time_zone),
        None => Some(DEFAULT_TIMEZONE.to_owned()),
    };
    let ssh_keys = ssh_keys(&meta);
    let accounts = match meta.optional("user_accounts") {
        Some(field) => accounts(&field),
        None => Some(Vec::new()),
    };
    let puppet = puppet(&meta);
    let mcollective = mcollective(&meta, uid.as_deref());
    let templates = meta.optional("cloud_init_templates").map_or(Some(BTreeMap::new()), |field| templates(&field));
    let is_kernel_lt = meta.optional("kernel_lt").is_some_and(|field| field.flag() == Some(true));
    let (disks, volume_groups) = spaces?;

    Some(Request {
        uid,
        hostname: hostname?,
        profile: profile?,
        name_servers: name_servers?,
        search_domains: search_domains?,
        admin: admin?,
        nic_names: nic_names?,
        kernel_params: kernel_params?,
        master_ip: master_ip?,
        timezone: timezone?,
        ssh_keys: ssh_keys?,
        accounts: accounts?,
        puppet,
        mcollective,
        repositories: repositories?,
        images: images?,
        disks,
        volume_groups,
        is_kernel_lt,
        templates: templates?,
        phone_home,
        network,
    })
}

fn host_name(text: &str) -> Option<String> {
    names::is_host_name(text).then(|| text.to_owned())
}

fn time_zone(text: &str) -> Option<String> {
    let is_zone = names::is_device_name(text)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '+' | '-'));
    is_zone.then(|| text.to_owned())
}

/// Words in the literal double quotes that Cobbler wants, separated by commas or blanks.
fn quoted_words(field: &Field<'_>) -> Option<Vec<String>> {
    let text = field.string()?;
    let words: Vec<_> =
        text.split([',', ' ', ';']).map(names::unquoted).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    if words.iter().all(|word| names::is_host_name(word) || word.parse::<std::net::IpAddr>().is_ok()) {
        Some(words)
    } else {
        field.expected("addresses or domain names");
        None
    }
}

/// `mac_name,mac_name,...`
fn udev_rules(field: &Field<'_>) -> Option<Vec<NicName>> {
    let text = field.string()?;
    let mut rules = Vec::new();
    for rule in text.split(',').map(str::trim).filter(|rule| !rule.is_empty()) {
        let parsed = rule.split_once('_').and_then(|(mac, name)| Some((names::mac_address(mac)?, name)));
        match parsed {
            Some((mac, name)) if is_interface_name(name) => rules.push(NicName { mac, name: name.to_owned() }),
            _ => {
                field.fault(format!("expected MAC_NAME pairs separated by commas, found {}", Value::from(rule)));
                return None;
            }
        }
    }
    Some(rules)
}

/// A network interface's name: at most 15 bytes, no `/`, no blanks (the kernel's `dev_valid_name`).
fn is_interface_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 15
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '"' | '\\'))
}

/// An empty gateway means that there is none.
fn gateway(field: &Field<'_>) -> Option<Option<Ipv4Addr>> {
    field.parsed("an IPv4 address", |text| {
        let text = names::unquoted(text);
        if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
    })
}

fn admin_interface(
    interfaces: &Object<'_>,
    admin_mac: Option<(Field<'_>, String)>,
    gateway: Option<Ipv4Addr>,
) -> Option<AdminInterface> {
    let mut admin = None;
    let mut known = Vec::new();
    for (name, field) in interfaces.entries() {
        let Some(interface) = field.object() else { continue };
        interface.unused(&["static", "dns_name"]);
        if !is_interface_name(name) {
            field.fault(format!("expected the name of a network interface, found {}", Value::from(name)));
        }
        let mac = interface.required("mac_address").and_then(|mac| mac.parsed("a MAC address", names::mac_address));
        let is_admin = mac.is_some() && mac.as_ref() == admin_mac.as_ref().map(|(_, mac)| mac);
        if is_admin && admin.is_none() {
            let ip =
                interface.required("ip_address").and_then(|ip| ip.parsed("an IPv4 address", |text| text.parse().ok()));
            let netmask = interface.required("netmask").and_then(|mask| mask.parsed("an IPv4 netmask", netmask));
            admin = Some((name.to_owned(), ip, netmask));
        } else {
            interface.unused(&["ip_address", "netmask"]);
        }
        known.extend(mac);
    }
    let (field, mac) = admin_mac?;
    let Some((name, ip, netmask)) = admin else {
        field.fault(format!("expected the MAC address of one of $.interfaces ({}), found {mac}", known.join(", ")));
        return None;
    };
    Some(AdminInterface { name, mac, ip: ip?, netmask: netmask?, gateway })
}

/// A netmask is ones followed by zeroes.
fn netmask(text: &str) -> Option<Ipv4Addr> {
    let mask: Ipv4Addr = text.parse().ok()?;
    let bits = u32::from(mask);
    (bits.leading_ones() + bits.trailing_zeros() == 32).then_some(mask)
}

fn kernel_params(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    if text.chars().any(char::is_control) {
        field.fault("expected one line of kernel parameters, found control characters");
        return None;
    }
    Some(text)
}

fn images(field: &Field<'_>) -> Option<Vec<ImageSpec>> {
    let object = field.object()?;
    object.required("/")?;
    let mut images = Vec::new();
    let mut is_whole = true;
    for (mount, field) in object.entries() {
        match image(mount, &field) {
            Some(image) => images.push(image),
            None => is_whole = false,
        }
    }
    is_whole.then_some(images)
}

fn image(mount: &str, field: &Field<'_>) -> Option<ImageSpec> {
    let object = field.object()?;
    if !names::is_mount_point(mount) {
        field.fault(format!("expected an absolute mount point, found {}", Value::from(mount)));
    }
    let uri = object.required("uri").and_then(|uri| {
        uri.parsed("a URI with http://, https:// or file://", |text| {
            let has_scheme = ["http://", "https://", "file://"].iter().any(|scheme| text.starts_with(scheme));
            (has_scheme && text.chars().all(|c| c.is_ascii_graphic())).then(|| text.to_owned())
        })
    });
    let format = object.required("format").and_then(|format| format.word());
    let container = object.required("container").and_then(|container| {
        container.parsed("one of the image containers \"gzip\" and \"raw\"", |text| match text {
            "gzip" => Some(Container::Gzip),
            "raw" => Some(Container::Raw),
            _ => None,
        })
    });
    Some(ImageSpec {
        path: field.path().to_owned(),
        mount: mount.to_owned(),
        uri: uri?,
        format: format?,
        container: container?,
    })
}

fn repositories(meta: &Object<'_>) -> Option<Vec<Repository>> {
    let setup = meta.required("repo_setup")?.object()?;
    setup.unused(&["metadata"]);
    let list = setup.required("repos")?.list()?;
    list.iter().map(repository).collect()
}

fn repository(field: &Field<'_>) -> Option<Repository> {
    let object = field.object()?;
    // Nailgun's settings carry further keys of its web interface along with each repository.
    object.unused(&["metadata", "meta"]);
    let text = |key: &str| object.optional(key).and_then(|field| field.string());
    let kind = object.required("type").and_then(|field| field.word());
    let name = object.required("name").and_then(|field| field.word());
    let uri = object.required("uri").and_then(|field| field.word());
    let (suite, section) = (text("suite"), text("section"));
    let priority = object.optional("priority").and_then(|field| field.integer());
    Some(Repository { kind: kind?, name: name?, uri: uri?, suite, section, priority })
}

/// `authorized_keys` and the cluster's `auth_key`, which arrives as a pair of quotes when it is not set.
fn ssh_keys(meta: &Object<'_>) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    for field in meta.required("authorized_keys")?.list()? {
        keys.push(ssh_key(&field)?);
    }
    keys.push(ssh_key(&meta.required("auth_key")?)?);
    keys.retain(|key| !key.is_empty());
    Some(keys)
}

fn ssh_key(field: &Field<'_>) -> Option<String> {
    field.parsed("a public key on one line", |text| {
        let key = names::unquoted(text);
        (!key.chars().any(char::is_control)).then(|| key.to_owned())
    })
}

fn accounts(field: &Field<'_>) -> Option<Vec<Account>> {
    field.list()?.iter().map(account).collect()
}

fn account(field: &Field<'_>) -> Option<Account> {
    let object = field.object()?;
    let name = object
        .required("name")
        .and_then(|field| field.parsed("a login name", |text| names::is_login_name(text).then(|| text.to_owned())));
    let secret = |key: &str| object.optional(key).and_then(|field| field.secret()).map(Secret::new);
    let (password, hashed_password) = (secret("password"), secret("hashed_password"));
    let path = |key: &str| {
        object.optional(key).and_then(|field| {
            field.parsed("an absolute path", |text| names::is_mount_point(text).then(|| text.to_owned()))
        })
    };
    let (homedir, shell) = (path("homedir"), path("shell").unwrap_or_else(|| "/bin/bash".to_owned()));
    let sudo = lines(&object, "sudo");
    let ssh_keys = lines(&object, "ssh_keys");
    Some(Account { name: name?, password, hashed_password, homedir, shell, sudo: sudo?, ssh_keys: ssh_keys? })
}

/// A list of strings of one line each; absent means empty.
fn lines(object: &Object<'_>, key: &str) -> Option<Vec<String>> {
    match object.optional(key) {
        Some(field) => field.list()?.iter().map(ssh_key).collect(),
        None => Some(Vec::new()),
    }
}

fn puppet(meta: &Object<'_>) -> Puppet {
    Puppet {
        master: meta.optional("puppet_master").and_then(|field| field.string()),
        is_enabled: meta.optional("puppet_enable").and_then(|field| field.flag()).unwrap_or(false),
    }
}

/// Absent keys mean that mcollective is not set up; 7.0 and older send no identity, which is then the node's id.
fn mcollective(meta: &Object<'_>, uid: Option<&str>) -> Option<Mcollective> {
    let text = |key: &str| meta.optional(key).and_then(|field| field.string());
    let secret = |key: &str| meta.optional(key).and_then(|field| field.secret());
    let (pskey, vhost, host) = (secret("mco_pskey"), text("mco_vhost"), text("mco_host"));
    let (user, password) = (text("mco_user"), secret("mco_password"));
    let connector = meta.optional("mco_connector").and_then(|field| {
        field.parsed("one of \"rabbitmq\" and \"stomp\"", |text| {
            matches!(text, "rabbitmq" | "stomp").then(|| text.to_owned())
        })
    });
    let is_enabled = meta.optional("mco_enable").and_then(|field| field.flag()).unwrap_or(false);
    let identity =
        meta.optional("mco_identity").and_then(|field| field.identifier()).or_else(|| uid.map(str::to_owned));
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

fn templates(field: &Field<'_>) -> Option<BTreeMap<String, String>> {
    field
        .object()?
        .entries()
        .map(|(kind, field)| {
            let name = field.parsed("a file name without folders", |text| {
                (names::is_device_name(text) && !text.contains('/')).then(|| text.to_owned())
            })?;
            Some((kind.to_owned(), name))
        })
        .collect()
}

fn phone_home(field: &Field<'_>) -> Option<PhoneHome> {
    let field = field.object()?.required("url")?;
    let url = field.secret()?;
    let has_scheme = url.starts_with("http://") || url.starts_with("https://");
    if has_scheme && url.chars().all(|c| c.is_ascii_graphic()) {
        return Some(PhoneHome { url: Secret::new(url) });
    }
    field.fault("expected an http:// or https:// URL");
    None
}

fn network(field: &Field<'_>) -> Option<Value> {
    let object = field.object()?;
    let version = object.required("version")?;
    object.unused(&["ethernets", "bonds", "bridges", "vlans", "renderer"]);
    if version.integer()? == 2 {
        Some(field.value().clone())
    } else {
        version.expected("network-config version 2");
        None
    }
}
