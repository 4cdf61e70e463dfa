//! Reads provision.json as Fuel's Nailgun emits it (releases 6.1 to 10.0).

use std::cell::RefCell;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::findings::{Findings, shown};
use super::first_boot::Extension;
use super::grammar::{DOCUMENT, Rule};
use super::model::{AdminInterface, NicName, Repository, Request};
use super::names;
use super::reader::{Field, Object};
use super::{check, contradictions, first_boot, images, netboot, spaces};

/// What the agent of Fuel took when no time zone was sent.
const DEFAULT_TIMEZONE: &str = "America/Los_Angeles";

static ROOT: Rule = Rule::Object(&DOCUMENT);

/// Reads the document. There is a request only when there is no violation.
pub fn read(document: &Value, mut findings: Findings) -> (Option<Request>, Findings) {
    check::check(document, &ROOT, &mut findings);
    let findings = RefCell::new(findings);
    let request = Field::root(document, &ROOT, &findings).object().and_then(|root| read_document(&root));
    let mut findings = findings.into_inner();
    if request.is_none() && findings.violations.is_empty() {
        // Every reader gives nothing only where a fault is recorded; were one not to, nothing must be written all the same.
        findings.fault("$", "expected what docs/request.md says, found something else");
    }
    (request.filter(|_| findings.violations.is_empty()), findings)
}

fn read_document(root: &Object<'_>) -> Option<Request> {
    let uid = root.get("uid").and_then(|field| field.identifier());
    // For Cobbler alone: what can be no name there is none, and no fault of the request.
    let slave_name = root.get("slave_name").and_then(|field| field.identifier());
    let slave_name = slave_name.and_then(|name| netboot::system_name(&name).ok());
    let hostname = root.get("hostname").and_then(|field| field.parsed("a host name", host_name));
    let profile = root.get("profile").and_then(|field| field.word());
    let name_servers = root.get("name_servers").and_then(|field| quoted_words(&field));
    let search_domains = root.get("name_servers_search").and_then(|field| quoted_words(&field));
    let options = root.get("kernel_options").and_then(|field| field.object());
    let nic_names = options.as_ref().and_then(|options| options.get("udevrules")).and_then(|field| udev_rules(&field));
    let admin_mac = options.as_ref().and_then(|options| options.get("netcfg/choose_interface"));
    let admin_mac =
        admin_mac.and_then(|field| field.parsed("a MAC address", names::mac_address).map(|mac| (field, mac)));
    let meta = root.get("ks_meta").and_then(|field| field.object());
    let gateway = meta.as_ref().and_then(|meta| meta.get("gw")).and_then(|field| gateway(&field));
    let interfaces = root.get("interfaces");
    let admin = interfaces.and_then(|interfaces| admin_interface(&interfaces, admin_mac, gateway.flatten()));
    let extension = root.optional("bedplate", |field| field.object());
    let extension =
        extension.and_then(|it| it.map_or_else(|| Some(Extension::default()), |it| first_boot::extension(&it)));

    let meta = meta?;
    let data = meta.get("pm_data").and_then(|field| field.object());
    let kernel_params = data.as_ref().and_then(|data| data.get("kernel_params")).and_then(|field| one_line(&field));
    let has_scheme = root.get("partitioning").is_some();
    let spaces_field = data.as_ref().and_then(|data| data.get("ks_spaces"));
    let spaces = spaces_field.as_ref().and_then(|field| spaces::read(field, has_scheme));
    let images = meta.get("image_data").and_then(|field| images::read(&field));
    if let (Some(field), Some((disks, groups))) = (&spaces_field, &spaces) {
        contradictions::find(field, disks, groups, images.as_deref());
    }
    let repositories = repositories(&meta);
    let master_ip = meta.get("master_ip").and_then(|field| field.parsed("an address or host name", host_name));
    let timezone = meta.optional("timezone", |field| field.parsed("a time zone such as Etc/UTC", time_zone));
    let ssh_keys = first_boot::ssh_keys(&meta);
    let accounts = first_boot::accounts(&meta);
    let puppet = first_boot::puppet(&meta);
    let mcollective = first_boot::mcollective(&meta, uid.as_deref());
    let templates = first_boot::templates(&meta);
    let is_kernel_lt = meta.get("kernel_lt").is_some_and(|field| field.flag() == Some(true));
    let (disks, volume_groups) = spaces?;
    let Extension { phone_home, network, requires_digest, configures_repositories, config_drive, netboot } = extension?;

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
        timezone: timezone?.unwrap_or_else(|| DEFAULT_TIMEZONE.to_owned()),
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
        configures_repositories,
        config_drive,
        network,
        requires_digest,
        slave_name,
        netboot,
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
    field.parsed("addresses or domain names", |text| {
        let words = text.split([',', ' ', ';']).map(names::unquoted).filter(|word| !word.is_empty());
        let is_known = |word: &str| names::is_host_name(word) || word.parse::<std::net::IpAddr>().is_ok();
        words.map(|word| is_known(word).then(|| word.to_owned())).collect()
    })
}

