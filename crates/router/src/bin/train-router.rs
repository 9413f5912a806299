//! Trains a router, or judges one, on a folder of prompts with outcomes.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use claude_code_api_router::{
    Router,
    bench::{self, Prices, Subject},
    data::Folder,
    train,
};

#[derive(Parser)]
struct Arguments {
    /// The folder.
    #[arg(long)]
    data: PathBuf,
    /// Where the trained router goes.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Judge instead.
    #[arg(long)]
    judge: Option<Judge>,
    /// The router to judge, instead of the shipped one.
    #[arg(long)]
    router: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Judge {
    /// A router as it is.
    Router,
    /// Training, cross-validated by group.
    Training,
    /// Training, each source by a router that has not seen it.
    Sources,
}

const PRICES: Prices = Prices { input: [0.10, 2.0, 4.0], output: [0.50, 10.0, 20.0] };

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = Folder::read(&arguments.data)?;
    if let Some(judge) = arguments.judge {
        let router = match &arguments.router {
            None => Router::shipped().clone(),
            Some(path) => Router::parse(&std::fs::read(path)?).with_context(|| path.display().to_string())?,
        };
        let subject = match judge {
            Judge::Router => Subject::Router(&router),
            Judge::Training => Subject::CrossValidated,
            Judge::Sources => Subject::SourcesApart,
        };
        print!("{}", bench::run(&folder, subject, &PRICES)?);
    }
    if let Some(path) = arguments.output {
        let router = train::train(&folder)?;
        let file = router.to_bytes();
        std::fs::write(&path, &file).with_context(|| path.display().to_string())?;
        println!("{}: router {}, {} bytes", path.display(), router.version(), file.len());
    }
    Ok(())
}
