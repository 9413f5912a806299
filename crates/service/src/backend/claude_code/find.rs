//! Which program is run.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::package::VERSION;

/// Where a program was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The operator has named it.
    Named,
    /// `claude install` has put it in place.
    Installed,
    /// It is the first `claude` on the search path.
    Path,
}

/// A Claude Code CLI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The program.
    pub path: PathBuf,
    /// Where that came from.
    pub origin: Origin,
}

/// There is none.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// What was named is no program.
    #[error("there is no program at {0}, which --claude-code-path names")]
    Named(PathBuf),
    /// Nothing is anywhere.
    #[error(
        "there is no Claude Code CLI at {}, and no `claude` on the PATH; run `claude-code-api claude install --data-dir {}`, or name \
         one with --claude-code-path", installed_at(.data_dir).display(), .data_dir.display()
    )]
    Nowhere {
        /// Where it was looked for.
        data_dir: PathBuf,
    },
}

/// Where `claude install` puts it.
pub fn installed_at(data_dir: &Path) -> PathBuf {
    data_dir.join("claude").join(VERSION).join("claude")
}

/// The one that was named, else the one that was installed, else the first on the search path.
///
/// # Errors
/// There is none.
pub fn find(named: Option<&Path>, data_dir: &Path, search_path: &[PathBuf]) -> Result<Found, NotFound> {
    if let Some(path) = named {
        let found = path.is_file().then(|| Found { path: absolute(path), origin: Origin::Named });
        return found.ok_or_else(|| NotFound::Named(path.to_owned()));
    }
    let installed = installed_at(data_dir);
    if installed.is_file() {
        return Ok(Found { path: absolute(&installed), origin: Origin::Installed });
    }
    let on_path = search_path.iter().map(|folder| folder.join("claude")).find(|path| path.is_file());
    let found = on_path.map(|path| Found { path: absolute(&path), origin: Origin::Path });
    found.ok_or_else(|| NotFound::Nowhere { data_dir: absolute(data_dir) })
}

/// It is started in another folder than this process.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_goes_before_what_is_installed_and_that_before_the_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let (data_dir, bin) = (folder.path().join("data"), folder.path().join("bin"));
        let search_path = [folder.path().join("empty"), bin.clone()];
        let find = |named: Option<&Path>| find(named, &data_dir, &search_path).map(|found| (found.path, found.origin));
        let missing = find(None).expect_err("nothing is there").to_string();
        assert!(missing.contains("claude install"), "{missing}");
        let put = |path: &Path| {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
            std::fs::write(path, "").expect("a file");
            path.to_owned()
        };
        let on_path = put(&bin.join("claude"));
        assert_eq!(find(None).expect("found"), (on_path.clone(), Origin::Path));
        let installed = put(&installed_at(&data_dir));
        assert_eq!(find(None).expect("found"), (installed, Origin::Installed));
        assert_eq!(find(Some(&on_path)).expect("found"), (on_path, Origin::Named));
        assert!(matches!(find(Some(folder.path())), Err(NotFound::Named(_))), "a folder is no program");
    }
}
