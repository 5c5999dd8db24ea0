//! Private mounts.

use std::process::Command;

use rustix::thread::UnshareFlags;

/// Gives this thread, and the threads and processes that it starts, a mount namespace of their own. Other
/// programs then cannot keep a test's disk alive: a container or `ip netns exec` copies all mounts that it
/// sees, and a file system lives as long as any copy of its mount. Needs root.
#[allow(deprecated)] // unsafe only for descriptors, which stay shared here
pub fn make_private() {
    rustix::thread::unshare(UnshareFlags::NEWNS)
        .unwrap_or_else(|error| panic!("no mounts of our own: {error} (this needs root)"));
    let status = Command::new("mount").args(["--make-rprivate", "/"]).status().unwrap();
    assert!(status.success(), "mount --make-rprivate: {status}");
}
