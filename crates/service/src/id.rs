//! Ids: text, a prefix that says of what, and a UUID of version 7, so that they sort by time.

use std::fmt;

use uuid::Uuid;

/// Defines an id with its prefix.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id.
            #[expect(clippy::new_without_default, reason = "every new id is another one")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id as stores keep it.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Reads what [`Self::as_bytes`] gives.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The id as databases keep it that have a type for it.
            pub fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            /// Reads what [`Self::as_uuid`] gives.
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Reads what `Display` writes.
            pub fn parse(text: &str) -> Option<Self> {
                Uuid::try_parse(text.strip_prefix($prefix)?).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }
    };
}

id!(
    /// Id of one call: `call_…`.
    CallId,
    "call_"
);
id!(
    /// Id of one attempt of a call: of its reservation, and of the entry that this becomes: `entry_…`.
    EntryId,
    "entry_"
);
id!(
    /// Id of a stored batch: `batch_…`.
    BatchId,
    "batch_"
);
id!(
    /// Id of a slice of an economy batch: `slice_…`.
    SliceId,
    "slice_"
);
id!(
    /// Id of a key: `key_…`. It is no secret; the key is.
    KeyId,
    "key_"
);
id!(
    /// Id of one HTTP request: `req_…`.
    RequestId,
    "req_"
);
