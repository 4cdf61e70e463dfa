//! Names of network interfaces, by MAC address, as udev rules.
//!
//! A rule is taken over a systemd `.link` file because it works with and without systemd, because Debian's and Ubuntu's
//! initramfs carry this very file, and because where both exist the rule's name wins anyway.

use crate::request::NicName;

/// Where the rules go in the target.
pub const NIC_RULES_FILE: &str = "etc/udev/rules.d/70-persistent-net.rules";

/// Where older systems keep the generator that would write rules of its own.
pub const NIC_GENERATOR_FILE: &str = "etc/udev/rules.d/75-persistent-net-generator.rules";

/// The text of [`NIC_RULES_FILE`]: one rule an interface.
///
/// Upstream matched `KERNEL=="eth*"` as well, which never fits where names are predictable. Without it `DRIVERS=="?*"` and
/// type 1 keep a bridge, bond or VLAN with the same address from being renamed: none of them has a driver's device.
#[must_use]
pub fn nic_rules(names: &[NicName]) -> String {
    let mut text = "# Written by bedplate: the interface names that the request gives.\n".to_owned();
    for NicName { mac, name } in names {
        text += &format!(
            "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{{address}}==\"{}\", ATTR{{type}}==\"1\", \
             NAME=\"{}\"\n",
            literal(&mac.to_lowercase()),
            literal(name).replace('%', "%%").replace('$', "$$")
        );
    }
    text
}

/// The text of [`NIC_GENERATOR_FILE`], which hides the distribution's file of that name.
#[must_use]
pub const fn nic_generator_off() -> &'static str {
    "# Written by bedplate: the names in 70-persistent-net.rules are all that is wanted.\n"
}

/// A value between quotes; what could end the value or the line is left out.
fn literal(value: &str) -> String {
    value.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_matches_the_address_whatever_the_kernel_calls_the_interface() {
        let names = [NicName { mac: "52:54:00:00:01:0A".into(), name: "enp0s3".into() }];
        assert_eq!(
            nic_rules(&names).lines().nth(1),
            Some(
                "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"52:54:00:00:01:0a\", \
                 ATTR{type}==\"1\", NAME=\"enp0s3\""
            )
        );
    }

    #[test]
    fn name_cannot_add_a_key_or_a_line() {
        let names = [NicName { mac: "m".into(), name: "a\", RUN+=\"/bin/x\n%k$env".into() }];
        let text = nic_rules(&names);
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("NAME=\"a, RUN+=/bin/x%%k$$env\"\n"), "{text}");
    }
}
