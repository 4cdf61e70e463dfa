//! Archives of the real GNU tar, compared with what it makes of them itself.

use std::process::Command;

use super::tests::{Scratch, job, run};
use super::*;

/// Makes a tree with everything that a root file system may have.
const MAKE: &str = r"
import os, struct, sys
os.chdir(sys.argv[1])
def put(name, data=b'x', mode=0o644):
    os.makedirs(os.path.dirname(name) or '.', exist_ok=True)
    with open(name, 'wb') as file: file.write(data)
    os.chmod(name, mode)
def acl(*entries):
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', tag, bits, who & 0xffffffff) for tag, bits, who in entries)
put('bin/su', b'suid', 0o4755)
put('bin/capable', os.urandom(200000))
os.chown('bin/capable', 12345, 54321); os.chmod('bin/capable', 0o6755)
os.setxattr('bin/capable', 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))
os.setxattr('bin/capable', 'user.note', b'line\nline\0end')
os.setxattr('bin/capable', 'trusted.secret', b'\xff\n=')
os.link('bin/capable', 'bin/again'); os.link('bin/su', 'su')
os.symlink('/etc/passwd', 'absolute'); os.symlink('x' * 150, 'long-link'); os.symlink('nowhere', 'dangling')
os.lchown('dangling', 7, 8); os.utime('dangling', ns=(1, 86400 * 10**9), follow_symlinks=False)
os.mkfifo('fifo', 0o640); os.mknod('tty', 0o620 | 0o020000, os.makedev(4, 1)); os.mknod('disk', 0o660 | 0o060000, os.makedev(259, 65540))
deep = 'deep/' + '/'.join(['a-long-name-of-a-folder'] * 12)
put(deep + '/' + 'n' * 200, b'deep'); put('ünïcode/ \n\\odd', b'odd'); put('empty', b'')
os.mkdir('sticky', 0o1777); os.chmod('sticky', 0o1777); os.chown('sticky', 99, 98)
put('listed', b'listed')
named = acl((1, 6, -1), (2, 5, 12345), (4, 4, -1), (8, 6, 777), (16, 7, -1), (32, 0, -1))
os.setxattr('listed', 'system.posix_acl_access', named)
put('defaults/inside', b'x')
os.setxattr('defaults', 'system.posix_acl_default', acl((1, 7, -1), (2, 7, 4321), (4, 5, -1), (16, 7, -1), (32, 5, -1)))
os.setxattr('defaults', 'user.folder', b'1')
def sparse(name, parts, size):
    with open(name, 'wb') as file:
        for offset in parts:
            file.seek(offset); file.write(os.urandom(5000) )
        file.truncate(size)
sparse('sparse-few', [1 << 20, 4 << 20], 6 << 20)
sparse('sparse-many', [i * (32 << 10) for i in range(200)], (200 * (32 << 10)) + 12345)
sparse('sparse-none', [], 1 << 20)
for name in ('bin/su', 'empty', 'fifo', 'tty'): os.utime(name, ns=(1, 1234567890 * 10**9 + 123456789))
for top, folders, files in os.walk('.', topdown=False): os.utime(top, ns=(1, 1400000000 * 10**9 + len(top)))
";

/// Tells everything about a tree, one line an entry.
const TELL: &str = r"
import hashlib, os, sys
nanoseconds = sys.argv[2] == 'ns'
os.chdir(sys.argv[1]); os.sync(); inodes = {}; names = []
for top, folders, files in os.walk('.'):
    names += [top] + [os.path.join(top, name) for name in files + [it for it in folders if os.path.islink(os.path.join(top, it))]]