/// `mac_name,mac_name,...`
fn udev_rules(field: &Field<'_>) -> Option<Vec<NicName>> {
    let mut rules = Vec::new();
    for rule in field.text()?.split(',').map(str::trim).filter(|rule| !rule.is_empty()) {
        let parsed = rule.split_once('_').and_then(|(mac, name)| Some((names::mac_address(mac)?, name)));
        match parsed {
            Some((mac, name)) if names::is_interface_name(name) => rules.push(NicName { mac, name: name.to_owned() }),
            _ => {
                field.fault(format!("expected MAC_NAME pairs separated by commas, found {}", shown(rule)));
                return None;
            }
        }
    }
    Some(rules)
}

/// An empty gateway means that there is none.
fn gateway(field: &Field<'_>) -> Option<Option<Ipv4Addr>> {
    field.parsed("an IPv4 address", |text| {
        let text = names::unquoted(text);
        if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
    })
}

fn admin_interface(
    interfaces: &Field<'_>,
    admin_mac: Option<(Field<'_>, String)>,
    gateway: Option<Ipv4Addr>,
) -> Option<AdminInterface> {
    let mut admin = None;
    let mut known = Vec::new();
    for (name, field) in interfaces.entries()? {
        let Some(interface) = field.object() else { continue };
        if !names::is_interface_name(name) {
            field.fault(format!("expected the name of a network interface, found {}", shown(name)));
        }
        let mac = interface.get("mac_address").and_then(|mac| mac.parsed("a MAC address", names::mac_address));
        let is_admin = mac.is_some() && mac.as_ref() == admin_mac.as_ref().map(|(_, mac)| mac);
        if is_admin && admin.is_none() {
            let ip = interface.needed("ip_address");
            let ip = ip.and_then(|ip| ip.parsed("an IPv4 address", |text| text.parse().ok()));
            let mask = interface.needed("netmask").and_then(|mask| mask.parsed("an IPv4 netmask", netmask));
            admin = Some((name.to_owned(), ip, mask));
        }
        known.extend(mac);
    }
    let (field, mac) = admin_mac?;
    let Some((name, ip, netmask)) = admin else {
        // A machine has some tens of interfaces; what has more is not told whole.
        known.truncate(64);
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

fn one_line(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if text.chars().any(char::is_control) {
        field.fault("expected one line of kernel parameters, found control characters");
        return None;
    }
    Some(text.to_owned())
}

fn repositories(meta: &Object<'_>) -> Option<Vec<Repository>> {
    let setup = meta.get("repo_setup")?.object()?;
    let repositories: Vec<_> = setup.get("repos")?.list()?.map(|field| repository(&field)).collect();
    repositories.into_iter().collect()
}

fn repository(field: &Field<'_>) -> Option<Repository> {
    let object = field.object()?;
    let word = |key: &str| object.get(key).and_then(|field| field.word());
    let text = |key: &str| object.optional(key, |field| field.text().map(str::to_owned));
    let (kind, name, uri) = (word("type"), word("name"), word("uri"));
    let (suite, section) = (text("suite"), text("section"));
    let priority = object.optional("priority", |field| field.integer());
    Some(Repository { kind: kind?, name: name?, uri: uri?, suite: suite?, section: section?, priority: priority? })
}
