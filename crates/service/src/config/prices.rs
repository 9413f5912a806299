//! Prices in the configuration: rows that are added to the published ones, or replace those of a model.

use serde::Deserialize;

use crate::{
    money::Nanos,
    price::{Rate, Row},
    window::Moment,
};

/// A row of prices, `[[prices]]` in the file: USD for a million tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceSetting {
    /// Id of the model.
    pub model: String,
    /// The most tokens of a prompt in this band; without it the row is for all.
    pub prompt_tokens_max: Option<u64>,
    /// From when it holds, such as `2027-01-01`; without it always.
    pub from: Option<String>,
    /// Tokens in.
    pub input: Usd,
    /// Tokens out.
    pub output: Usd,
    /// Tokens written to the cache for 5 minutes.
    pub cache_write_5m: Usd,
    /// Tokens written to the cache for an hour.
    pub cache_write_1h: Usd,
    /// Tokens read from the cache.
    pub cache_read: Usd,
}

/// USD, read exactly from a number or a text.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Usd(pub Nanos);

impl TryFrom<toml::Value> for Usd {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse().map(Self)
    }
}

impl PriceSetting {
    /// The row, or what is wrong with it.
    pub(super) fn row(&self) -> Result<Row, String> {
        let from = self.from.as_deref().map(|date| {
            let moment = Moment::parse(&format!("{date}T00:00:00Z"));
            moment.ok_or_else(|| format!("from takes a date, such as 2027-01-01; it was {date:?}"))
        });
        let nanos = |usd: Usd| usd.0.0;
        Ok(Row {
            model: self.model.clone().into(),
            prompt_tokens_max: self.prompt_tokens_max.unwrap_or(u64::MAX),
            from: from.transpose()?.unwrap_or_default(),
            rate: Rate {
                input: nanos(self.input),
                output: nanos(self.output),
                cache_write_5m: nanos(self.cache_write_5m),
                cache_write_1h: nanos(self.cache_write_1h),
                cache_read: nanos(self.cache_read),
            },
        })
    }
}
