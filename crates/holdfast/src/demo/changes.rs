//! What happens to the tree between backups, as life would have it: edits, deletions, renames, attributes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

use rustix::fs::XattrFlags;

use super::tree::{HUGE, Maker, PAGE, PER_FOLDER, Scale, log, page, small_path, small_text};

/// One small file of so many is edited, another deleted, another new.
const ONE_IN: u64 = 100;

/// Day two. Gives what was done, in words.
pub(super) fn day_two(maker: &Maker, scale: &Scale) -> io::Result<String> {
    fs::remove_file(maker.at("big/doomed"))?;
    let changed_pages = pages(maker, scale, 1)?;
    let log_path = maker.at("big/events.log");
    let size = fs::metadata(&log_path)?.len();
    log(maker, &log_path, size, size + scale.log / 50)?;
    let small = small(maker, scale)?;
    kinds(maker)?;
    Ok(format!(
        "deleted a file of {}; rewrote {changed_pages} pages of the database; appended to the log; of the small files \
         {small} each edited, deleted and new; a folder renamed, a file turned into a folder and a folder into a file, \
         links, modes and times changed",
        crate::output::bytes(scale.doomed)
    ))
}

/// While the on-site is gone.
pub(super) fn meanwhile(maker: &Maker, scale: &Scale) -> io::Result<String> {
    let new = maker.at("big/made while the on-site was gone");
    let size = scale.doomed / 4;
    maker.noise_file(&new, size)?;
    let changed_pages = pages(maker, scale, 2)?;
    maker.file(&maker.at("many/note.txt"), b"the on-site is gone\n")?;
    Ok(format!(
        "wrote a new file of {}; rewrote {changed_pages} pages of the database",
        crate::output::bytes(size)
    ))
}

/// Rewrites one page in a hundred, here and there.
fn pages(maker: &Maker, scale: &Scale, version: u64) -> io::Result<u64> {
    let file = File::options().write(true).open(maker.at("big/pages.db"))?;
    let pages = scale.pages / PAGE;
    let mut changed = 0;
    for number in (version..pages).step_by(ONE_IN as usize) {
        maker.go_on()?;
        file.write_all_at(&page(maker, number, version), number * PAGE)?;
        maker.count(PAGE);
        changed += 1;
    }
    Ok(changed)
}

fn small(maker: &Maker, scale: &Scale) -> io::Result<u64> {
    let each = scale.small_files / ONE_IN;
    for n in 0..each {
        let edited = maker.at(&small_path(n * ONE_IN));
        let mut text = fs::read(&edited)?;
        text.extend_from_slice(b"edited on day two\n");
        maker.file(&edited, &text)?;
        fs::remove_file(maker.at(&small_path(n * ONE_IN + 1)))?;
        let new = maker.at(&format!("many/000/new {n}.txt"));
        maker.file(&new, &small_text(maker, n))?;
    }
    let last = (scale.small_files - 1) / PER_FOLDER;
    let renamed = maker.at(&format!("many/{last:03}"));
    fs::rename(renamed, maker.at("many/renamed"))?;
    Ok(each)
}

fn kinds(maker: &Maker) -> io::Result<()> {
    // A symlink that points elsewhere, a hard link that is one no more.
    fs::remove_file(maker.at("links/dangling"))?;
    symlink("another/such/thing", maker.at("links/dangling"))?;
    fs::remove_file(maker.at("links/hard/two"))?;
    maker.file(&maker.at("links/hard/two"), b"on its own now\n")?;
    // A file that is a folder now, and the other way round.
    fs::remove_file(maker.at("empty/file"))?;
    fs::remove_dir(maker.at("empty/folder"))?;
    fs::create_dir(maker.at("empty/file"))?;
    maker.file(&maker.at("empty/folder"), b"a file now\n")?;
    // Attributes alone.
    let touched = maker.at("modes/setuid");
    fs::set_permissions(&touched, fs::Permissions::from_mode(0o4711))?;
    File::open(maker.at("xattrs/file"))?
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_500_000_000, 42))?;
    let attribute = maker.at("xattrs/file");
    if rustix::fs::lgetxattr(&attribute, "user.comment", &mut [0u8; 64][..]).is_ok() {
        let flags = XattrFlags::REPLACE;
        rustix::fs::lsetxattr(&attribute, "user.comment", b"another one", flags)?;
    }
    // A few more bytes in the middle of nowhere.
    let huge = maker.at("sparse/huge");
    if huge.exists() {
        let file = File::options().write(true).open(huge)?;
        file.write_all_at(b"found again", HUGE / 2 + 12_345)?;
    }
    Ok(())
}
