use std::fs;
use std::process::Command;

use super::*;

const V2: &str = r#"<?xml version="1.0" ?>
<!-- what a reader would want to know -->
<bmap version="2.0">
    <ImageSize> 40960 </ImageSize>
    <BlockSize> 4096 </BlockSize>
    <BlocksCount> 10 </BlocksCount>
    <MappedBlocksCount> 4 </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> OWN </BmapFileChecksum>
    <BlockMap>
        <Range chksum="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"> 0-2 </Range>
        <Range> 9 </Range>
    </BlockMap>
</bmap>
"#;

const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// With its own digest in the place of `OWN`.
fn sealed(text: &str) -> String {
    let algorithm = if text.contains(" sha256 ") { "sha256" } else { "sha1" };
    let digits = if algorithm == "sha256" { 64 } else { 40 };
    let zeros = "0".repeat(digits);
    let mut hashers = Hashers::for_digests(&[format!("{algorithm}:{zeros}").parse().unwrap()]);
    hashers.update(text.replace("OWN", &zeros).as_bytes());
    let digest = hashers.finish()[0].to_string();
    text.replace("OWN", &digest[algorithm.len() + 1..])
}

fn parse(text: &str) -> Result<Bmap, String> {
    Bmap::parse(sealed(text).as_bytes())
}

fn mapped(start: u64, end: u64, checksum: Option<&str>) -> Mapped {
    Mapped { start, end, checksum: checksum.map(|text| text.parse().unwrap()) }
}

/// What is said when this stands instead of that.
fn fault(instead_of: &str, stands: &str) -> String {
    assert!(V2.contains(instead_of), "{instead_of}");
    parse(&V2.replacen(instead_of, stands, 1)).unwrap_err()
}

#[test]
fn versions_differ_in_their_digests() {
    let ranges = vec![mapped(0, 12288, Some(ABC)), mapped(36864, 40960, None)];
    let expected = Bmap { image_size: 40960, ranges };
    assert_eq!(parse(V2), Ok(expected.clone()));
    assert_eq!(expected.mapped(), 16384);
    assert_eq!(parse(&V2.replace("\"2.0\"", "\"1.4\"")), Ok(expected.clone()));

    let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
    let v13 = V2.replace("\"2.0\"", "\"1.3\"").replace("<ChecksumType> sha256 </ChecksumType>", "");
    let v13 = v13.replace("BmapFileChecksum", "BmapFileSHA1");
    let v13 = v13.replace(&format!("chksum=\"{}\"", &ABC[7..]), &format!("sha1=\"{sha1}\""));
    let ranges = vec![mapped(0, 12288, Some(&format!("sha1:{sha1}"))), mapped(36864, 40960, None)];
    assert_eq!(parse(&v13), Ok(Bmap { ranges, ..expected.clone() }));

    let v12 = v13.replace("\"1.3\"", "\"1.2\"").replace("<BmapFileSHA1> OWN </BmapFileSHA1>", "");
    let ranges = vec![mapped(0, 12288, None), mapped(36864, 40960, None)];
    assert_eq!(Bmap::parse(v12.as_bytes()), Ok(Bmap { ranges, ..expected }));
}

#[test]
fn the_last_block_ends_with_the_image() {
    let ranges = parse(&V2.replace("40960", "40000")).unwrap().ranges;
    assert_eq!(ranges[1], mapped(36864, 40000, None));
}

#[test]
fn a_changed_map_is_not_believed() {
    let changed = sealed(V2).replace("> 9 <", "> 8 <");
    let own = sealed(V2).split("<BmapFileChecksum> ").nth(1).unwrap()[..64].to_owned();
    let words = Bmap::parse(changed.as_bytes()).unwrap_err();
    let (before, after) = words.split_once("is sha256:").unwrap();
    assert_eq!(before, "at line 9, byte 303: BmapFileChecksum: the digest of the block map ");
    assert_eq!(after[64..], format!(", expected sha256:{own}"));
    assert_eq!(
        Bmap::parse(V2.as_bytes()).unwrap_err(),
        "at line 9, byte 303: BmapFileChecksum: digest \"sha256:OWN\": expected 64 hexadecimal digits after the colon"
    );
}

