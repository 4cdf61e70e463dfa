//! What the layout says of the installed system: its name, images, boot loader, fstab.

use crate::error::{Error, Kind};
use crate::layout::findings::Findings;
use crate::layout::model::{BootLoader, Image, Layout, OperatingSystem};
use crate::request::{Request, SideCar};

/// The side-car's word, else a guess by the name of the profile (upstream's rules).
pub fn operating_system(request: &Request, side_car: Option<&SideCar>) -> OperatingSystem {
    if let Some(os) = side_car.and_then(|side_car| side_car.operating_system.as_ref()) {
        return OperatingSystem { name: os.name.clone(), major: Some(os.major), minor: Some(os.minor) };
    }
    let profile = request.profile.to_lowercase();
    let system = |name: &str, version: Option<(u64, u64)>| OperatingSystem {
        name: name.to_owned(),
        major: version.map(|(major, _)| major),
        minor: version.map(|(_, minor)| minor),
    };
    match profile {
        profile if profile.contains("centos") => {
            system("Centos", Some(if profile.contains('7') { (7, 0) } else { (6, 5) }))
        }
        profile if profile.contains("ubuntu") => {
            system("Ubuntu", Some(if profile.contains("1404") { (14, 4) } else { (12, 4) }))
        }
        _ => system("OperatingSystem", None),
    }
}

/// Whether it is the system that starts through GRUB 1, which reads arrays of metadata 0.90 alone.
pub fn is_centos_6(system: &OperatingSystem) -> bool {
    system.name == "Centos" && system.major == Some(6)
}

/// Gives each image its target, and each file system the knowledge whether an image brings it.
///
/// It is a fault of the request when an image has no file system to go to, or goes to one that is kept or of another kind.
pub fn place_images(request: &Request, side_car: Option<&SideCar>, layout: &mut Layout, findings: &mut Findings) {
    for spec in &request.images {
        let Some(target) = layout.filesystems.iter_mut().find(|it| it.mount.as_ref() == Some(&spec.mount)) else {
            let mounts: Vec<_> = layout.filesystems.iter().filter_map(|it| it.mount.as_deref()).collect();
            let wanted = format!("the mount point of a file system ({})", mounts.join(", "));
            let message = format!("{}: expected {wanted}, found {}", spec.path, spec.mount);
            findings.fault(Error::new(Kind::Request, message));
            continue;
        };
        if target.keep_data {
            let what = format!("the image would overwrite {}, which is to be kept (keep_data)", target.device);
            findings.fault(Error::new(Kind::Request, format!("{}: {what}", spec.path)));
        }
        if !spec.is_archive() && target.kind != spec.format {
            // Of several volumes for /boot one has its kind, and it is not the one that is made.
            let what =
                format!("the image for {} holds {}, the volume asks for {}", spec.mount, spec.format, target.kind);
            findings.fault(Error::new(Kind::Request, format!("{}: {what}", spec.path)));
        }
        target.from_image = !spec.is_archive();
        let meta = side_car.and_then(|side_car| side_car.image(&spec.uri));
        layout.images.push(Image {
            uri: spec.uri.clone(),
            target: target.device.clone(),
            format: spec.format.clone(),
            container: spec.container.as_str().to_owned(),
            size: meta.and_then(|meta| meta.raw_size),
            md5: meta.and_then(|meta| meta.raw_md5.clone()),
        });
    }
    for file_system in &mut layout.filesystems {
        file_system.mkfs = !file_system.from_image && !file_system.keep_data;
    }
}

/// What starts the installed system.
pub fn boot_loader(request: &Request, system: &OperatingSystem, layout: &Layout) -> BootLoader {
    // CentOS 6 carries a kernel 3.10 that is not to be started, unless the node asks for the long-term kernel.
    let prefers_2_6 = request.profile.to_lowercase().contains("centos") && !request.is_kernel_lt;
    let device_of = |mount: &str| {
        layout.filesystems.iter().find(|it| it.mount.as_deref() == Some(mount)).map(|it| it.device.clone())
    };
    BootLoader {
        grub_version_by_os: if is_centos_6(system) { 1 } else { 2 },
        kernel_params: format!(" {}", request.kernel_params),
        kernel_regexp: prefers_2_6.then(|| r"^vmlinuz-2\.6.*".to_owned()),
        initrd_regexp: prefers_2_6.then(|| r"^initramfs-2\.6.*".to_owned()),
        boot_device: device_of("/boot").or_else(|| device_of("/")),
        install_devices: layout.disks.iter().filter(|it| it.install_bootloader).map(|it| it.device.clone()).collect(),
    }
}

/// Upstream's fstab, with the name of the device where its file system's UUID goes.
pub fn fstab(layout: &Layout) -> Vec<String> {
    let mounted = layout.filesystems.iter().filter_map(|it| it.mount.as_deref().map(|mount| (it, mount)));
    mounted
        .map(|(it, mount)| format!("UUID=<uuid of {}> {mount} {} {} 0 0", it.device, it.kind, mount_options(mount)))
        .collect()
}

/// A damaged root must not be written on (LP#1371689).
fn mount_options(mount: &str) -> &'static str {
    if mount == "/" { "defaults,errors=panic" } else { "defaults" }
}

/// Mount points, those higher up first, else in the order of the document.
pub fn mount_order(layout: &Layout) -> Vec<String> {
    let mounts = layout.filesystems.iter().filter_map(|it| it.mount.clone()).filter(|mount| mount.starts_with('/'));
    let mut order: Vec<_> = mounts.collect();
    order.sort_by_key(|mount| mount.split('/').filter(|part| !part.is_empty()).count());
    order
}
