//! Pins: which tier a conversation is with. Going back and forth between models would throw its prompt cache away at every turn.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use claude_code_api_router::Tier;

use super::prompt::ConversationKey;

/// How many conversations are remembered for certain; up to twice as many are, and those that were heard of last.
const CONVERSATIONS: usize = 50_000;

/// The tiers of conversations, for as long as there is room.
#[derive(Default)]
pub(crate) struct Pins(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: BTreeMap<ConversationKey, Tier>,
    old: BTreeMap<ConversationKey, Tier>,
}

impl Pins {
    /// The tier that it is with.
    pub(super) fn of(&self, conversation: &ConversationKey) -> Option<Tier> {
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.get(conversation).or_else(|| generations.old.get(conversation)).copied()
    }

    /// From now on it is with this tier.
    pub(super) fn pin(&self, conversation: ConversationKey, tier: Tier) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= CONVERSATIONS {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(conversation, tier);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_conversations_the_last_are_remembered_and_memory_is_bounded() {
        let pins = Pins::default();
        let key = |number: usize| {
            let mut key = ConversationKey::default();
            key[..8].copy_from_slice(&number.to_le_bytes());
            key
        };
        for number in 0..5 * CONVERSATIONS {
            pins.pin(key(number), Tier::Opus);
            assert_eq!(pins.of(&key(number)), Some(Tier::Opus));
        }
        assert_eq!(pins.of(&key(0)), None);
        assert_eq!(pins.of(&key(4 * CONVERSATIONS)), Some(Tier::Opus));
        let generations = pins.0.lock().expect("nobody panicked");
        assert!(generations.young.len() + generations.old.len() <= 2 * CONVERSATIONS);
    }
}
