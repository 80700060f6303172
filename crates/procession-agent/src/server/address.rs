//! Where a server listens.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a server listens: `unix:///absolute/path` or `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// A socket in the file system, for this machine.
    Unix(PathBuf),
    /// `host:port`. Without a host: all addresses of this machine.
    Tcp(String),
}

/// The port where none is given: that of the reference system.
const DEFAULT_PORT: u16 = 54321;

/// Text that is not an address, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{address}` is no address to listen on: {advice}")]
pub struct BadAddress {
    address: String,
    advice: String,
}

impl FromStr for ServerAddress {
    type Err = BadAddress;

    fn from_str(address: &str) -> Result<Self, BadAddress> {
        let parsed = match address.strip_prefix("unix:") {
            Some(rest) => parse_unix(rest),
            None => parse_tcp(address),
        };
        parsed.map_err(|advice| BadAddress { address: address.to_owned(), advice })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

fn parse_unix(rest: &str) -> Result<ServerAddress, String> {
    let path = Path::new(rest.strip_prefix("//").unwrap_or(rest));
    if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err("write the path of a socket, as in unix:///run/procession/procession.sock".into());
    }
    if path.is_relative() {
        return Err(format!("the path must be absolute; write unix:///{}", path.display()));
    }
    Ok(ServerAddress::Unix(path.to_owned()))
}

fn parse_tcp(address: &str) -> Result<ServerAddress, String> {
    if address.is_empty() {
        return Err(format!("write host:port, such as localhost:{DEFAULT_PORT}"));
    }
    if address.starts_with('/') {
        return Err(format!("write unix://{address} for a socket"));
    }
    if let Some((_, rest)) = address.split_once("://") {
        return Err(format!("write {rest} without a scheme, or unix:///path for a socket"));
    }
    let (host, port) = split(address)?;
    if host.chars().any(|c| c.is_whitespace() || "/,@[]".contains(c)) {
        return Err("write one host:port".into());
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Ok(ServerAddress::Tcp(format!("{host}:{port}")))
}

/// Host, without brackets, and port.
fn split(address: &str) -> Result<(&str, u16), String> {
    if address.parse::<Ipv6Addr>().is_ok() {
        return Ok((address, DEFAULT_PORT));
    }
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("a bracket is not closed; write [::1]:54321")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err("only an IPv6 address stands in brackets, as in [::1]:54321".into());
        }
        match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if port.is_empty() => (host, None),
            None => return Err(format!("write [{host}]:{DEFAULT_PORT}")),
        }
    } else {
        match address.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err("write an IPv6 address in brackets, as in [::1]:54321".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        }
    };
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match port {
        None => Ok((host, DEFAULT_PORT)),
        Some(port) => match port.parse() {
            Ok(port_number) if is_number(port) => Ok((host, port_number)),
            _ => Err(format!("`{port}` is no port; write a number up to 65535, as in {host}:{DEFAULT_PORT}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print_back() {
        for (text, printed) in [
            ("unix:///run/procession/procession.sock", "unix:///run/procession/procession.sock"),
            ("unix:/run/p.sock", "unix:///run/p.sock"),
            ("localhost:54321", "localhost:54321"),
            ("localhost", "localhost:54321"),
            ("10.0.0.1:0", "10.0.0.1:0"),
            ("::1", "[::1]:54321"),
            ("[::1]", "[::1]:54321"),
            ("[::1]:80", "[::1]:80"),
            (":6789", ":6789"),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(printed.parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_right() {
        for (text, advice) in [
            ("", "localhost:54321"),
            ("/run/p.sock", "write unix:///run/p.sock"),
            ("unix://run/p.sock", "write unix:///run/p.sock"),
            ("unix:p.sock", "write unix:///p.sock"),
            ("unix:///", "unix:///run/procession/procession.sock"),
            ("unix:///run/", "unix:///run/procession/procession.sock"),
            ("unix:", "unix:///run/procession/procession.sock"),
            ("tcp://localhost:1", "write localhost:1"),
            ("http://localhost", "write localhost"),
            ("localhost:", "number up to 65535"),
            ("localhost:+1", "number up to 65535"),
            ("localhost:65536", "number up to 65535"),
            ("localhost:http", "number up to 65535"),
            ("fe80:::1:80", "in brackets"),
            ("[::1", "not closed"),
            ("[::1]80", "write [::1]:54321"),
            ("[localhost]:80", "only an IPv6 address"),
            ("a:1,b:2", "brackets"),
            ("a b:2", "one host:port"),
        ] {
            let error = text.parse::<ServerAddress>().unwrap_err().to_string();
            assert!(error.contains(advice), "{text}: {error}");
        }
    }
}
