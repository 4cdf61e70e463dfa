//! Kernel, initrd and images.

use crate::support::{Master, NODE};

fn master() -> (Master, Vec<u8>) {
    let master = Master::start();
    let image: Vec<u8> = (0..700_001_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    master.folder.write("targetimages/os.img.gz", &image);
    (master, image)
}

const PATH: &str = "/targetimages/os.img.gz";

#[test]
fn image_is_served_whole_and_in_parts() {
    let (master, image) = master();
    let whole = master.get_with(PATH, "");
    assert_eq!((whole.status, whole.header("content-length")), (200, Some("700001")));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert!(whole.body == image);
    let part = master.get_with(PATH, "Range: bytes=131000-400000\r\n");
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 131000-400000/700001")));
    assert!(part.body == image[131_000..=400_000]);
    let beyond = master.get_with(PATH, "Range: bytes=700001-\r\n");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */700001")));
}

#[test]
fn head_tells_the_length_and_sends_nothing() {
    let (master, _) = master();
    let head = master.raw(NODE, "HEAD", PATH, "", b"").unwrap();
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("700001"), 0));
    let head = master.raw(NODE, "HEAD", PATH, "Range: bytes=0-9\r\n", b"").unwrap();
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (206, Some("10"), 0));
}

#[test]
fn range_of_a_replaced_image_is_answered_with_the_new_one() {
    let (master, image) = master();
    let first = master.get_with(PATH, "Range: bytes=0-9\r\n");
    let tag = first.header("etag").unwrap().to_owned();
    let date = first.header("last-modified").unwrap().to_owned();
    for validator in [&tag, &date] {
        let same = master.get_with(PATH, &format!("Range: bytes=10-\r\nIf-Range: {validator}\r\n"));
        assert_eq!(same.status, 206);
    }
    assert_eq!(master.get_with(PATH, &format!("If-None-Match: {tag}\r\n")).status, 304);
    master.folder.write("targetimages/new", &image[..500]);
    std::fs::rename(master.folder.path().join("targetimages/new"), master.folder.path().join(&PATH[1..])).unwrap();
    let other = master.get_with(PATH, &format!("Range: bytes=10-\r\nIf-Range: {tag}\r\n"));
    assert_eq!((other.status, other.body.len()), (200, 500));
}

#[test]
fn nothing_but_images_is_reachable() {
    let (master, _) = master();
    master.folder.write("targetimages/.hidden", "x");
    master.folder.write("targetimages/sub/x", "x");
    master.folder.write("bootstrap/secret", "x");
    for path in [
        "/targetimages/../operator.token",
        "/targetimages/..%2foperator.token",
        "/targetimages/%2e%2e/operator.token",
        "/targetimages/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/targetimages//etc/passwd",
        "/targetimages/sub%2fx",
        "/targetimages/sub",
        "/targetimages/.hidden",
        "/targetimages/.",
        "/targetimages/",
        "/targetimages/os.img.gz%00",
        "/bootstrap/secret",
        "/bootstrap/..%2foperator.token",
        "/operator.token",
        "/nodes/1.json",
    ] {
        assert_eq!(master.get_with(path, "").status, 404, "{path}");
    }
}

#[test]
fn kernel_and_initrd_are_served() {
    let master = Master::start();
    assert_eq!(master.get_with("/bootstrap/vmlinuz", "").status, 404);
    master.folder.write("bootstrap/vmlinuz", "kernel");
    master.folder.write("bootstrap/initrd.img", "");
    assert_eq!(master.get_with("/bootstrap/vmlinuz", "").body, b"kernel");
    assert_eq!(master.get_with("/bootstrap/initrd.img", "").header("content-length"), Some("0"));
}
