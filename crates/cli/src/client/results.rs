//! Where the results of a batch go: a line for each at once, or, with `--json`, all of them at the end.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
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
            let opened = File::options().write(true).create(true).truncate(false).open(path);
            opened.with_context(|| format!("cannot write the results to {}", path.display()))
        };
        Ok(Self { file: path.map(open).transpose()?, kept: is_whole.then(BTreeMap::new) })
    }

    /// The service has taken the batch: what an earlier one left in the file gives way.
    pub(super) fn begin(&self) -> io::Result<()> {
        match &self.file {
            Some(file) if file.metadata()?.is_file() => file.set_len(0),
            _ => Ok(()),
        }
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
    pub(super) fn end(mut self, totals: BatchTotals) -> anyhow::Result<()> {
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
