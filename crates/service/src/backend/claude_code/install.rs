//! `claude install`: the pinned CLI, fetched, checked, and put in place. Nothing is ever in place that was not checked.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::Response;
use sha2::{Digest, Sha512};
use tokio::io::AsyncWriteExt;

use super::{find::installed_at, package::Package, slots::nobody_else_s, unpack::unpack};
use crate::{
    digest::{hex, sha256_of},
    tls,
};

/// Where packages are when nothing else is said.
pub const REGISTRY: &str = "https://registry.npmjs.org";

/// Far more than any package has.
const TARBALL_BYTES_MAX: u64 = 1 << 30;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(100);

/// What to install, and where from.
#[derive(Debug)]
pub struct Install<'a> {
    /// What.
    pub package: &'a Package,
    /// The npm registry that has it.
    pub registry: &'a str,
    /// The service's folder.
    pub data_dir: &'a Path,
    /// Fetch it even when an intact one is there.
    pub force: bool,
    /// How long the registry may say nothing.
    pub silence_max: Duration,
}

/// What came of it; the program is at this path.
#[derive(Debug, PartialEq, Eq)]
pub enum Installed {
    /// It was there.
    Before(PathBuf),
    /// It was fetched.
    Now(PathBuf),
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another process installs into the same folder.
    Waiting,
    /// So many bytes have come.
    Fetching {
        /// Until now.
        bytes: u64,
        /// In all, where the registry has said.
        of: Option<u64>,
    },
    /// The tarball is checked, and is unpacked.
    Unpacking,
}

/// Why nothing was installed, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The folder cannot be written to.
    #[error("cannot write to {path}: {error}; choose another folder with --data-dir")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no room, most likely.
    #[error("cannot unpack the package in {path}: {error}; make room there, or choose another folder with --data-dir")]
    Unpack {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The registry's address is none, or the system has no certificates.
    #[error("cannot ask {url}: {problem}; --registry takes the address of an npm registry")]
    Registry {
        /// What was to be asked.
        url: String,
        /// Why not.
        problem: String,
    },
    /// The registry does not answer.
    #[error("{url} cannot be reached ({problem}); try again, or name another registry with --registry")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        problem: String,
    },
    /// The registry does not give it.
    #[error("{url} answers {status}; name a registry that has the package with --registry")]
    Refused {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// Not all of it came.
    #[error("the download of {url} broke off after {bytes} bytes ({problem}), and nothing of it was kept; try again")]
    BrokenOff {
        /// What was asked.
        url: String,
        /// What had come.
        bytes: u64,
        /// Why.
        problem: String,
    },
    /// It is something else.
    #[error(
        "what {url} sent is not the published package (its SHA-512 is {}…, and not {}…), and nothing of it was kept; try again, or \
         name another registry with --registry",
        &found[..16],
        &published[..16]
    )]
    NotPublished {
        /// What was asked.
        url: String,
        /// Its digest.
        found: String,
        /// What that should be.
        published: &'static str,
    },
}

