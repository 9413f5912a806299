//! Where to listen.

use std::{net::SocketAddr, str::FromStr};

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Both loopback addresses.
    Localhost {
        /// 0: a free one.
        port: u16,
    },
    /// One address.
    Address(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("takes HOST:PORT, such as localhost:8080 or 127.0.0.1:0; it was {text:?}");
        let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
        let port: u16 = port.parse().map_err(|_| shape())?;
        if host == "localhost" {
            return Ok(Self::Localhost { port });
        }
        text.parse().map(Self::Address).map_err(|_| shape())
    }
}

impl Listen {
    /// Whether others than this machine can reach it.
    pub fn is_reached_by_others(self) -> bool {
        matches!(self, Self::Address(address) if !address.ip().is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_who_reaches_it() {
        assert_eq!("localhost:0".parse(), Ok(Listen::Localhost { port: 0 }));
        for (text, by_others) in [
            ("localhost:0", false),
            ("127.0.0.1:8080", false),
            ("[::1]:8080", false),
            ("0.0.0.0:8080", true),
            ("[::]:8080", true),
            ("192.0.2.1:80", true),
        ] {
            let listen: Listen = text.parse().expect(text);
            assert_eq!(listen.is_reached_by_others(), by_others, "{text}");
        }
        for malformed in ["", "8080", "localhost", "localhost:x", "example.com:80"] {
            assert!(malformed.parse::<Listen>().expect_err(malformed).contains("HOST:PORT"));
        }
    }
}
