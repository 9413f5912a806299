//! Prices: what a model's tokens cost. Dated and banded data, and exact integer arithmetic on it.
//!
//! Source: Anthropic's published prices up to early November 2026. The configuration may add rows, or replace those of a model.

use std::borrow::Cow;

use crate::{money::Nanos, usage::Usage, window::Moment};

/// Nano-dollars for a million tokens of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Read, not through the cache.
    pub input: i64,
    /// Generated.
    pub output: i64,
    /// Written to the cache for 5 minutes.
    pub cache_write_5m: i64,
    /// Written to the cache for an hour.
    pub cache_write_1h: i64,
    /// Read from the cache.
    pub cache_read: i64,
}

impl Rate {
    /// In ten-thousandths of a dollar for a million tokens, as the table below is written.
    const fn published(input: i64, output: i64, cache_write_5m: i64, cache_write_1h: i64, cache_read: i64) -> Self {
        const NANOS: i64 = 100_000;
        Self {
            input: input * NANOS,
            output: output * NANOS,
            cache_write_5m: cache_write_5m * NANOS,
            cache_write_1h: cache_write_1h * NANOS,
            cache_read: cache_read * NANOS,
        }
    }

    /// What these tokens cost on these terms: rounded up to the nano-dollar, once.
    pub fn cost(&self, usage: &Usage, terms: Terms) -> Nanos {
        if terms.batch {
            return self.halved().cost(usage, Terms { batch: false, ..terms });
        }
        let cached = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens + usage.cache_read_tokens;
        let parts = [
            (usage.input_tokens.saturating_sub(cached), self.input),
            (usage.output_tokens, self.output),
            (usage.cache_write_5m_tokens, self.cache_write_5m),
            (usage.cache_write_1h_tokens, self.cache_write_1h),
            (usage.cache_read_tokens, self.cache_read),
        ];
        let sum: i128 = parts.iter().map(|(tokens, price)| i128::from(*tokens) * i128::from(*price)).sum();
        let (times, of) = terms.factor();
        let (sum, per) = (sum * times, 1_000_000 * of);
        let nanos = sum / per + i128::from(sum % per > 0);
        Nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// The rate of Message Batches: half of every column, rounded up.
    #[must_use]
    pub fn halved(&self) -> Self {
        let half = |price: i64| price / 2 + price % 2;
        Self {
            input: half(self.input),
            output: half(self.output),
            cache_write_5m: half(self.cache_write_5m),
            cache_write_1h: half(self.cache_write_1h),
            cache_read: half(self.cache_read),
        }
    }

    /// The dearer of each.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_write_5m: self.cache_write_5m.max(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
            cache_read: self.cache_read.max(other.cache_read),
        }
    }
}

/// How a call was served, as far as that changes what its tokens cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each changes the price, or not, by itself")]
pub struct Terms {
    /// In fast mode, at twice the price: published for Opus 5.5 (8 / 40 USD).
    pub fast: bool,
    /// In the United States alone, at 1.1 times the price ("Data residency" in Anthropic's documentation of prices).
    pub in_us: bool,
    /// In a batch of the upstream's, at half the price.
    pub batch: bool,
    /// On terms that no table of prices covers.
    pub unknown: bool,
}

impl Terms {
    /// The factor of every price, as a fraction.
    fn factor(self) -> (i128, i128) {
        let fast = if self.fast { 2 } else { 1 };
        if self.in_us { (fast * 11, 10) } else { (fast, 1) }
    }
}

/// A row of the table: it holds for prompts within its band, from its date until a later row of the same band does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Id of the model.
    pub model: Cow<'static, str>,
    /// The most tokens of a prompt (input, cache reads and writes) in this band; the band holds for every token of the call.
    pub prompt_tokens_max: u64,
    /// From when it holds.
    pub from: Moment,
    /// The prices.
    pub rate: Rate,
}

const ALWAYS: Moment = Moment(0);
/// 2026-10-07T00:00:00Z.
const OCTOBER_7: Moment = Moment(1_791_331_200_000);
const ANY: u64 = u64::MAX;

const fn row(model: &'static str, prompt_tokens_max: u64, from: Moment, rate: Rate) -> Row {
    Row { model: Cow::Borrowed(model), prompt_tokens_max, from, rate }
}

const OPUS_5: Rate = Rate::published(50_000, 250_000, 62_500, 100_000, 5_000);
const SONNET_4: Rate = Rate::published(30_000, 150_000, 37_500, 60_000, 3_000);

