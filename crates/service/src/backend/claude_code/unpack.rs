//! Takes the program out of a package.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::digest::hex;

/// Where it is in the tarball.
const PROGRAM_IN_TARBALL: &str = "package/claude";

/// Writes the program that is in a tarball.
pub(super) fn unpack(tarball: &Path, into: &Path, published: &str) -> io::Result<()> {
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(File::open(tarball)?)));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.as_os_str() == PROGRAM_IN_TARBALL {
            let digest = copy(&mut entry, into)?;
            let wrong = || io::Error::other(format!("{PROGRAM_IN_TARBALL} in it is not the pinned program"));
            return if digest == published { Ok(()) } else { Err(wrong()) };
        }
    }
    Err(io::Error::other(format!("{PROGRAM_IN_TARBALL} is not in it")))
}

fn copy(from: &mut impl Read, into: &Path) -> io::Result<String> {
    let mut file = File::options().write(true).create_new(true).mode(0o755).open(into)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            read => {
                hash.update(&buffer[..read]);
                file.write_all(&buffer[..read])?;
            }
        }
    }
    file.sync_all()?;
    Ok(hex(&hash.finalize()))
}
