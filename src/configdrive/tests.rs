use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::request::{Account, NicName, PhoneHome, Puppet, Repository, Secret};

/// A request with one account of each sort.
pub fn request() -> Request {
    let document = include_bytes!("../../tests/fixtures/provision/01-single-disk-lvm.json");
    let mut request = crate::request::parse(document).unwrap().request;
    let account = |name: &str| Account {
        name: name.into(),
        password: None,
        hashed_password: None,
        homedir: None,
        shell: "/bin/bash".into(),
        sudo: Vec::new(),
        ssh_keys: Vec::new(),
    };
    request.accounts = vec![
        Account {
            password: Some(Secret::new("clear-text")),
            homedir: Some("/home/op".into()),
            sudo: vec!["ALL=(ALL) NOPASSWD: ALL".into(), "ALL=(www) /bin/true".into()],
            ssh_keys: vec!["ssh-ed25519 AAAA op".into()],
            ..account("op")
        },
        Account { hashed_password: Some(Secret::new("$6$s$h")), ..account("root") },
        account("keyless"),
    ];
    request.phone_home = Some(PhoneHome { url: Secret::new("http://10.20.0.2:8200/phone-home/abc") });
    request
}

fn parsed(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn text(drive: &ConfigDrive, name: &str) -> String {
    String::from_utf8(drive.files[name].clone()).unwrap()
}

/// The cloud-config part of user-data.
fn cloud_config(drive: &ConfigDrive) -> Value {
    let text = text(drive, "user-data");
    let part = text.split("\n--=_bedplate_").find(|part| part.contains("text/cloud-config")).unwrap();
    parsed(part.split_once("\n\n").unwrap().1)
}

#[test]
fn cloud_config_says_all_that_first_boot_needs() {
    let request = request();
    let drive = render(&request, "i-1", None).unwrap();
    let hash = password::sha512_crypt("clear-text", &password::salt("i-1", "op"));
    assert_eq!(
        cloud_config(&drive),
        json!({
            "hostname": "node-1.example.test",
            "fqdn": "node-1.example.test",
            "preserve_hostname": false,
            "manage_etc_hosts": true,
            "timezone": "Etc/UTC",
            "locale": "false",
            "growpart": {"mode": "off"},
            "resize_rootfs": false,
            "apt": {"preserve_sources_list": true},
            "disable_root": false,
            "ssh_pwauth": false,
            "ssh_genkeytypes": ["ed25519", "ecdsa"],
            "ssh_authorized_keys": request.ssh_keys,
            "users": [
                {
                    "name": "op", "shell": "/bin/bash", "homedir": "/home/op", "lock_passwd": false, "passwd": hash,
                    "hashed_passwd": hash, "sudo": "ALL=(ALL) NOPASSWD: ALL\nop ALL=(www) /bin/true", "ssh_authorized_keys": ["ssh-ed25519 AAAA op"],
                },
                {
                    "name": "root", "shell": "/bin/bash", "lock_passwd": false, "passwd": "$6$s$h",
                    "hashed_passwd": "$6$s$h",
                },
                {"name": "keyless", "shell": "/bin/bash", "lock_passwd": true},
            ],
            "write_files": [
                {
                    "path": "/etc/nailgun-agent/config.yaml", "permissions": "0644",
                    "content": "url: \"http://10.20.0.2:8000/api\"\n",
                },
                {
                    "path": "/etc/sysctl.d/60-bedplate.conf", "permissions": "0644",
                    "content": "kernel.panic = 60\nnet.netfilter.nf_conntrack_max = 1048576\n",
                },
                {
                    "path": "/etc/modules-load.d/bedplate.conf", "permissions": "0644",
                    "content": "nf_conntrack\nnf_conntrack_ipv4\nnf_conntrack_ipv6\nnf_conntrack_proto_gre\n",
                },
                {"path": "/etc/nailgun_systemtype", "permissions": "0644", "content": "target\n", "defer": true},
            ],
            "phone_home": {
                "url": "http://10.20.0.2:8200/phone-home/abc", "post": ["instance_id", "hostname", "fqdn"], "tries": 20,
            },
            "final_message": "first boot done after $UPTIME seconds",
        })
    );
    let metadata = json!({"instance-id": "i-1", "local-hostname": "node-1.example.test"});
    assert_eq!(parsed(&text(&drive, "meta-data")), metadata);
    assert_eq!(text(&drive, "vendor-data"), "");
}

/// The part of user-data that configures services.
fn services(drive: &ConfigDrive) -> String {
    let text = text(drive, "user-data");
    let part = text.split("\n--=_bedplate_").find(|part| part.contains("text/x-shellscript")).unwrap();
    let (headers, body) = part.split_once("\n\n").unwrap();
    if headers.contains("base64") {
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body.replace('\n', "")).unwrap();
        return String::from_utf8(bytes).unwrap();
    }
    body.to_owned()
}

