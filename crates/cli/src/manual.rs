//! `completions` and `man`: made from the same description of the command line that reads it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::roff::{Roff, roman};

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  source <(claude-code-api completions bash)
  claude-code-api completions zsh > ~/.zfunc/_claude-code-api
  claude-code-api completions fish > ~/.config/fish/completions/claude-code-api.fish";

pub(crate) const MAN_EXAMPLES: &str = "\
Examples:
  claude-code-api man | man -l -
  claude-code-api man ~/.local/share/man/man1";

#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, mut command: Command) -> anyhow::Result<ExitCode> {
        // It panics where it cannot write, as into a pipe that was closed.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "claude-code-api", &mut script);
        // clap_complete 4.6 has two names for a program with hyphens in bash, and so completes nothing after its commands.
        let script = String::from_utf8(script)?.replace("claude__subcmd__code__subcmd__api", "claude__code__api");
        io::stdout().write_all(script.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub(crate) struct Man {
    /// Write a page for each command into this folder, and print none
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, command: Command) -> anyhow::Result<ExitCode> {
        let mut command = command.disable_help_subcommand(true);
        command.build();
        match self.folder {
            None => io::stdout().write_all(&page(&command)?.1)?,
            Some(folder) => {
                let written = fs::create_dir_all(&folder).and_then(|()| write_pages(&command, &folder));
                written.with_context(|| format!("cannot write the pages to {}", folder.display()))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    let (name, page) = page(command)?;
    fs::write(folder.join(name), page)?;
    command.get_subcommands().try_for_each(|command| write_pages(command, folder))
}

/// The name of a page's file, and what stands in it.
fn page(command: &Command) -> io::Result<(String, Vec<u8>)> {
    let man = clap_mangen::Man::new(command.clone()).source(concat!("claude-code-api ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(after) = command.get_after_help() {
        as_written(&after.to_string()).to_writer(&mut page)?;
    }
    Ok((man.get_filename(), in_ascii(&page)))
}

/// What is beyond ASCII as escapes, which every troff reads.
fn in_ascii(page: &[u8]) -> Vec<u8> {
    let escaped = |char: char| if char.is_ascii() { char.into() } else { format!("\\[u{:04X}]", u32::from(char)) };
    String::from_utf8_lossy(page).chars().map(escaped).collect::<String>().into()
}

/// Examples and exit codes: the lines as they are, which `clap_mangen` would run together.
fn as_written(text: &str) -> Roff {
    let (heading, lines) = text.split_once(":\n").expect("what comes after the options has a heading");
    let mut roff = Roff::new();
    roff.control("SH", [heading.to_uppercase().as_str()]).control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff
}
