//! The headers by which every answer says who is served, and how much more of it there may be.

use std::iter::once;

use claude_code_api_service::window::Moment;

/// What is limited, by its name in the headers, and how much there may be of it a minute.
const LIMITS: [(&str, u64); 4] =
    [("requests", 4_000), ("tokens", 4_800_000), ("input-tokens", 4_000_000), ("output-tokens", 800_000)];

const RESET_MS: i64 = 1_000;

/// The headers of an answer with this status. How much is left does not change, except that with 429 it is nothing.
pub(super) fn headers(status: u16) -> impl Iterator<Item = (String, String)> {
    let organization = ("anthropic-organization-id".to_owned(), "00000000-0000-4000-8000-000000000000".to_owned());
    let reset_at = Moment(Moment::of_system().unix_seconds() * 1_000 + RESET_MS).rfc3339();
    let of_limit = move |(what, limit): (&str, u64)| {
        let remaining = if status == 429 { 0 } else { limit - limit / 1_000 };
        [("limit", limit.to_string()), ("remaining", remaining.to_string()), ("reset", reset_at.clone())]
            .map(|(which, value)| (format!("anthropic-ratelimit-{what}-{which}"), value))
    };
    once(organization).chain(LIMITS.into_iter().flat_map(of_limit))
}
