//! A disk whose power can be cut: ext4 in a file, on a loop device. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::{mounts, temporary};

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing reaches the disk from then on, the journal
/// in memory included. An ioctl is `unsafe` in Rust, not in Perl.
const CUT: &str =
    r#"my $f = pack("L", 2); open(my $d, "<", $ARGV[0]) or die $!; ioctl($d, 0x8004587d, $f) or die $!"#;

/// Written just before each cut and never synced.
const UNSYNCED: &str = "unsynced";

/// Unmounted on drop, which frees the loop device too.
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    pub fn make() -> Self {
        mounts::make_private();
        let disk = Self { dir: temporary() };
        fs::File::create(disk.image()).unwrap().set_len(256 << 20).unwrap();
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), disk.image().as_ref()]);
        fs::create_dir(disk.root()).unwrap();
        disk.mount();
        disk
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// The mount point.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn mount(&self) {
        run("mount", &["-o".as_ref(), "loop".as_ref(), self.image().as_ref(), self.root().as_ref()]);
    }

    /// Cuts the power: unsynced data is lost, and every write fails.
    pub fn cut(&self) {
        fs::write(self.root().join(UNSYNCED), "x".repeat(5000)).unwrap();
        run("perl", &["-e".as_ref(), CUT.as_ref(), self.root().as_ref()]);
    }

    /// Mounts the disk again as after a boot: page cache empty, journal replayed.
    pub fn power_on(&self) {
        run("umount", &[self.root().as_ref()]);
        self.mount();
        let unsynced = self.root().join(UNSYNCED);
        let survived = fs::read(&unsynced).unwrap_or_default();
        assert!(survived.is_empty(), "the cut took nothing: {} bytes survived unsynced", survived.len());
        let _ = fs::remove_file(unsynced);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, because a server may still be exiting.
        let _ = Command::new("umount").args(["--quiet", "--lazy"]).arg(self.root()).status();
    }
}

fn run(program: &str, args: &[&Path]) {
    let status = Command::new(program).args(args).status();
    let status = status.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {args:?}: {status} (this needs root)");
}
