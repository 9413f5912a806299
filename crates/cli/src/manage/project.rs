//! `project`: who pays, and what each may use.

use std::{process::ExitCode, str::FromStr};

use clap::{Args, Subcommand, ValueEnum};
use claude_code_api_router::Tier;
use claude_code_api_service::money::Nanos;
use claude_code_api_wire::{Clamp, Project, ProjectChange, ProjectList, Routing};

use super::{Folder, Method, lines, part};

#[derive(Subcommand)]
pub(crate) enum ProjectCommand {
    /// Make a project, or change its limits; what is not given stays as it is
    Set(Box<Set>),
    /// Show every project with its limits
    List,
    /// Show one project with its limits
    Show {
        /// Its name
        name: String,
    },
}

#[derive(Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Set {
    /// The project's name: letters, digits, '.', '_', '-' and ':'
    name: String,
    /// Tokens a day, in and out; none: without limit
    #[arg(long, value_name = "TOKENS")]
    tokens_per_day: Option<Most<i64>>,
    /// Tokens a week, from Monday on
    #[arg(long, value_name = "TOKENS")]
    tokens_per_week: Option<Most<i64>>,
    /// Tokens a month
    #[arg(long, value_name = "TOKENS")]
    tokens_per_month: Option<Most<i64>>,
    /// USD a day, such as 12.50; none: without limit
    #[arg(long, value_name = "USD")]
    usd_per_day: Option<Most<Nanos>>,
    /// USD a week, from Monday on
    #[arg(long, value_name = "USD")]
    usd_per_week: Option<Most<Nanos>>,
    /// USD a month
    #[arg(long, value_name = "USD")]
    usd_per_month: Option<Most<Nanos>>,
    /// Calls that may begin in a minute
    #[arg(long, value_name = "COUNT")]
    requests_per_minute: Option<Most<u32>>,
    /// Calls that may run at a time; more wait for their turn
    #[arg(long, value_name = "COUNT")]
    calls_max: Option<Most<u32>>,
    /// When `max_tokens` is lowered to what the budget covers: never, when the caller set none, or always
    #[arg(long, value_enum)]
    clamp: Option<ClampName>,
    /// Whether calls that a subscription pays for may be made where only money is limited, which they cost none of
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_notional: Option<bool>,
    /// What `auto` may lose to save money: economy, balanced, quality, or per cent; `none`: what the service has it be
    #[arg(long, value_name = "economy|balanced|quality|PERCENT", value_parser = or_none(Routing::parse))]
    routing: Option<Choice<Routing>>,
    /// The least tier that `auto` picks: haiku, sonnet or opus; `none`: any
    #[arg(long, value_name = "TIER", value_parser = or_none(tier))]
    tier_min: Option<Choice<String>>,
    /// The strongest tier that `auto` picks
    #[arg(long, value_name = "TIER", value_parser = or_none(tier))]
    tier_max: Option<Choice<String>>,
}

/// One, or `none`.
#[derive(Clone)]
struct Choice<T>(Option<T>);

fn or_none<T>(parse: fn(&str) -> Result<T, String>) -> impl Fn(&str) -> Result<Choice<T>, String> + Clone {
    move |text| if text == "none" { Ok(Choice(None)) } else { parse(text).map(|value| Choice(Some(value))) }
}

fn tier(name: &str) -> Result<String, String> {
    let known = Tier::ALL.into_iter().find(|tier| tier.as_str() == name);
    known.map(|tier| tier.as_str().to_owned()).ok_or_else(|| "takes haiku, sonnet, opus, or none".to_owned())
}

/// So many, or `none`.
#[derive(Clone, Copy)]
struct Most<T>(Option<T>);

impl<T: FromStr + Default + PartialOrd> FromStr for Most<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let count = text.parse().ok().filter(|count| *count >= T::default());
        count.map(|count| Self(Some(count))).ok_or_else(|| "takes a number, 0 or more, or none".to_owned())
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum ClampName {
    Never,
    Unset,
    Always,
}

impl From<ClampName> for Clamp {
    fn from(name: ClampName) -> Self {
        match name {
            ClampName::Never => Self::Never,
            ClampName::Unset => Self::Unset,
            ClampName::Always => Self::Always,
        }
    }
}

impl ProjectCommand {
    pub(crate) fn run(self, folder: Folder) -> anyhow::Result<ExitCode> {
        let service = folder.open()?;
        let described = |project: &Project| described(project) + "\n";
        match self {
            Self::List => {
                let list: ProjectList = service.get("/v1/projects")?;
                service.show(&list, |list| lines(&list.projects, self::described))?;
            }
            Self::Show { name } => service.show(&service.get(&path(&name))?, described)?,
            Self::Set(set) => {
                service.show(&service.send(Method::PUT, &path(&set.name), &set.change())?, described)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn path(name: &str) -> String {
    format!("/v1/projects/{}", part(name))
}

impl Set {
    fn change(&self) -> ProjectChange {
        let usd = |most: Option<Most<Nanos>>| most.map(|most| most.0.map(Nanos::usd));
        ProjectChange {
            tokens_per_day: self.tokens_per_day.map(|most| most.0),
            tokens_per_week: self.tokens_per_week.map(|most| most.0),
            tokens_per_month: self.tokens_per_month.map(|most| most.0),
            usd_per_day: usd(self.usd_per_day),
            usd_per_week: usd(self.usd_per_week),
            usd_per_month: usd(self.usd_per_month),
            requests_per_minute: self.requests_per_minute.map(|most| most.0),
            calls_max: self.calls_max.map(|most| most.0),
            clamp: self.clamp.map(Clamp::from),
            allow_notional: self.allow_notional,
            routing: self.routing.clone().map(|choice| choice.0),
            tier_min: self.tier_min.clone().map(|choice| choice.0),
            tier_max: self.tier_max.clone().map(|choice| choice.0),
        }
    }
}

/// A project on one line.
fn described(project: &Project) -> String {
    let limits = &project.limits;
    let tokens = [(limits.tokens_per_day, "day"), (limits.tokens_per_week, "week"), (limits.tokens_per_month, "month")];
    let money = [(limits.usd_per_day, "day"), (limits.usd_per_week, "week"), (limits.usd_per_month, "month")];
    let tokens = tokens.into_iter().filter_map(|(most, period)| Some(format!("{} tokens a {period}", most?)));
    let money = money.into_iter().filter_map(|(most, period)| Some(format!("${} a {period}", most?)));
    let pace = limits.requests_per_minute.map(|count| format!("{count} calls a minute"));
    let width = limits.calls_max.map(|count| format!("{count} calls at a time"));
    let mut all: Vec<String> = tokens.chain(money).chain(pace).chain(width).collect();
    if all.is_empty() {
        all.push("without limit".to_owned());
    }
    let clamp = match limits.clamp {
        Clamp::Never => "never",
        Clamp::Unset => "unset",
        Clamp::Always => "always",
    };
    let notional = if limits.allow_notional { "; allow_notional" } else { "" };
    let routing = limits.routing.map_or_else(String::new, |routing| format!("; routing {routing}"));
    let tiers = [("tier_min", &limits.tier_min), ("tier_max", &limits.tier_max)];
    let tiers = tiers.map(|(name, tier)| tier.as_ref().map_or_else(String::new, |tier| format!("; {name} {tier}")));
    format!("{}: {}; clamp {clamp}{notional}{routing}{}", project.id, all.join(", "), tiers.concat())
}
