//! An image with GRUB's tools and nothing else, cut out of the small one: quickly written, and never started.

use std::process::Command;

use md5::Digest as _;
use serde_json::{Value, json};

use crate::harness::artefacts::OsImage;
use crate::harness::disk::hex;
use crate::harness::http::Server;
use crate::harness::process;
use crate::harness::scenario::Scenario;
use crate::harness::wait::Deadline;

/// Mounts for itself alone: nothing is left behind, however it ends.
const CUT: &str = r#"
    gunzip < "$1" > whole.img
    mkdir -p whole root/boot root/dev root/proc root/sys root/run root/etc root/tmp root/usr/lib/grub root/usr/lib64 boot
    mount -o loop,ro whole.img whole
    ln -s usr/lib root/lib; ln -s usr/lib64 root/lib64; ln -s usr/sbin root/sbin
    for file in /usr/sbin/grub-install \
        $(chroot whole /lib64/ld-linux-x86-64.so.2 --list /usr/sbin/grub-install | grep -o '/[^ ]*'); do
        place=root/${file#/}
        mkdir -p "$(dirname "$place")"
        cp -L "whole$file" "$place"
    done
    cp -a whole/usr/lib/grub/i386-pc root/usr/lib/grub/
    echo kernel > boot/vmlinuz-6.1.0; echo initrd > boot/initrd.img-6.1.0
    umount whole; rm whole.img
    mkfs.ext4 -q -b 4096 -d root lean.img 32M
    mkfs.ext2 -q -b 4096 -d boot lean-boot.img 8M
    gzip -1 lean.img lean-boot.img --keep
"#;

/// Cuts it out, serves it below `/lean/`, and returns the `image_data` of a request.
#[track_caller]
pub fn serve(scenario: &Scenario, server: &Server) -> Value {
    let (folder, image) = (scenario.folder().join("lean"), OsImage::find());
    std::fs::create_dir_all(&folder).expect("a folder can be made in the scenario's own");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", CUT, "cut"]).current_dir(&folder);
    command.arg(image.folder().join(format!("{}.img.gz", image.name())));
    process::run(&mut command, &[], Deadline::cpu(60)).ok();
    let mut side_car = "os: {name: Ubuntu, major: 16, minor: 4}\nimages:\n".to_owned();
    for (name, format) in [("lean", "ext4"), ("lean-boot", "ext2")] {
        let read = |end: &str| std::fs::read(folder.join(format!("{name}{end}"))).expect("the image was just made");
        let (raw, packed) = (read(".img"), read(".img.gz"));
        side_car.push_str(&format!(
            "- {{container: gzip, container_name: {name}.img.gz, container_size: {}, format: {format}, raw_name: null, \
             raw_size: {}, raw_md5: {}}}\n",
            packed.len(),
            raw.len(),
            hex(&md5::Md5::digest(&raw))
        ));
    }
    std::fs::write(folder.join("lean.yaml"), side_car).expect("the scenario's folder can be written to");
    server.folder("/lean/", &folder);
    let one = |name: &str, format: &str| json!({"uri": format!("{}/lean/{name}.img.gz", server.url()), "format": format, "container": "gzip"});
    json!({"/": one("lean", "ext4"), "/boot": one("lean-boot", "ext2")})
}
