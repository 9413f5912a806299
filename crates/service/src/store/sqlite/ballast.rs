//! Ballast: room on the disk that is given up when the disk is full, so that calls that run can still be settled.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// How much room that is: room for the settlements of thousands of calls, kept answers apart, which are given up on a full disk.
const BLOCKS: usize = 8;
const BLOCK_BYTES: usize = 1 << 20;

/// The room, in a file of its own.
pub(super) struct Ballast(PathBuf);

impl Ballast {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self(folder.join("ledger.ballast"))
    }

    /// Takes the room, unless it is taken. An error leaves nothing of it.
    pub(super) fn take(&self) -> io::Result<()> {
        if fs::metadata(&self.0).is_ok_and(|file| file.len() == (BLOCKS * BLOCK_BYTES) as u64) {
            return Ok(());
        }
        let written = self.write();
        if written.is_err() {
            self.give_up();
        }
        written
    }

    fn write(&self) -> io::Result<()> {
        // Noise: a file system may keep anything else in less room than it seems to have.
        let mut block = vec![0; BLOCK_BYTES];
        getrandom::fill(&mut block).map_err(io::Error::other)?;
        let mut file = File::create(&self.0)?;
        for _ in 0..BLOCKS {
            file.write_all(&block)?;
        }
        file.sync_data()
    }

    /// Gives the room up; what is not there is given up already.
    pub(super) fn give_up(&self) {
        let _ = fs::remove_file(&self.0);
    }
}
