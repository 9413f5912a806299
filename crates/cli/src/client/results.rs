//! Where the results of a batch go: a line for each at once, or, with `--json`, all of them at the end.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context, ensure};
use claude_code_api_client::{BatchEvent, BatchResult, BatchTotals};
use serde::Serialize;

use super::write_line;

pub(super) struct Results {
    /// `None`: standard output.
    file: Option<File>,
    /// What came until now, by the place of its prompt; `None`: it was written already.
    kept: Option<BTreeMap<usize, BatchResult>>,
}

/// What is printed at the end: the response, or as much of it as has come.
#[derive(Serialize)]
struct Response {
    #[serde(flatten)]
    totals: BatchTotals,
    results: Vec<BatchResult>,
}

impl Results {
    /// Finds out now whether the file can be written to, and leaves what is in it.
    pub(super) fn open(path: Option<&Path>, is_whole: bool) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            // Only a file is read: whoever reads a pipe's own results does not hear that its reader has gone.
            let is_file = !path.exists() || path.is_file();
            let opened = File::options().read(is_file).write(true).create(is_file).truncate(false).open(path);
            opened.with_context(|| format!("cannot write the results to {}", path.display()))
        };
        Ok(Self { file: path.map(open).transpose()?, kept: is_whole.then(BTreeMap::new) })
    }

    /// Whether they go into a file, to which nobody else may then write, and not into a device or a pipe.
    pub(super) fn lock(&self) -> anyhow::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let is_file = file.metadata()?.is_file();
        // Where there are no locks, as on some networks, it goes without.
        let is_taken = is_file && matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        ensure!(!is_taken, "another run writes its results there; wait for it, or end it");
        Ok(is_file)
    }

    /// The service has taken the batch: what an earlier one left in the file gives way.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) if file.metadata()?.is_file() => {
                file.set_len(0)?;
                file.rewind()
            }
            _ => Ok(()),
        }
    }

    /// How many results there are of an earlier run. What is half a line is cut off.
    pub(super) fn resume(&mut self) -> io::Result<u64> {
        let (Some(file), None) = (&mut self.file, &self.kept) else { return Ok(0) };
        let (mut reader, mut line, mut count, mut bytes) = (BufReader::new(&*file), Vec::new(), 0, 0);
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            count += 1;
            bytes += line.len() as u64;
            line.clear();
        }
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(bytes))?;
        Ok(count)
    }

    /// Whether they are written to standard output as they come.
    pub(super) fn cross_the_terminal(&self) -> bool {
        self.file.is_none() && self.kept.is_none()
    }

    pub(super) fn take(&mut self, event: BatchEvent) -> anyhow::Result<()> {
        if let Some(kept) = &mut self.kept {
            kept.insert(event.index, event.result);
            return Ok(());
        }
        write_line(&mut *self.out(), &event)
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self, totals: BatchTotals) -> anyhow::Result<()> {
        let Some(kept) = self.kept.take() else { return Ok(()) };
        let response = Response { totals, results: kept.into_values().collect() };
        writeln!(self.out(), "{}", serde_json::to_string_pretty(&response)?)?;
        Ok(())
    }

    fn out(&mut self) -> Box<dyn Write + '_> {
        match &mut self.file {
            Some(file) => Box::new(file),
            None => Box::new(io::stdout()),
        }
    }
}
