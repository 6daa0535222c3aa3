//! Copies protoc and its include files to `<folder>/bin` and `<folder>/include`, where protoc finds
//! the latter by itself. Run by `cargo xtask` where no protoc is found and none can be installed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("usage: holdfast-protoc FOLDER")?);
    copy_tree(&protoc_bin_vendored::include_path()?, &folder.join("include"))?;
    // The program last, and in one step: where it is, the include files are complete.
    fs::create_dir_all(folder.join("bin"))?;
    let unfinished = folder.join("bin").join("protoc.unfinished");
    fs::copy(protoc_bin_vendored::protoc_bin_path()?, &unfinished)?;
    fs::rename(&unfinished, folder.join("bin").join("protoc"))?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