/// Rows of one model stand from its lowest band to its highest, and in each from its first date to its last.
const PUBLISHED: [Row; 15] = [
    row("claude-haiku-5-5", 100_000, ALWAYS, Rate::published(1_000, 5_000, 1_250, 2_000, 100)),
    row("claude-haiku-5-5", ANY, ALWAYS, Rate::published(5_000, 25_000, 6_250, 10_000, 500)),
    row("claude-sonnet-5-5", ANY, ALWAYS, Rate::published(20_000, 100_000, 25_000, 40_000, 2_000)),
    row("claude-sonnet-5-5", ANY, OCTOBER_7, Rate::published(20_000, 100_000, 25_000, 40_000, 1_000)),
    row("claude-opus-5-5", ANY, ALWAYS, Rate::published(40_000, 200_000, 50_000, 80_000, 2_000)),
    row("claude-fable-5-1", ANY, ALWAYS, Rate::published(100_000, 500_000, 125_000, 200_000, 2_500)),
    row("claude-opus-5", ANY, ALWAYS, OPUS_5),
    row("claude-opus-4-5", ANY, ALWAYS, OPUS_5),
    row("claude-opus-4-6", ANY, ALWAYS, OPUS_5),
    row("claude-opus-4-7", ANY, ALWAYS, OPUS_5),
    row("claude-opus-4-8", ANY, ALWAYS, OPUS_5),
    row("claude-sonnet-5", ANY, ALWAYS, Rate::published(20_000, 100_000, 25_000, 40_000, 2_000)),
    row("claude-sonnet-4-6", ANY, ALWAYS, SONNET_4),
    row("claude-sonnet-4-5", ANY, ALWAYS, SONNET_4),
    row("claude-haiku-4-5", ANY, ALWAYS, Rate::published(10_000, 50_000, 12_500, 20_000, 1_000)),
];

/// The prices in force.
#[derive(Clone, Debug)]
pub struct PriceTable(Vec<Row>);

/// The price of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced {
    /// The money.
    pub cost: Nanos,
    /// The model has no price, and was charged at the dearest of each kind; or it was served on terms that have none.
    pub unpriced: bool,
}

impl Default for PriceTable {
    fn default() -> Self {
        Self(PUBLISHED.to_vec())
    }
}

impl PriceTable {
    /// The published prices, with these rows in the place of those of the models that they name.
    pub fn with(mut rows: Vec<Row>) -> Self {
        rows.sort_by(|one, other| {
            let place = |row: &Row| (row.prompt_tokens_max, row.from);
            one.model.cmp(&other.model).then_with(|| place(one).cmp(&place(other)))
        });
        let kept = PUBLISHED.into_iter().filter(|published| rows.iter().all(|row| row.model != published.model));
        Self(kept.chain(rows.iter().cloned()).collect())
    }

    /// Every row.
    pub fn rows(&self) -> &[Row] {
        &self.0
    }

    /// The price of a prompt of this many tokens; `None`: the model has none.
    pub fn rate(&self, model_id: &str, at: Moment, prompt_tokens: u64) -> Option<Rate> {
        let band = self.bands(model_id, at).find(|row| prompt_tokens <= row.prompt_tokens_max)?;
        // Of the rows of that band that have begun the last one holds.
        let rows = self.bands(model_id, at).filter(|row| row.prompt_tokens_max == band.prompt_tokens_max);
        rows.last().map(|row| row.rate)
    }

    /// The dearest that a prompt of at most this many tokens can be; `None`: the model has no price, or none for so many.
    pub fn worst(&self, model_id: &str, at: Moment, prompt_tokens_max: u64) -> Option<Rate> {
        self.rate(model_id, at, prompt_tokens_max)?;
        let mut edges: Vec<u64> =
            self.bands(model_id, at).map(|row| row.prompt_tokens_max.min(prompt_tokens_max)).collect();
        edges.dedup();
        edges.iter().filter_map(|edge| self.rate(model_id, at, *edge)).reduce(|rate, other| rate.max(&other))
    }

    /// What a call that has ended costs, by the model id in its answer.
    pub fn cost(&self, model_id: &str, at: Moment, usage: &Usage, terms: Terms) -> Priced {
        match self.rate(model_id, at, usage.input_tokens) {
            Some(rate) => Priced { cost: rate.cost(usage, terms), unpriced: terms.unknown },
            None => Priced { cost: self.dearest(at).cost(usage, terms), unpriced: true },
        }
    }

    /// The dearest price of each kind.
    pub fn dearest(&self, at: Moment) -> Rate {
        let in_force = self.0.iter().filter(|row| row.from <= at);
        in_force.fold(Rate::default(), |dearest, row| dearest.max(&row.rate))
    }

