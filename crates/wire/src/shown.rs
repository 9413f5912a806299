//! Enums that have a word in JSON are shown as that word.

use std::fmt;

use serde::Serialize as _;

use crate::{
    BatchJobStatus, BatchStatus, BudgetUnit, ErrorCode, HealthStatus, Period, Role, ServiceStatus, StopReason,
};

macro_rules! shown_as_in_json {
    ($($name:ident)*) => {
        $(impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(f)
            }
        })*
    };
}

shown_as_in_json!(BatchJobStatus BatchStatus BudgetUnit ErrorCode HealthStatus Period Role ServiceStatus StopReason);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enum_is_shown_as_its_word_and_padded_as_a_text_is() {
        assert_eq!(format!("{:>10}|{:<6}|", ServiceStatus::Down, Period::Day), "      down|day   |");
        assert_eq!(ErrorCode::BudgetExceeded.to_string(), ErrorCode::BudgetExceeded.as_str());
        assert_eq!(StopReason::Unknown.to_string(), "unknown");
    }
}
