//! Extended attributes, ACLs among them.
//!
//! Of an open file or directory they are read from its descriptor. What must not be opened (symlinks, fifos, devices,
//! sockets) is reached as `/proc/self/fd/<folder>/<name>`, which follows nothing and knows no longest path.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use holdfast_format::tree::Xattr;
use rustix::buffer::spare_capacity;
use rustix::fs::{fgetxattr, flistxattr, getxattr, lgetxattr, listxattr, llistxattr};
use rustix::io::Errno;

use super::limits::XATTR_BYTES_MAX;

/// Attributes of an open file or directory, even one that was opened for passage only.
pub(crate) fn of_open(file: impl AsFd) -> io::Result<Option<Vec<Xattr>>> {
    let file = file.as_fd();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    collect(
        |buffer| match flistxattr(file, spare_capacity(buffer)) {
            Err(Errno::BADF) => listxattr(&path, spare_capacity(buffer)),
            other => other,
        },
        |name, buffer| match fgetxattr(file, name, spare_capacity(buffer)) {
            Err(Errno::BADF) => getxattr(&path, name, spare_capacity(buffer)),
            other => other,
        },
    )
}

/// Attributes of a name in an open folder, itself never opened or followed.
pub(crate) fn of_name(folder: impl AsFd, name: &[u8]) -> io::Result<Option<Vec<Xattr>>> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    collect(
        |buffer| llistxattr(&path, spare_capacity(buffer)),
        |attribute, buffer| lgetxattr(&path, attribute, spare_capacity(buffer)),
    )
}

/// Lists and reads, sorted by name; `None` when there are none or the file system has none.
fn collect(
    list: impl Fn(&mut Vec<u8>) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut Vec<u8>) -> rustix::io::Result<usize>,
) -> io::Result<Option<Vec<Xattr>>> {
    let names = match fill(&list) {
        Ok(names) if names.is_empty() => return Ok(None),
        Ok(names) => names,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (mut all, mut bytes) = (Vec::new(), 0);
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        match fill(|buffer| get(name, buffer)) {
            Ok(value) => {
                bytes += name.len() + value.len();
                if bytes > XATTR_BYTES_MAX {
                    return Err(io::Error::other("they take more than 1 MiB"));
                }
                all.push(Xattr {
                    name: name.to_vec(),
                    value,
                });
            }
            // Removed since it was listed, or listed by a layer that does not give it out.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((!all.is_empty()).then_some(all))
}

/// Calls until the buffer is large enough. The kernel's bound on both lists and values is 64 KiB.
fn fill(call: impl Fn(&mut Vec<u8>) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut capacity = 256;
    loop {
        let mut buffer = Vec::with_capacity(capacity);
        match call(&mut buffer) {
            Ok(_) => return Ok(buffer),
            Err(Errno::RANGE) if capacity < XATTR_BYTES_MAX => capacity *= 8,
            Err(error) => return Err(error),
        }
    }
}