/// What a shell prints that reads this.
fn run_by_sh(script: &str) -> String {
    let mut shell = Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    assert!(output.status.success(), "{script}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the script would write as mcollective's configuration.
fn server_cfg(drive: &ConfigDrive) -> String {
    let script = services(drive);
    let (_, rest) = script.split_once("\nline() {").unwrap();
    let (functions, _) = rest.split_once("\nset_up_mcollective() {").unwrap();
    run_by_sh(&format!("line() {{{functions}\nserver_cfg 0\n"))
}

#[test]
fn mcollective_is_configured_as_the_request_says() {
    let mut request = request();
    let drive = render(&request, "i-1", None).unwrap();
    assert_eq!(
        server_cfg(&drive),
        "main_collective = mcollective\ncollectives = mcollective\nlibdir = /usr/share/mcollective/plugins\n\
         daemonize = 0\nidentity = 1\nlogfile = /var/log/mcollective.log\nloglevel = info\ndirect_addressing = 1\n\
         ttl = 4294957\nsecurityprovider = psk\nplugin.psk = unset\nconnector = rabbitmq\n\
         plugin.rabbitmq.vhost = mcollective\nplugin.rabbitmq.pool.size = 1\nplugin.rabbitmq.pool.1.host = 10.20.0.2\n\
         plugin.rabbitmq.pool.1.port = 61613\nplugin.rabbitmq.pool.1.user = mcollective\n\
         plugin.rabbitmq.pool.1.password = example-mco-password\nplugin.rabbitmq.heartbeat_interval = 30\n\
         factsource = yaml\nplugin.yaml = /etc/mcollective/facts.yaml\n"
    );
    assert!(services(&drive).contains("\n    run mcollective 'yes'\n"));
    let mcollective = request.mcollective.as_mut().unwrap();
    mcollective.connector = "stomp".into();
    mcollective.is_enabled = false;
    let drive = render(&request, "i-1", None).unwrap();
    let text = server_cfg(&drive);
    assert!(text.contains("\nconnector = stomp\nplugin.stomp.host = 10.20.0.2\nplugin.stomp.port = 61613\n"), "{text}");
    assert!(services(&drive).contains("\n    run mcollective 'no'\n"));
}

#[test]
fn puppet_gets_its_server_and_starts_only_when_asked() {
    let mut request = request();
    let script = services(&render(&request, "i-1", None).unwrap());
    assert!(script.contains("\n    setting \"$file\" agent server 'fuel.example.test' ||"), "{script}");
    assert!(script.contains("\n    run puppet 'no'\n"));
    request.puppet.is_enabled = true;
    assert!(services(&render(&request, "i-1", None).unwrap()).contains("\n    run puppet 'yes'\n"));

    // The settings of the image stay, what is set twice is set once, a section that is missing is made.
    let (_, rest) = script.split_once("\nsetting() {").unwrap();
    let (function, _) = rest.split_once("\nset_up_puppet() {").unwrap();
    let file = std::env::temp_dir().join(format!("bedplate-puppet-{}.conf", std::process::id()));
    std::fs::write(&file, "[main]\nssldir = /x # [agent]\n[agent]\n server=old\nserver = older\n[master]\na = b\n")
        .unwrap();
    let name = file.display();
    let calls = format!("setting {name} agent server 'a\\b$c'\nsetting {name} user x 1\nsetting {name} main y 2\n");
    run_by_sh(&format!("setting() {{{function}\n{calls}"));
    let written = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        written,
        "[main]\nssldir = /x # [agent]\n    y = 2\n[agent]\n    server = a\\b$c\n[master]\na = b\n[user]\n    x = 1\n"
    );
}

#[test]
fn services_that_the_request_does_not_name_are_left_alone() {
    let mut request = request();
    request.mcollective = None;
    request.puppet = Puppet { master: None, is_enabled: false };
    let script = services(&render(&request, "i-1", None).unwrap());
    assert!(!script.contains("set_up_"), "{script}");
}

#[test]
fn repositories_are_configured_where_asked_in_the_words_of_each_family() {
    let repository = |kind: &str, suite: Option<&str>, priority| Repository {
        kind: kind.into(),
        name: "a \"b\"".into(),
        uri: "http://10.20.0.2/r: #".into(),
        suite: suite.map(str::to_owned),
        section: suite.map(|_| "main extra".to_owned()),
        priority,
    };
    let mut request = request();
    request.templates.clear();
    request.repositories = vec![
        repository("deb", Some("jessie"), Some(1050)),
        repository("deb", None, None),
        repository("rpm", None, Some(5)),
    ];
    request.configures_repositories = true;
    request.profile = "debian_12".into();
    assert_eq!(
        cloud_config(&render(&request, "i-1", None).unwrap())["apt"],
        json!({"preserve_sources_list": true, "sources": {
            "bedplate-1.list": {"source": "deb http://10.20.0.2/r: # jessie main extra"},
            "bedplate-2.list": {"source": "deb http://10.20.0.2/r: # ./"},
        }})
    );
    request.profile = "centos-x86_64".into();
    let config = cloud_config(&render(&request, "i-1", None).unwrap());
    assert_eq!(
        config["yum_repos"],
        json!({"bedplate-1": {"name": "a \"b\"", "baseurl": "http://10.20.0.2/r: #", "enabled": true, "priority": 5}})
    );
    assert_eq!(config.get("apt"), None);
    request.configures_repositories = false;
    assert_eq!(cloud_config(&render(&request, "i-1", None).unwrap()).get("yum_repos"), None);
}

#[test]
fn without_accounts_root_has_keys_and_no_password() {
    let mut request = request();
    request.accounts.clear();
    request.phone_home = None;
    let config = cloud_config(&render(&request, "i-1", None).unwrap());
    assert_eq!(config["users"], json!([{"name": "root", "shell": "/bin/bash", "lock_passwd": true}]));
    assert_eq!(config["ssh_authorized_keys"], json!(request.ssh_keys));
    assert_eq!(config.get("phone_home"), None);
}

#[test]
fn clear_text_password_is_in_no_file() {
    let drive = render(&request(), "i-1", None).unwrap();
    for (name, content) in &drive.files {
        assert!(!String::from_utf8_lossy(content).contains("clear-text"), "{name}");
    }
    assert!(!format!("{drive:?}").contains("$6$"));
}

#[test]
fn network_finds_the_admin_interface_by_address_and_names_it_as_asked() {
    let mut request = request();
    request.admin.mac = "52:54:00:00:01:0A".into();
    request.admin.name = "eth9".into();
    request.admin.ip = Ipv4Addr::new(10, 20, 0, 5);
    request.admin.netmask = Ipv4Addr::new(255, 255, 254, 0);
    request.admin.gateway = Some(Ipv4Addr::new(10, 20, 0, 1));
    request.nic_names = vec![NicName { mac: "52:54:00:00:01:0a".into(), name: "enp0s3".into() }];
    request.name_servers = vec!["10.20.0.2".into()];
    request.search_domains = vec!["example.test".into()];
    let network = |request: &Request| parsed(&text(&render(request, "i-1", None).unwrap(), "network-config"));
    let mut interface = json!({
        "match": {"macaddress": "52:54:00:00:01:0a"},
        "set-name": "enp0s3",
        "dhcp4": false,
        "dhcp6": false,
        "addresses": ["10.20.0.5/23"],
        "gateway4": "10.20.0.1",
        "nameservers": {"addresses": ["10.20.0.2"], "search": ["example.test"]},
    });
    assert_eq!(network(&request), json!({"version": 2, "ethernets": {"enp0s3": interface}}));

    // Nothing more than an address is known: the interface keeps its name, the master resolves, there is no gateway.
    request.nic_names.clear();
    request.admin.gateway = None;
    request.name_servers.clear();
    let keys = interface.as_object_mut().unwrap();
    keys.remove("set-name");
    keys.remove("gateway4");
    keys["nameservers"]["addresses"] = json!([request.master_ip]);
    assert_eq!(network(&request), json!({"version": 2, "ethernets": {"eth9": interface}}));
}

#[test]
fn network_of_the_request_is_used_as_it_is() {
    let mut request = request();
    let document = json!({"version": 2, "bonds": {"bond0": {"interfaces": ["a", "b"], "mtu": 9000}}});
    request.network = Some(document.clone());
    assert_eq!(parsed(&text(&render(&request, "i-1", None).unwrap(), "network-config")), document);
    request.network = Some(json!("eth0"));
    let error = render(&request, "i-1", None).unwrap_err();
    assert_eq!(error.to_string(), "bedplate.network is not an object: expected network-config v2");
}

#[test]
fn netmask_with_gaps_is_the_requests_fault() {
    let mut request = request();
    request.admin.netmask = Ipv4Addr::new(255, 0, 255, 0);
    let error = render(&request, "i-1", None).unwrap_err();
    assert_eq!(error.kind(), Kind::Request);
    assert_eq!(error.to_string(), format!("netmask 255.0.255.0 of interface {} has gaps", request.admin.name));
}

#[test]
fn template_of_the_site_comes_first_and_its_faults_are_the_sites() {
    let folder = std::env::temp_dir().join(format!("bedplate-templates-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("boothook_ubuntu.jinja2", "#cloud-boothook\n#!/bin/sh\n");
    write("cloud_config.jinja2", "#cloud-config\nfqdn: {{ hostname | tojson }}\n");
    let mut request = request();
    request.profile = "ubuntu_bootstrap".into();
    let drive = render(&request, "i-1", Some(&folder)).unwrap();
    assert_eq!(cloud_config(&drive), json!({"fqdn": "node-1.example.test"}));
    let text = text(&drive, "user-data");
    assert!(text.find("text/cloud-boothook").unwrap() < text.find("text/cloud-config").unwrap());

    write("cloud_config.jinja2", "a: [1\nb: {{ users[0].password_hash | tojson }}\n");
    let error = render(&request, "i-1", Some(&folder)).unwrap_err();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.to_string().ends_with("cloud_config.jinja2 is not YAML"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_values_arrive_unchanged(
        values in prop::collection::vec("(\\PC|[\"'$`\\\\\n\t:#{}%&*!|>\u{7f}\u{85}\u{2028}\u{feff}-]| |: | #|\\{\\{){0,12}", 6)
    ) {
        let [hostname, name, homedir, sudo, key, url]: [String; 6] = values.try_into().unwrap();
        let mut request = request();
        request.hostname.clone_from(&hostname);
        request.accounts.truncate(1);
        request.accounts[0].password = None;
        request.accounts[0].name.clone_from(&name);
        request.accounts[0].homedir = Some(homedir.clone());
        request.accounts[0].sudo = vec![sudo.clone()];
        request.ssh_keys = vec![key.clone()];
        request.phone_home = Some(PhoneHome { url: Secret::new(url.clone()) });
        let drive = render(&request, &hostname, None).unwrap();
        let config = cloud_config(&drive);
        prop_assert_eq!(&config["fqdn"], &json!(hostname));
        prop_assert_eq!(&config["users"][0]["name"], &json!(name));
        prop_assert_eq!(&config["users"][0]["homedir"], &json!(homedir));
        prop_assert_eq!(&config["users"][0]["sudo"], &json!(sudo));
        prop_assert_eq!(&config["ssh_authorized_keys"], &json!([key]));
        prop_assert_eq!(&config["phone_home"]["url"], &json!(url));
        prop_assert_eq!(&config["final_message"], &json!("first boot done after $UPTIME seconds"));
        let metadata = parsed(&text(&drive, "meta-data"));
        prop_assert_eq!(metadata, json!({"instance-id": hostname, "local-hostname": hostname}));
    }

    #[test]
    fn hostile_values_arrive_in_the_services(
        values in prop::collection::vec("([\"'$`\\\\:#{}%&*!|>;()-]|[^\\pC\\s]){1,12}", 4)
    ) {
        let mut request = request();
        let mcollective = request.mcollective.as_mut().unwrap();
        let [vhost, user, password, pskey]: [String; 4] = values.try_into().unwrap();
        mcollective.vhost.clone_from(&vhost);
        mcollective.user.clone_from(&user);
        mcollective.password = Secret::new(password.clone());
        mcollective.pskey = Secret::new(pskey.clone());
        let text = server_cfg(&render(&request, "i-1", None).unwrap());
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = ")).map(str::to_owned);
        prop_assert_eq!(value("plugin.rabbitmq.vhost"), Some(vhost));
        prop_assert_eq!(value("plugin.rabbitmq.pool.1.user"), Some(user));
        prop_assert_eq!(value("plugin.rabbitmq.pool.1.password"), Some(password));
        prop_assert_eq!(value("plugin.psk"), Some(pskey));
    }
}
