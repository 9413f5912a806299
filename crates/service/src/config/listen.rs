//! Where to listen: loopback only, as there are no keys.

use std::{net::SocketAddr, str::FromStr};

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Both loopback addresses.
    Localhost {
        /// 0: a free one.
        port: u16,
    },
    /// One loopback address.
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
        let address: SocketAddr = text.parse().map_err(|_| shape())?;
        if !address.ip().is_loopback() {
            return Err(format!(
                "takes a loopback address: the service has no keys, so that whoever reached {address} could spend; put a \
                 proxy that authenticates in front of it"
            ));
        }
        Ok(Self::Address(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_is_refused_with_the_reason() {
        assert_eq!("localhost:0".parse(), Ok(Listen::Localhost { port: 0 }));
        assert!("127.0.0.1:8080".parse::<Listen>().is_ok());
        assert!("[::1]:8080".parse::<Listen>().is_ok());
        for foreign in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
            assert!(foreign.parse::<Listen>().expect_err(foreign).contains("no keys"));
        }
        for malformed in ["", "8080", "localhost", "localhost:x", "example.com:80"] {
            assert!(malformed.parse::<Listen>().expect_err(malformed).contains("HOST:PORT"));
        }
    }
}