impl Install<'_> {
    /// Installs it. Dropping this leaves nothing behind.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub async fn run(&self, told: &mut (dyn FnMut(Step) + Send)) -> Result<Installed, InstallError> {
        let program = installed_at(self.data_dir);
        if !self.force && self.is_intact(&program) {
            return Ok(Installed::Before(program));
        }
        let folder = self.data_dir.join("claude");
        let _lock = self.lock(&folder, told).await?;
        // Another process may have done so meanwhile.
        if !self.force && self.is_intact(&program) {
            return Ok(Installed::Before(program));
        }
        let work = Work::new(&folder).map_err(at(&folder))?;
        let tarball = work.0.join("package.tgz");
        self.fetch(&tarball, told).await?;
        told(Step::Unpacking);
        let (unpacked, published) = (work.0.join("claude"), self.package.program_sha256);
        let into = unpacked.clone();
        let unpacking = tokio::task::spawn_blocking(move || unpack(&tarball, &into, published));
        let unpacked_to = unpacking.await.expect("unpacking does not panic");
        unpacked_to.map_err(|error| InstallError::Unpack { path: folder.clone(), error })?;
        put_in_place(&unpacked, &program).map_err(at(&folder))?;
        Ok(Installed::Now(program))
    }

    fn is_intact(&self, program: &Path) -> bool {
        sha256_of(program).is_ok_and(|digest| digest == self.package.program_sha256)
    }

    /// The folder, for this process alone until the lock is dropped.
    async fn lock(&self, folder: &Path, told: &mut (dyn FnMut(Step) + Send)) -> Result<File, InstallError> {
        fs::create_dir_all(folder).map_err(at(folder))?;
        let file = nobody_else_s(&folder.join("install.lock")).map_err(at(folder))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => told(Step::Waiting),
                Err(TryLockError::Error(error)) => return Err(at(folder)(error)),
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    async fn fetch(&self, tarball: &Path, told: &mut (dyn FnMut(Step) + Send)) -> Result<(), InstallError> {
        let (address, url) = (self.package.url(self.registry), self.package.url(without_password(self.registry)));
        let mut response = self.ask(&address, &url).await?;
        let of = response.content_length();
        let mut file = tokio::fs::File::create(tarball).await.map_err(at(tarball))?;
        let (mut hash, mut bytes) = (Sha512::new(), 0);
        let broken_off = |bytes, problem| InstallError::BrokenOff { url: url.clone(), bytes, problem };
        while let Some(chunk) = response.chunk().await.map_err(|error| broken_off(bytes, cause(&error)))? {
            bytes += chunk.len() as u64;
            if bytes > TARBALL_BYTES_MAX {
                return Err(broken_off(bytes, "far more than the package has".to_owned()));
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(at(tarball))?;
            told(Step::Fetching { bytes, of });
        }
        file.flush().await.map_err(at(tarball))?;
        let (found, published) = (hex(&hash.finalize()), self.package.tarball_sha512);
        if found == published { Ok(()) } else { Err(InstallError::NotPublished { url, found, published }) }
    }

    /// Asks this address, which is told as `url`.
    async fn ask(&self, address: &str, url: &str) -> Result<Response, InstallError> {
        let registry = |problem| InstallError::Registry { url: url.to_owned(), problem };
        let tls = tls::config().map_err(|error| registry(error.to_string()))?;
        let http = reqwest::Client::builder()
            .user_agent(concat!("claude-code-api/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(self.silence_max)
            .http1_only()
            .tls_backend_preconfigured(tls);
        let http = http.build().map_err(|error| registry(cause(&error)))?;
        let response = http.get(address).send().await.map_err(|error| {
            let problem = cause(&error);
            if error.is_builder() {
                return registry(problem);
            }
            InstallError::Unreachable { url: url.to_owned(), problem }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(InstallError::Refused { url: url.to_owned(), status: status.as_u16() })
    }
}

/// A folder that goes away with what is in it.
struct Work(PathBuf);

impl Work {
    /// Whoever calls this has the lock: what is there is of a process that has died.
    fn new(folder: &Path) -> io::Result<Self> {
        let work = Self(folder.join(".install"));
        work.remove()?;
        fs::create_dir(&work.0)?;
        Ok(work)
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(path = %self.0.display(), %error, "what was left of an installation cannot be removed");
        }
    }
}

/// A process that runs the one which is there keeps it.
fn put_in_place(unpacked: &Path, program: &Path) -> io::Result<()> {
    if let Some(folder) = program.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::rename(unpacked, program)
}

/// The address without a user and password, which npm takes in it.
fn without_password(registry: &str) -> &str {
    registry.rsplit_once('@').map_or(registry, |(_, host)| host)
}

fn at(path: &Path) -> impl Fn(io::Error) -> InstallError {
    move |error| InstallError::Folder { path: path.to_owned(), error }
}

/// The last of an error's causes: those before it only say that a request failed.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}