    fn bands<'a>(&'a self, model_id: &'a str, at: Moment) -> impl Iterator<Item = &'a Row> {
        let known = |id: &str| self.0.iter().any(|row| row.model == id);
        let id = if known(model_id) { model_id } else { without_date(model_id) };
        self.0.iter().filter(move |row| row.model == id && row.from <= at)
    }
}

/// The id without the date of its snapshot, as in `claude-haiku-4-5-20251001`.
fn without_date(model_id: &str) -> &str {
    match model_id.rsplit_once('-') {
        Some((id, date)) if date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) => id,
        _ => model_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(date: &str) -> Moment {
        Moment::parse(&format!("{date}T00:00:00Z")).expect("a date")
    }

    fn cost(rate: &Rate, usage: &Usage) -> Nanos {
        rate.cost(usage, Terms::default())
    }

    #[test]
    fn terms_multiply_every_price() {
        let (table, now) = (PriceTable::default(), at("2026-11-01"));
        let usage =
            Usage { input_tokens: 1_000_000, output_tokens: 1, cache_read_tokens: 1_000_000, ..Usage::default() };
        let cost = |fast, in_us, unknown| {
            table.cost("claude-opus-5-5", now, &usage, Terms { fast, in_us, unknown, ..Terms::default() })
        };
        let plain = Nanos(200_000_000 + 20_000);
        assert_eq!(cost(false, false, false), Priced { cost: plain, unpriced: false });
        assert_eq!(cost(true, false, false).cost, Nanos(2 * plain.0));
        assert_eq!(cost(false, true, false).cost, Nanos(220_000_000 + 22_000));
        assert_eq!(cost(true, true, true), Priced { cost: Nanos(440_000_000 + 44_000), unpriced: true });
        let one = Usage { input_tokens: 1, ..Usage::default() };
        let rate = Rate { input: 1_000_000, ..Rate::default() };
        assert_eq!(rate.cost(&one, Terms { in_us: true, ..Terms::default() }), Nanos(2), "1.1 is rounded up");
    }

    /// USD per million tokens, as they are published.
    #[test]
    fn every_row_is_as_published() {
        let (now, before) = (at("2026-11-01"), at("2026-10-06"));
        let cases = [
            ("claude-haiku-5-5", now, 0, [0.10, 0.50, 0.125, 0.20, 0.01]),
            ("claude-haiku-5-5", now, 100_000, [0.10, 0.50, 0.125, 0.20, 0.01]),
            ("claude-haiku-5-5", now, 100_001, [0.50, 2.50, 0.625, 1.00, 0.05]),
            ("claude-sonnet-5-5", now, 500_000, [2.0, 10.0, 2.50, 4.0, 0.10]),
            ("claude-sonnet-5-5", at("2026-10-07"), 1, [2.0, 10.0, 2.50, 4.0, 0.10]),
            ("claude-sonnet-5-5", before, 1, [2.0, 10.0, 2.50, 4.0, 0.20]),
            ("claude-opus-5-5", now, 1, [4.0, 20.0, 5.0, 8.0, 0.20]),
            ("claude-fable-5-1", now, 1, [10.0, 50.0, 12.50, 20.0, 0.25]),
            ("claude-opus-5", now, 1, [5.0, 25.0, 6.25, 10.0, 0.50]),
            ("claude-opus-4-5", now, 1, [5.0, 25.0, 6.25, 10.0, 0.50]),
            ("claude-opus-4-6", now, 1, [5.0, 25.0, 6.25, 10.0, 0.50]),
            ("claude-opus-4-7", now, 1, [5.0, 25.0, 6.25, 10.0, 0.50]),
            ("claude-opus-4-8", now, 1, [5.0, 25.0, 6.25, 10.0, 0.50]),
            ("claude-sonnet-5", now, 1, [2.0, 10.0, 2.50, 4.0, 0.20]),
            ("claude-sonnet-4-6", now, 1, [3.0, 15.0, 3.75, 6.0, 0.30]),
            ("claude-sonnet-4-5-20250929", now, 1, [3.0, 15.0, 3.75, 6.0, 0.30]),
            ("claude-haiku-4-5-20251001", now, 1, [1.0, 5.0, 1.25, 2.0, 0.10]),
        ];
        let table = PriceTable::default();
        for (model, at, prompt_tokens, usd) in cases {
            let rate = table.rate(model, at, prompt_tokens).unwrap_or_else(|| panic!("no price of {model}"));
            let columns = [rate.input, rate.output, rate.cache_write_5m, rate.cache_write_1h, rate.cache_read];
            #[expect(clippy::cast_possible_truncation, reason = "figures of a few digits")]
            let expected = usd.map(|usd: f64| (usd * 1e9).round() as i64);
            assert_eq!(columns, expected, "{model} at {prompt_tokens} tokens");
            assert_eq!(rate.halved().max(&rate), rate);
            assert!(columns.iter().all(|column| column % 2 == 0), "a half would be lost in a batch");
        }
        assert_eq!(table.rate("claude-unheard-of", now, 1), None);
    }

    #[test]
    fn every_kind_of_token_has_its_price_and_the_sum_is_rounded_up_once() {
        let rate = PriceTable::default().rate("claude-haiku-5-5", at("2026-11-01"), 1).expect("a price");
        let usage = |input_tokens, output_tokens, write_5m, write_1h, read| Usage {
            input_tokens,
            output_tokens,
            cache_write_5m_tokens: write_5m,
            cache_write_1h_tokens: write_1h,
            cache_read_tokens: read,
        };
        assert_eq!(cost(&rate, &usage(0, 0, 0, 0, 0)), Nanos(0));
        assert_eq!(cost(&rate, &usage(1, 1, 0, 0, 0)), Nanos(100 + 500));
        assert_eq!(cost(&rate, &usage(1_000, 0, 200, 300, 400)), Nanos(100 * 100 + 200 * 125 + 300 * 200 + 400 * 10));
        let odd = Rate { input: 1, output: 1, ..Rate::default() };
        assert_eq!(cost(&odd, &usage(1, 1, 0, 0, 0)), Nanos(1), "a part of a nano-dollar is one");
        assert_eq!(cost(&odd, &usage(1_000_000, 1, 0, 0, 0)), Nanos(2));
        assert_eq!(cost(&rate, &usage(u64::MAX, u64::MAX, 0, 0, 0)), Nanos(i64::MAX));
    }

    #[test]
    fn the_worst_of_a_bound_is_the_dearest_band_within_it() {
        let (table, now) = (PriceTable::default(), at("2026-11-01"));
        let worst = |model, tokens| table.worst(model, now, tokens).map(|rate| rate.input);
        assert_eq!(worst("claude-haiku-5-5", 100_000), Some(100_000_000));
        assert_eq!(worst("claude-haiku-5-5", 100_001), Some(500_000_000));
        assert_eq!(worst("claude-opus-5-5", 9), Some(4_000_000_000));
        assert_eq!(worst("claude-unheard-of", 9), None);
    }

    #[test]
    fn a_model_s_rows_are_replaced_or_added_as_a_whole() {
        let of = |model: &'static str, prompt_tokens_max, from, price| {
            let rate = Rate { input: price, output: price, ..Rate::default() };
            row(model, prompt_tokens_max, from, rate)
        };
        let (now, later) = (at("2026-11-01"), at("2027-01-01"));
        let table = PriceTable::with(vec![
            of("claude-haiku-5-5", ANY, later, 9),
            of("claude-next-6", ANY, ALWAYS, 7),
            of("claude-haiku-5-5", ANY, ALWAYS, 5),
            of("claude-next-6", 10, ALWAYS, 3),
        ]);
        let price = |model, at, tokens| table.rate(model, at, tokens).map(|rate| rate.input);
        assert_eq!(price("claude-haiku-5-5", now, 1), Some(5));
        assert_eq!(price("claude-haiku-5-5", later, 200_000), Some(9));
        assert_eq!((price("claude-next-6", now, 10), price("claude-next-6", now, 11)), (Some(3), Some(7)));
        assert_eq!(price("claude-opus-5-5", now, 1), Some(4_000_000_000), "the others stay");
        let short = PriceTable::with(vec![of("claude-short-1", 10, ALWAYS, 1)]);
        assert!(short.worst("claude-short-1", now, 10).is_some());
        assert_eq!(short.worst("claude-short-1", now, 11), None, "a band without price is not priced as another one");
        assert_eq!(PriceTable::with(Vec::new()).rows(), PriceTable::default().rows());
    }

    #[test]
    fn what_has_no_price_is_charged_at_the_dearest() {
        let (table, now) = (PriceTable::default(), at("2026-11-01"));
        let usage = Usage { input_tokens: 1_000_000, output_tokens: 1_000_000, ..Usage::default() };
        let priced = table.cost("claude-unheard-of", now, &usage, Terms::default());
        assert_eq!((priced.cost, priced.unpriced), (Nanos(60_000_000_000), true));
        assert!(!table.cost("claude-opus-5-5", now, &usage, Terms::default()).unpriced);
    }
}
