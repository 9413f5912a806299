//! `FILE.batch`: which batch the results in FILE are of. There is one while not all of them are.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub(super) struct Note {
    path: PathBuf,
    /// Of the prompts and all that is asked of them.
    fingerprint: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Noted {
    fingerprint: String,
    /// Under which it is sent: the same batch, however often that is.
    pub(super) idempotency_key: String,
    /// `None`: the service has not answered yet, and may have stored it.
    pub(super) id: Option<String>,
}

impl Note {
    /// Of the batch that `asked` describes.
    pub(super) fn beside(output: &Path, asked: &impl Serialize) -> anyhow::Result<Self> {
        let mut path = output.as_os_str().to_owned();
        path.push(".batch");
        let digest = Sha256::digest(serde_json::to_vec(asked)?);
        let fingerprint = digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        Ok(Self { path: path.into(), fingerprint })
    }

    /// What an earlier run has noted, which must have been of the same batch.
    pub(super) fn read(&self) -> anyhow::Result<Option<Noted>> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("cannot read {self}"))?,
        };
        let noted: Noted = serde_json::from_slice(&text).with_context(|| format!("{self} is no note of a batch"))?;
        if noted.fingerprint != self.fingerprint {
            let id = noted.id.as_deref().unwrap_or("a batch");
            bail!(
                "{self} notes that {id} is not finished, whose prompts or options were others: run it again as it was, or remove \
                 that file to begin anew"
            );
        }
        Ok(Some(noted))
    }

    /// A batch that is to be sent, under this key or a new one.
    pub(super) fn begin(&self, key: Option<&str>) -> anyhow::Result<Noted> {
        let idempotency_key = key.map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned);
        let noted = Noted { fingerprint: self.fingerprint.clone(), idempotency_key, id: None };
        self.write(&noted)?;
        Ok(noted)
    }

    /// The service has stored it.
    pub(super) fn stored(&self, mut noted: Noted, id: &str) -> anyhow::Result<()> {
        noted.id = Some(id.to_owned());
        self.write(&noted)
    }

    /// Replaces the note as a whole: whoever ends this program leaves no half of it.
    fn write(&self, noted: &Noted) -> anyhow::Result<()> {
        let new = self.path.with_added_extension("new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&serde_json::to_vec(noted)?)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        });
        written.with_context(|| format!("cannot write {self}"))
    }

    pub(super) fn remove(&self) -> anyhow::Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {self}"))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}
