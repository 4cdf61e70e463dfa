//! What a network boot is told, in the language of the boot loader that asks. Pure.

use std::fmt::Write as _;

use crate::error::{Error, Kind, Result};

use super::config::LocalBoot;
use super::ident::Mac;

/// Every script for GRUB has this length. Over UEFI HTTP boot GRUB asks with HEAD how much it will read, and only then
/// for the script: each script holds a token of its own, and asking must not use one up. A kernel takes 2048 bytes of
/// arguments (`COMMAND_LINE_SIZE` of x86).
pub(super) const GRUB_LENGTH: usize = 4096;

/// Boot loaders on a disk that GRUB hands over to, in this order: those of the distributions, which start what was
/// installed last, then that of removable media (UEFI 2.10, section 3.5.1.1).
const LOADERS_ON_DISK: [&str; 3] = ["/EFI/debian/shimx64.efi", "/EFI/ubuntu/shimx64.efi", "/EFI/BOOT/BOOTX64.EFI"];

/// Who asks for a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loader {
    Ipxe,
    Grub,
}

impl Loader {
    /// Its path, which the log goes by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ipxe => "boot.ipxe",
            Self::Grub => "boot.grub",
        }
    }
}

/// What a machine starts.
pub(crate) enum Start {
    LocalDisk,
    Bootstrap(Bootstrap),
}

/// A kernel with its arguments. Everything in it is made or parsed here: no text of a node.
pub(crate) struct Bootstrap {
    pub(crate) mac: Mac,
    /// URL of the kernel.
    pub(crate) kernel: String,
    /// URL of the initrd.
    pub(crate) initrd: String,
    /// The kernel line, the node's token included: it must reach no log.
    pub(crate) arguments: String,
}

/// The script that asks again with the machine's identities.
pub(super) fn ipxe_first(url: &str) -> String {
    format!(
        "#!ipxe\n\
         chain --replace {url}/boot.ipxe?mac=${{netX/mac}}&uuid=${{uuid}}&serial=${{serial:uristring}} || exit\n"
    )
}

/// A script of iPXE.
pub(super) fn ipxe(start: &Start, local_boot: LocalBoot) -> String {
    match start {
        Start::LocalDisk => {
            let start = match local_boot {
                LocalBoot::Exit => "exit",
                LocalBoot::Sanboot => "sanboot --no-describe --drive 0x80 || exit",
            };
            format!("#!ipxe\necho bedplate: own disk\n{start}\n")
        }
        // A UEFI kernel finds the initrd by name; a failed fetch lets the firmware go on with its next device.
        Start::Bootstrap(Bootstrap { mac, kernel, initrd, arguments }) => format!(
            "#!ipxe\n\
             echo bedplate: {mac} starts the bootstrap\n\
             kernel {kernel} initrd=initrd.img {arguments} || goto failed\n\
             initrd --name initrd.img {initrd} || goto failed\n\
             boot || goto failed\n\
             :failed\n\
             echo bedplate: the bootstrap cannot be fetched\n\
             exit\n"
        ),
    }
}

/// The configuration that GRUB finds where it was loaded from, over TFTP and HTTP alike: it fetches the node's script.
///
/// The script of a node that is to start from its disk says so and ends; nor does GRUB come back from one that starts a
/// kernel, unless that fails. The firmware is not simply given back control, as iPXE does: GRUB ends with success, for
/// which a UEFI firmware opens its boot menu and waits there for a person (UEFI 2.10, section 3.1.1).
///
/// # Errors
/// `Usage` when the URL is not one of http.
pub(super) fn grub_first(url: &str) -> Result<String> {
    let script = in_grub(&format!("{url}/boot.grub"))?;
    let loaders = LOADERS_ON_DISK.join(" ");
    Ok(format!(
        "# Written by bedplate-master whenever it starts: changes do not last.\n\
         smbios --type 1 --get-uuid 8 --set=uuid\n\
         source {script}/$net_default_mac/$uuid\n\
         # GRUB is here for a node that starts from its own disk, and where nothing else could be started.\n\
         for loader in {loaders}; do\n\
         \x20 unset system\n\
         \x20 search --no-floppy --file --set=system $loader\n\
         \x20 if [ -n \"$system\" ]; then\n\
         \x20   echo \"bedplate: own disk, ($system)$loader\"\n\
         \x20   chainloader ($system)$loader\n\
         \x20   boot\n\
         \x20 fi\n\
         done\n\
         echo \"bedplate: no disk has a boot loader that is known here: back to the firmware\"\n\
         exit\n"
    ))
}

