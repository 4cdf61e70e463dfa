//! grub.cfg for GRUB 2, written by us: `grub-mkconfig` in the target costs as much as writing half the image.

use super::KernelChoice;

/// What GRUB shows and starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrubMenu {
    /// Name of the entry.
    pub title: String,
    /// Seconds until it starts by itself. There is no "for ever": a node waits for nobody.
    pub timeout: u32,
    /// Where kernel and initial RAM disk are.
    pub root: GrubRoot,
    /// Which they are.
    pub kernel: KernelChoice,
    /// The kernel's whole command line ([`super::kernel_line`]).
    pub kernel_line: String,
}

/// The file system that holds the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrubRoot {
    /// UUID as blkid tells it.
    pub uuid: String,
    /// Type: `ext2`, `xfs`.
    pub format: String,
    /// What it lies on.
    pub storage: Storage,
    /// The kernel's folder inside of it: `/` where it is mounted on /boot, else `/boot`.
    pub folder: String,
}

/// What a file system lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// A partition.
    Partition,
    /// A logical volume.
    Lvm,
    /// An md array.
    Md,
}

/// The text of grub.cfg. A later `update-grub` in the target replaces it with the distribution's own form.
#[must_use]
pub fn grub_cfg(menu: &GrubMenu) -> String {
    let mut text = format!(
        "# Written by bedplate. update-grub (grub-mkconfig) replaces it, with the settings of /etc/default/grub.\n\
         set default=0\n\
         set timeout_style=menu\n\
         set timeout={}\n\n",
        menu.timeout
    );
    for module in modules(&menu.root) {
        text += &format!("insmod {module}\n");
    }
    if let Some(serial) = Serial::of(&menu.kernel_line) {
        // Without the port GRUB keeps the screen alone and does not stop at an error.
        text += &format!(
            "\nif {}; then\n  terminal_input console serial\n  terminal_output console serial\nfi\n",
            serial.command()
        );
    }
    text += &format!("\nsearch --no-floppy --fs-uuid --set=root {}\n", quoted(&menu.root.uuid));
    text += &entry(menu, &menu.title, "");
    // A person at the console needs a way in when the system does not come up; it is never chosen by itself.
    text += &entry(menu, &format!("{} (recovery mode)", menu.title), " single");
    text
}

fn entry(menu: &GrubMenu, title: &str, more: &str) -> String {
    let folder = menu.root.folder.trim_end_matches('/');
    let path = |name: &str| quoted(&format!("{folder}/{name}"));
    let mut text = format!("\nmenuentry {} --class gnu-linux {{\n", always_quoted(title));
    text += &format!("  linux {} {}{more}\n", path(&menu.kernel.kernel), script_words(&menu.kernel_line));
    if let Some(initrd) = &menu.kernel.initrd {
        text += &format!("  initrd {}\n", path(initrd));
    }
    text + "}\n"
}

/// The modules that reach the kernel; those that grub-install puts into the core image load again without effect.
fn modules(root: &GrubRoot) -> Vec<&'static str> {
    let mut modules = vec!["part_gpt"];
    match root.storage {
        Storage::Partition => {}
        Storage::Lvm => modules.push("lvm"),
        // 1.x by default, 0.90 on CentOS 6.
        Storage::Md => modules.extend(["mdraid1x", "mdraid09"]),
    }
    modules.push(match root.format.as_str() {
        "xfs" => "xfs",
        "btrfs" => "btrfs",
        "vfat" => "fat",
        // One module for ext2, 3 and 4.
        _ => "ext2",
    });
    modules
}

/// A serial console of the kernel that GRUB is to use as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Serial {
    unit: u32,
    speed: u32,
}

impl Serial {
    /// The first `console=ttySN[,SPEED..]` of a kernel command line.
    pub(super) fn of(kernel_line: &str) -> Option<Self> {
        words(kernel_line).find_map(|word| {
            let (unit, options) = match word.strip_prefix("console=ttyS")?.split_once(',') {
                Some((unit, options)) => (unit, options),
                None => (word.strip_prefix("console=ttyS")?, ""),
            };
            let digits = options.find(|c: char| !c.is_ascii_digit()).unwrap_or(options.len());
            // 9600 is what the kernel takes when no speed is named.
            Some(Self { unit: unit.parse().ok()?, speed: options[..digits].parse().unwrap_or(9600) })
        })
    }

    /// GRUB's command for it.
    pub(super) fn command(self) -> String {
        format!("serial --unit={} --speed={} --word=8 --parity=no --stop=1", self.unit, self.speed)
    }
}