#[test]
fn contradictions_are_named_with_their_place() {
    let cases = [
        (
            "\"2.0\"",
            "\"3.0\"",
            "at line 3, byte 80: bmap: its version is \"3.0\", those from 1.0 to 1.4 and 2.0 are read",
        ),
        ("\"2.0\"", "\"x\"", "at line 3, byte 80: bmap: its version is \"x\", those from 1.0 to 1.4 and 2.0 are read"),
        (" version=\"2.0\"", "", "at line 3, byte 65: bmap: its version is missing"),
        (" 40960 ", " -1 ", "at line 4, byte 102: ImageSize: expected a number, found \"-1\""),
        (
            " 40960 ",
            " 40961 ",
            "at line 6, byte 173: BlocksCount: 40961 bytes in blocks of 4096 are 11 blocks, found 10",
        ),
        (
            " 40960 ",
            " 99999999999999999999 ",
            "at line 4, byte 102: ImageSize: expected a number, found \"99999999999999999999\"",
        ),
        (" 4096 ", " 0 ", "at line 5, byte 137: BlockSize: expected a multiple of 512 up to 1073741824, found 0"),
        (" 4096 ", " 1000 ", "at line 5, byte 137: BlockSize: expected a multiple of 512 up to 1073741824, found 1000"),
        (" 4 <", " 3 <", "at line 7, byte 215: MappedBlocksCount: the ranges have 4 blocks, found 3"),
        (" 4 <", " 11 <", "at line 7, byte 215: MappedBlocksCount: 11 blocks are mapped of 10"),
        (
            " sha256 <",
            " crc32 <",
            "at line 8, byte 257: ChecksumType: expected md5, sha1, sha256 or sha512, found \"crc32\"",
        ),
        (" 0-2 ", " 2-0 ", "at line 11, byte 493: Range: it begins with block 2 and ends with 0"),
        (" 0-2 ", " 0-10 ", "at line 11, byte 493: Range: it ends with block 10, and the image has 10"),
        (" 0-2 ", " two ", "at line 11, byte 493: Range: expected BLOCK or FIRST-LAST, found \"two\""),
        (" 9 <", " 2 <", "at line 12, byte 522: Range: it begins with block 2, and those before 3 are told already"),
        ("<Range> 9 </Range>", "<Range/>", "at line 12, byte 514: XML: expected a value before this"),
        (
            "chksum=\"ba",
            "chksum=\"",
            "at line 11, byte 491: Range: digest \"sha256:7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\": expected 64 hexadecimal digits after the colon",
        ),
        ("<BlockSize> 4096 </BlockSize>", "", "at line 15, byte 528: bmap: the element BlockSize is missing"),
        ("<BlockMap>", "<BlockSize>512</BlockSize><BlockMap>", "at line 10, byte 403: BlockSize: it is told twice"),
    ];
    for (instead_of, stands, words) in cases {
        assert_eq!(fault(instead_of, stands), words);
    }
}

#[test]
fn xml_that_is_none_or_makes_much_of_little_is_refused() {
    let bomb = "<!DOCTYPE bmap [<!ENTITY a \"aaaa\">]>\n<bmap version=\"2.0\">";
    assert_eq!(fault("<bmap version=\"2.0\">", bomb), "at line 3, byte 65: XML: expected no document type");
    assert_eq!(fault(" 9 ", " &nine; "), "at line 12, byte 522: XML: expected no reference to an entity");
    assert_eq!(fault(" 9 ", " <![CDATA[9]]> "), "at line 12, byte 522: XML: expected no CDATA");
    assert_eq!(fault(" 9 ", " 9 <!-- --> 9 "), "at line 12, byte 533: XML: expected no comment within a value");
    assert_eq!(fault("</bmap>", ""), "at line 15, byte 550: XML: it ends within an element");
    assert_eq!(
        fault("</bmap>", "</bmap><bmap>"),
        "at line 14, byte 556: XML: expected one element bmap, found \"bmap\""
    );
    assert_eq!(Bmap::parse(b"").unwrap_err(), "at line 1, byte 0: XML: expected the element bmap");
    assert_eq!(Bmap::parse(b"<a/>").unwrap_err(), "at line 1, byte 0: XML: expected one element bmap, found \"a\"");
    assert_eq!(Bmap::parse(b"<bmap \xff").unwrap_err(), "at byte 6: it is not UTF-8");
    let deep = format!("<bmap version=\"2.0\">{}", "<x>".repeat(10));
    assert_eq!(
        Bmap::parse(deep.as_bytes()).unwrap_err(),
        "at line 1, byte 41: x: too many elements stand in each other"
    );
    let long = vec![b' '; MOST + 1];
    assert_eq!(Bmap::parse(&long).unwrap_err(), "the block map has 16777217 bytes, at most 16777216 are read");
}

#[test]
fn maps_of_the_real_bmaptool_tell_the_blocks_with_data_and_their_digests() {
    let folder = std::env::temp_dir().join(format!("bedplate-bmap-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let image = folder.join("image");
    let file = fs::File::create(&image).unwrap();
    file.set_len((40 << 20) + 1000).unwrap();
    let write = |at: u64, length: usize| {
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251).to_le_bytes()[0] | 1).collect();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, at).unwrap();
        bytes
    };
    let parts = [(0, 4096), (1 << 20, 3 << 20), (40 << 20, 1000)];
    let contents = parts.map(|(at, length)| (at, write(at, length)));
    file.sync_all().unwrap();
    let map = folder.join("map");
    let output = Command::new("bmaptool").arg("create").arg(&image).arg("-o").arg(&map).output();
    let output = output.unwrap_or_else(|error| panic!("bmaptool: {error}: is bmap-tools installed?"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = Bmap::parse(&fs::read(&map).unwrap()).unwrap();
    assert_eq!(found.image_size, (40 << 20) + 1000);
    let digest = |bytes: &[u8]| {
        let mut hashers = Hashers::for_digests(&[ABC.parse().unwrap()]);
        hashers.update(bytes);
        Some(hashers.finish().remove(0))
    };
    let expected =
        contents.map(|(at, bytes)| Mapped { start: at, end: at + bytes.len() as u64, checksum: digest(&bytes) });
    assert_eq!(found.ranges, expected);
    fs::remove_dir_all(&folder).unwrap();
}
