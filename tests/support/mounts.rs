//! Mounts that nobody else sees.

use std::process::Command;

use rustix::thread::UnshareFlags;

/// Gives this thread, and the threads and processes that it starts from now on, mounts of their own. What others do then
/// cannot hold on to a disk that a test mounts: a container or `ip netns exec` copies all mounts that it sees, and a file
/// system lives for as long as any copy of its mount. Needs root.
#[allow(deprecated)] // it is unsafe for descriptors, which stay shared here
pub fn make_private() {
    rustix::thread::unshare(UnshareFlags::NEWNS)
        .unwrap_or_else(|error| panic!("no mounts of our own: {error} (this needs root)"));
    let status = Command::new("mount").args(["--make-rprivate", "/"]).status().unwrap();
    assert!(status.success(), "mount --make-rprivate: {status}");
}