/// The words of a kernel command line: white space separates unless it stands between double quotes.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    line.split(move |c: char| {
        is_quoted ^= c == '"';
        // A line break ends a word in any case: quotes must not carry one into a configuration file.
        c.is_control() || (c.is_whitespace() && !is_quoted)
    })
    .filter(|word| !word.is_empty())
}

/// A kernel command line as words of GRUB's script.
///
/// GRUB puts the double quotes that the kernel wants around a word with blanks by itself, so ours are taken off.
pub(super) fn script_words(line: &str) -> String {
    words(line).map(|word| quoted(&word.replace('"', ""))).collect::<Vec<_>>().join(" ")
}

/// One word of GRUB's script, in single quotes where anything in it could mean something.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) { word.to_owned() } else { always_quoted(word) }
}

fn always_quoted(word: &str) -> String {
    let word: String = word.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn menu() -> GrubMenu {
        GrubMenu {
            title: "Debian GNU/Linux 12".into(),
            timeout: 10,
            root: GrubRoot {
                uuid: "b1-23".into(),
                format: "ext2".into(),
                storage: Storage::Partition,
                folder: "/".into(),
            },
            kernel: KernelChoice {
                kernel: "vmlinuz-6.1".into(),
                initrd: Some("initrd.img-6.1".into()),
                version: "6.1".into(),
            },
            kernel_line: "root=/dev/mapper/os-root ro console=tty0 console=ttyS1,115200n8".into(),
        }
    }

    #[test]
    fn menu_finds_the_kernel_by_uuid_and_starts_it_by_itself() {
        assert_eq!(
            grub_cfg(&menu()),
            "# Written by bedplate. update-grub (grub-mkconfig) replaces it, with the settings of /etc/default/grub.\n\
             set default=0\n\
             set timeout_style=menu\n\
             set timeout=10\n\
             \n\
             insmod part_gpt\n\
             insmod ext2\n\
             \n\
             if serial --unit=1 --speed=115200 --word=8 --parity=no --stop=1; then\n\
             \x20 terminal_input console serial\n\
             \x20 terminal_output console serial\n\
             fi\n\
             \n\
             search --no-floppy --fs-uuid --set=root b1-23\n\
             \n\
             menuentry 'Debian GNU/Linux 12' --class gnu-linux {\n\
             \x20 linux /vmlinuz-6.1 root=/dev/mapper/os-root ro console=tty0 console=ttyS1,115200n8\n\
             \x20 initrd /initrd.img-6.1\n\
             }\n\
             \n\
             menuentry 'Debian GNU/Linux 12 (recovery mode)' --class gnu-linux {\n\
             \x20 linux /vmlinuz-6.1 root=/dev/mapper/os-root ro console=tty0 console=ttyS1,115200n8 single\n\
             \x20 initrd /initrd.img-6.1\n\
             }\n"
        );
    }

    #[test]
    fn kernel_on_the_root_file_system_is_found_in_its_folder_on_lvm_and_md() {
        let mut menu = menu();
        menu.root = GrubRoot { uuid: "r1".into(), format: "xfs".into(), storage: Storage::Lvm, folder: "/boot".into() };
        menu.kernel.initrd = None;
        let text = grub_cfg(&menu);
        assert!(text.contains("insmod part_gpt\ninsmod lvm\ninsmod xfs\n"), "{text}");
        assert!(text.contains("  linux /boot/vmlinuz-6.1 root="), "{text}");
        assert!(!text.contains("initrd"), "{text}");
        assert_eq!(
            modules(&GrubRoot { storage: Storage::Md, ..menu.root }),
            ["part_gpt", "mdraid1x", "mdraid09", "xfs"]
        );
    }

    #[test]
    fn hostile_parameters_stay_words_of_one_line() {
        assert_eq!(
            script_words("a=1;reboot b=$c\n} menuentry dyndbg=\"file x +p\" d=it's"),
            r"'a=1;reboot' 'b=$c' '}' menuentry 'dyndbg=file x +p' 'd=it'\''s'"
        );
    }

    #[test]
    fn serial_port_and_speed_come_from_the_kernel_line() {
        assert_eq!(Serial::of("console=tty0 console=ttyS0"), Some(Serial { unit: 0, speed: 9600 }));
        assert_eq!(Serial::of("console=ttyS1,57600n8r quiet"), Some(Serial { unit: 1, speed: 57600 }));
        assert_eq!(Serial::of("console=tty0 console=ttyUSB0"), None);
        assert_eq!(Serial::of(""), None);
    }
}
