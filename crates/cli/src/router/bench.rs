//! `router bench`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use claude_code_api_router::{
    RouterError, Tier,
    bench::{self, Prices, Subject},
    data::Folder,
};
use claude_code_api_service::{
    config::{Config, Settings},
    money::Nanos,
    window::Moment,
};

use super::opened;

#[derive(Args)]
pub(crate) struct Bench {
    /// The folder; docs/router.md says how it is made
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// What is judged; several, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "router,crossed,apart")]
    judge: Vec<Judge>,
    /// The router that is judged [default: that of this program]
    #[arg(long, value_name = "FILE")]
    router: Option<PathBuf>,
    /// Settings in TOML, whose `[[prices]]` are added to the published ones
    #[arg(long, env = "CLAUDE_CODE_API_SERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Judge {
    /// The way of training: each fifth of the folder by a router trained on the rest
    Crossed,
    /// The same with whole sources in the place of fifths
    Apart,
    /// A router as it is. On prompts that it was trained on that is no test
    Router,
}

impl Bench {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (folder, router, prices) = (Folder::read(&self.data)?, opened(self.router.as_ref())?, self.prices()?);
        for judge in &self.judge {
            let subject = match judge {
                Judge::Crossed => Subject::CrossValidated,
                Judge::Apart => Subject::SourcesApart,
                Judge::Router => Subject::Router(&router),
            };
            let report = match bench::run(&folder, subject, &prices) {
                // The folder is one to judge on, and not to train on.
                Err(RouterError::TooLittle(what)) if self.judge.len() > 1 => {
                    eprintln!("{judge:?}: not judged, as training takes more than the folder has: {what}");
                    continue;
                }
                report => report?,
            };
            if self.json {
                writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
            } else {
                write!(io::stdout(), "{report}")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What the tiers cost now.
    fn prices(&self) -> anyhow::Result<Prices> {
        let claude = Config::from_settings(&Settings::default())?.anthropic;
        let models = [&claude.model_haiku, &claude.model_sonnet, &claude.model_opus];
        let (table, now) = (Config::prices_of(self.config.as_deref())?, Moment::of_system());
        let mut prices = Prices { input: [0.0; 3], output: [0.0; 3] };
        for (tier, model) in Tier::ALL.into_iter().zip(models) {
            let rate = table.rate(model, now, 0).with_context(|| format!("{model} has no price"))?;
            prices.input[tier as usize] = Nanos(rate.input).usd();
            prices.output[tier as usize] = Nanos(rate.output).usd();
        }
        Ok(prices)
    }
}
