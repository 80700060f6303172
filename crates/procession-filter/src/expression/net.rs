//! Addresses and networks, as the expressions of Kubernetes have them.
//!
//! A value of either is its canonical text, so that `==` compares what is meant and not how it is written.

use std::net::IpAddr;
use std::sync::Arc;

use cel::extractors::This;
use cel::{Context, ExecutionError};

/// The functions that give true or false.
pub(super) const TESTS: [&str; 9] = [
    "isIP",
    "isCIDR",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "containsIP",
    "containsCIDR",
];

/// The functions that give something else.
pub(super) const OTHERS: [&str; 5] = ["ip", "cidr", "family", "masked", "prefixLength"];

type Text = Arc<String>;
type Known<T> = Result<T, ExecutionError>;

/// An address and how many of its bits the network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    length: u8,
}

/// Adds all of them.
pub(super) fn add_to(context: &mut Context<'_, '_>) -> Result<(), Box<dyn std::error::Error>> {
    context.add_function("isIP", |text: Text| address(&text).is_ok())?;
    context.add_function("isCIDR", |text: Text| network(&text).is_ok())?;
    // `ip("…")` is an address; `cidr("…").ip()` is that of a network.
    context.add_function("ip", |This(text): This<Text>| -> Known<Text> {
        let address = address(&text).or_else(|error| network(&text).map(|it| it.address).map_err(|_| error));
        address.map(|address| address.to_string().into())
    })?;
    context.add_function("cidr", |text: Text| -> Known<Text> { Ok(network(&text)?.to_string().into()) })?;
    context.add_function("family", |This(text): This<Text>| -> Known<i64> {
        Ok(if address(&text)?.is_ipv4() { 4 } else { 6 })
    })?;
    context.add_function("isUnspecified", |This(text): This<Text>| -> Known<bool> {
        Ok(address(&text)?.is_unspecified())
    })?;
    context.add_function("isLoopback", |This(text): This<Text>| -> Known<bool> {
        Ok(address(&text)?.is_loopback())
    })?;
    context.add_function("isLinkLocalMulticast", |This(text): This<Text>| -> Known<bool> {
        Ok(is_link_local_multicast(address(&text)?))
    })?;
    context.add_function("isLinkLocalUnicast", |This(text): This<Text>| -> Known<bool> {
        Ok(is_link_local_unicast(address(&text)?))
    })?;
    context.add_function("isGlobalUnicast", |This(text): This<Text>| -> Known<bool> {
        Ok(is_global_unicast(address(&text)?))
    })?;
    context.add_function("containsIP", |This(text): This<Text>, other: Text| -> Known<bool> {
        Ok(network(&text)?.contains(address(&other)?))
    })?;
    context.add_function("containsCIDR", |This(text): This<Text>, other: Text| -> Known<bool> {
        let (network, other) = (network(&text)?, self::network(&other)?);
        Ok(network.length <= other.length && network.contains(other.address))
    })?;
    context.add_function("masked", |This(text): This<Text>| -> Known<Text> {
        Ok(network(&text)?.masked().to_string().into())
    })?;
    context.add_function("prefixLength", |This(text): This<Text>| -> Known<i64> {
        Ok(network(&text)?.length.into())
    })?;
    Ok(())
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        let other = Self { address, length: self.length };
        self.address.is_ipv4() == address.is_ipv4() && self.masked() == other.masked()
    }

    /// Without the bits of a host.
    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or_default();
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or_default();
                IpAddr::V6((address.to_bits() & mask).into())
            }
        };
        Self { address, ..self }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// An address of IPv4 inside one of IPv6 is none, as in Kubernetes.
fn address(text: &str) -> Known<IpAddr> {
    let is_mapped = |address: &IpAddr| matches!(address, IpAddr::V6(it) if it.to_ipv4_mapped().is_some());
    let address = text.parse().ok().filter(|address| !is_mapped(address));
    address.ok_or_else(|| ExecutionError::function_error("ip", "this is no address"))
}

fn network(text: &str) -> Known<Network> {
    let parsed = || {
        let (start, length) = text.split_once('/')?;
        let address = address(start).ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let is_plain =
            length.bytes().all(|byte| byte.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
        let length = length.parse().ok().filter(|length| *length <= most && is_plain)?;
        Some(Network { address, length })
    };
    parsed().ok_or_else(|| ExecutionError::function_error("cidr", "this is no network"))
}

fn is_link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.is_multicast() && address.segments()[0] & 0xf == 2,
    }
}

/// As Go has it: private addresses count as global.
fn is_global_unicast(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(is_broadcast
        || address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || is_link_local_unicast(address))
}