for name in sorted(names):
    it = os.lstat(name)
    same = inodes.setdefault(it.st_ino, name)
    facts = [repr(name), oct(it.st_mode), it.st_uid, it.st_gid, it.st_rdev, same]
    facts.append(it.st_mtime_ns if nanoseconds else it.st_mtime_ns // 10**9)
    facts.append({key: os.getxattr(name, key, follow_symlinks=False) for key in sorted(os.listxattr(name, follow_symlinks=False))})
    if os.path.islink(name): facts.append(os.readlink(name))
    elif os.path.isfile(name):
        facts += [it.st_size, it.st_blocks * 512 < it.st_size, hashlib.sha256(open(name, 'rb').read()).hexdigest()]
    print(*facts)
";

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn python(script: &str, arguments: &[&str]) -> String {
    String::from_utf8(output(Command::new("python3").arg("-c").arg(script).args(arguments))).unwrap()
}

#[test]
fn needs_root_archives_of_gnu_tar_are_unpacked_as_it_does_itself() {
    let everything = ["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"];
    let scratch = Scratch::new();
    let source = scratch.0.join("source");
    std::fs::create_dir(&source).unwrap();
    python(MAKE, &[source.to_str().unwrap()]);
    let forms: [&[&str]; 7] = [
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &["--format=posix"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
        &["--format=oldgnu", "--sparse"],
    ];
    for form in forms {
        let is_posix = form[0] == "--format=posix";
        let mut create = Command::new("tar");
        create.args(["--create", "--directory"]).arg(&source).args(form).args(["--file=-"]);
        create.args(if is_posix { &everything[..] } else { &everything[3..] });
        let archive = output(create.arg("."));
        for name in ["theirs", "target"] {
            let _absent = std::fs::remove_dir_all(scratch.0.join(name));
            std::fs::create_dir(scratch.0.join(name)).unwrap();
        }
        let theirs = scratch.0.join("theirs");
        let file = scratch.0.join("archive.tar");
        std::fs::write(&file, &archive).unwrap();
        let mut extract = Command::new("tar");
        extract.args(["--extract", "--preserve-permissions", "--same-owner", "--directory"]).arg(&theirs);
        output(extract.args(everything).arg("--file").arg(&file));
        let report = run(&job(&scratch, &archive)).unwrap();
        assert_eq!(report.bytes_read, widen(archive.len()));
        let tell = |name: &str| python(TELL, &[scratch.0.join(name).to_str().unwrap(), "ns"]);
        let (expected, found) = (tell("theirs"), tell("target"));
        for (expected, found) in expected.lines().zip(found.lines()) {
            assert_eq!(found, expected, "{form:?}");
        }
        assert_eq!(found.lines().count(), expected.lines().count());
        if is_posix {
            // Not only as well as GNU tar, but all of it.
            let is_told = |line: &&str| form.len() > 1 || !line.contains("sparse");
            let (expected, found) = (tell("source"), tell("target"));
            let pairs = expected.lines().filter(is_told).zip(found.lines().filter(is_told));
            pairs.for_each(|(expected, found)| assert_eq!(found, expected, "{form:?}"));
        }
    }
}

#[test]
fn needs_root_archives_of_python_are_unpacked_with_devices_over_links() {
    let make = r"
import io, sys, tarfile
with tarfile.open(sys.argv[1], 'w', format=tarfile.PAX_FORMAT) as archive:
    def add(name, kind, **facts):
        it = tarfile.TarInfo(name); it.type = kind
        data = facts.pop('data', b'')
        it.size = len(data)
        for key, value in facts.items(): setattr(it, key, value)
        archive.addfile(it, io.BytesIO(data))
    add('l', tarfile.SYMTYPE, linkname=sys.argv[2] + '/secret')
    add('l', tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
    add('é' * 90, tarfile.REGTYPE, data=b'long', uid=3000000, gid=2**31, mtime=1.5)
    add('d', tarfile.DIRTYPE, mode=0o700)
    add('d', tarfile.SYMTYPE, linkname='/')
    add('d/in-root', tarfile.REGTYPE, data=b'x')
";
    let scratch = Scratch::new();
    let file = scratch.0.join("archive.tar");
    python(make, &[file.to_str().unwrap(), scratch.0.join("outside").to_str().unwrap()]);
    run(&job(&scratch, &std::fs::read(&file).unwrap())).unwrap();
    let found = python(TELL, &[scratch.target().to_str().unwrap(), "ns"]);
    let found: Vec<_> = found.lines().map(|line| line.split(' ').take(7).collect::<Vec<_>>().join(" ")).collect();
    let long = format!("'./{0}' 0o100644 3000000 2147483648 0 ./{0} 1500000000", "é".repeat(90));
    assert_eq!(
        found[1..],
        [
            "'./d' 0o120777 0 0 0 ./d 0".to_owned(),
            "'./in-root' 0o100644 0 0 0 ./in-root 0".to_owned(),
            "'./l' 0o20666 0 0 259 ./l 0".to_owned(),
            long,
        ]
    );
    assert_eq!(std::fs::read_to_string(scratch.0.join("outside/secret")).unwrap(), "secret");
}