/// A script of GRUB, of [`GRUB_LENGTH`] bytes. When it ends, [`grub_first`] goes on to the node's own disk.
///
/// # Errors
/// `Image` when GRUB would change an argument on its way to the kernel, or the script is too long.
pub(super) fn grub(start: &Start) -> Result<String> {
    let script = match start {
        Start::LocalDisk => "echo \"bedplate: own disk\"\n".to_owned(),
        Start::Bootstrap(Bootstrap { mac, kernel, initrd, arguments }) => {
            let mut words = String::new();
            for word in arguments.split_whitespace() {
                let _infallible = write!(words, " {}", grub_word(word)?);
            }
            format!(
                "echo \"bedplate: {mac} starts the bootstrap\"\n\
                 linux {}{words}\n\
                 initrd {}\n\
                 boot\n\
                 echo \"bedplate: the bootstrap cannot be fetched, or its kernel is not signed\"\n\
                 sleep 5\n",
                in_grub(kernel)?,
                in_grub(initrd)?
            )
        }
    };
    let missing = GRUB_LENGTH.checked_sub(script.len()).ok_or_else(|| {
        Error::new(Kind::Image, format!("a script for GRUB has {} bytes, at most {GRUB_LENGTH} fit", script.len()))
            .advise("make kernel_args in master.toml shorter")
    })?;
    Ok(script + &"\n".repeat(missing))
}

/// One word in single quotes, in which GRUB finds nothing to expand. What it then writes a backslash before, on the way
/// to the kernel (grub-core/lib/cmdline.c), is refused.
fn grub_word(word: &str) -> Result<String> {
    if word.contains(['\'', '"', '\\']) {
        let told = format!("the kernel argument {word} cannot go through GRUB, which changes quotes and backslashes");
        return Err(Error::new(Kind::Image, told).advise("use no quotes in kernel_args, or load iPXE"));
    }
    Ok(format!("'{word}'"))
}

/// `http://HOST[:PORT]/PATH` as GRUB spells it.
fn in_grub(url: &str) -> Result<String> {
    let parts = url.strip_prefix("http://").and_then(|rest| rest.split_once('/'));
    let (host, path) = parts.ok_or_else(|| Error::new(Kind::Usage, format!("GRUB cannot fetch {url}")))?;
    Ok(format!("(http,{host})/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://10.20.0.2:8200";

    fn bootstrap(arguments: &str) -> Start {
        Start::Bootstrap(Bootstrap {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            kernel: format!("{URL}/bootstrap/vmlinuz"),
            initrd: format!("{URL}/bootstrap/initrd.img"),
            arguments: arguments.to_owned(),
        })
    }

    #[test]
    fn grub_finds_its_script_by_mac_and_goes_on_to_the_disk() {
        let expected = "\
# Written by bedplate-master whenever it starts: changes do not last.
smbios --type 1 --get-uuid 8 --set=uuid
source (http,10.20.0.2:8200)/boot.grub/$net_default_mac/$uuid
# GRUB is here for a node that starts from its own disk, and where nothing else could be started.
for loader in /EFI/debian/shimx64.efi /EFI/ubuntu/shimx64.efi /EFI/BOOT/BOOTX64.EFI; do
  unset system
  search --no-floppy --file --set=system $loader
  if [ -n \"$system\" ]; then
    echo \"bedplate: own disk, ($system)$loader\"
    chainloader ($system)$loader
    boot
  fi
done
echo \"bedplate: no disk has a boot loader that is known here: back to the firmware\"
exit
";
        assert_eq!(grub_first(URL).unwrap(), expected);
    }

    #[test]
    fn grub_gets_the_kernel_line_of_ipxe_word_by_word() {
        let start = bootstrap("boot=bedplate bedplate.token=ab BOOTIF=01-52-54-00-00-00-01  console=ttyS0;a $x {y} #z");
        let script = grub(&start).unwrap();
        let expected = "\
echo \"bedplate: 52:54:00:00:00:01 starts the bootstrap\"
linux (http,10.20.0.2:8200)/bootstrap/vmlinuz 'boot=bedplate' 'bedplate.token=ab' 'BOOTIF=01-52-54-00-00-00-01' 'console=ttyS0;a' '$x' '{y}' '#z'
initrd (http,10.20.0.2:8200)/bootstrap/initrd.img
boot
echo \"bedplate: the bootstrap cannot be fetched, or its kernel is not signed\"
sleep 5
";
        assert_eq!(script.trim_end_matches('\n'), expected.trim_end());
        let ipxe = ipxe(&start, LocalBoot::Exit);
        assert!(ipxe.contains(" BOOTIF=01-52-54-00-00-00-01  console=ttyS0;a $x {y} #z || goto failed\n"), "{ipxe}");
    }

    #[test]
    fn scripts_of_grub_have_one_length_which_tells_nothing() {
        for start in [Start::LocalDisk, bootstrap("boot=bedplate")] {
            assert_eq!(grub(&start).unwrap().len(), GRUB_LENGTH);
        }
        let too_long = grub(&bootstrap(&"a".repeat(GRUB_LENGTH))).unwrap_err().to_string();
        assert!(too_long.ends_with(", at most 4096 fit"), "{too_long}");
    }

    #[test]
    fn argument_that_grub_would_change_is_refused() {
        for word in ["a='b'", "dyndbg=\"file", "a\\b"] {
            let expected =
                format!("the kernel argument {word} cannot go through GRUB, which changes quotes and backslashes");
            assert_eq!(grub(&bootstrap(&format!("quiet {word}"))).unwrap_err().to_string(), expected);
        }
    }
}
