//! The way to an agent, and what to say when there is none.

use std::fmt::{self, Display};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, io};

use anyhow::{Context as _, anyhow, ensure};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use procession_agent::Past;
use procession_api::proto::procession::v1::lineage_service_client::LineageServiceClient;
use procession_api::proto::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use super::args::ServerArgs;
use super::words::Moment;
use super::{moment, now};
use crate::display::{self, Accounts};
use crate::journal::Asked;
use crate::render::Sentence;

/// Where agents listen that name no port, as the reference's do.
const DEFAULT_PORT: u16 = 54321;

/// The longest message that is taken. A dump of a large table comes in one.
const LONGEST_MESSAGE: usize = 256 << 20;

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// At a socket in the file system.
    Unix(PathBuf),
    /// At a host and port: `name:port`, `[::1]:port`.
    Tcp(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Of several, as an agent takes them from the same variable, the first.
        let text = text.split(',').next().unwrap_or(text).trim();
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            if !path.starts_with('/') {
                return Err("the path of a socket begins with a slash, as in unix:///run/x.sock".to_owned());
            }
            return Ok(Self::Unix(path.into()));
        }
        if text.starts_with('/') {
            return Err(format!("write unix://{text} for a socket"));
        }
        if text.is_empty() || text.contains('/') || text.chars().any(char::is_whitespace) {
            return Err("expected unix:///PATH or HOST:PORT".to_owned());
        }
        let (host, port) = match text.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets if a port follows.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port =
            port.map_or(Ok(DEFAULT_PORT), str::parse).map_err(|_| "a port is 1 to 65535".to_owned())?;
        if host.is_empty() {
            return Err("expected a host before the port".to_owned());
        }
        let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
        Ok(Self::Tcp(if is_bare_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") }))
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => f.write_str(host),
        }
    }
}

/// A connection to an agent.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    channel: Channel,
    then: Option<Then>,
}

/// For when a recording answers in the place of an agent.
#[derive(Clone, Debug)]
struct Then {
    now: Timestamp,
    heading: String,
    accounts: Accounts,
    /// Whether that is the end of the journal.
    is_end: bool,
    path: PathBuf,
}

impl Agent {
    /// Connects, or says why that does not work and what would.
    pub(crate) async fn connect(args: &ServerArgs) -> anyhow::Result<Self> {
        let address = &args.server_address;
        let endpoint = endpoint(args)?;
        let connected = tokio::time::timeout(args.timeout, endpoint.connect()).await;
        let channel = match connected {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(no_agent(address, &error)),
            Err(_) => {
                let waited = args.timeout;
                return Err(anyhow!("the agent at {address} did not answer within {waited:?}"));
            }
        };
        Ok(Self { channel, then: None })
    }

    /// What was recorded answers as the agent would have then.
    pub(crate) async fn in_the_past(asked: Asked) -> anyhow::Result<Self> {
        let now = Timestamp::try_from(asked.time).context("that time is beyond what a calendar has")?;
        let accounts = Accounts::of(&asked.restored.recording.node_name);
        let users = accounts.users().clone();
        let path = asked.path().to_owned();
        let then = Then { now, heading: asked.heading(), accounts, is_end: asked.is_end(), path };
        let past = Past::new(asked.restored, users).context("the system refuses a thread")?;
        let channel = past.connect().await.context("cannot ask what was recorded")?;
        Ok(Self { channel, then: Some(then) })
    }

    /// `there at the end of build.journal`, where that is told, and the journal. `None`: an agent answers.
    pub(crate) fn past(&self) -> Option<(String, &Path)> {
        let then = self.then.as_ref()?;
        let place = then.path.display();
        let when = if then.is_end {
            format!("there at the end of {place}")
        } else {
            // What is told of a process begins within a second, and a time that was typed does not.
            let time = TimeZone::system().to_datetime(then.now).strftime("%Y-%m-%d %H:%M:%S.%3f").to_string();
            format!("known at {time}")
        };
        Some((when, &then.path))
    }

    /// Those whose names may be typed: an agent is taken to be on this machine.
    pub(crate) fn accounts(&self) -> Accounts {
        let here = || Accounts::here(display::users().users().clone());
        self.then.as_ref().map_or_else(here, |then| then.accounts.clone())
    }

    /// What now is, where the answers come from.
    pub(crate) fn moment(&self) -> Moment {
        self.then.as_ref().map_or_else(now, |then| moment(then.now))
    }

    /// What is to stand above what people read: for when it is told, if not for now.
    pub(crate) fn heading(&self) -> Option<&str> {
        self.then.as_ref().map(|then| then.heading.as_str())
    }

    /// What is our own of the API.
    pub(crate) fn lineage(&self) -> LineageServiceClient<Channel> {
        LineageServiceClient::new(self.channel.clone()).max_decoding_message_size(LONGEST_MESSAGE)
    }

    /// What the reference has too.
    pub(crate) fn sensors(&self) -> FineGuidanceSensorsClient<Channel> {
        FineGuidanceSensorsClient::new(self.channel.clone()).max_decoding_message_size(LONGEST_MESSAGE)
    }
}

fn endpoint(args: &ServerArgs) -> anyhow::Result<Endpoint> {
    let is_socket = matches!(args.server_address, Address::Unix(_));
    if is_socket && args.tls_ca_cert_file.is_some() {
        return Err(anyhow!("TLS is for an agent at a host and port: {} is a socket", args.server_address));
    }
    let tls = tls(args)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let uri = match &args.server_address {
        Address::Unix(path) => format!("unix://{}", path.display()),
        Address::Tcp(host) => format!("{scheme}://{host}"),
    };
    let cannot_use = || format!("{} is no address that can be used", args.server_address);
    let endpoint = Endpoint::try_from(uri).with_context(cannot_use)?;
    let endpoint = endpoint
        .connect_timeout(args.timeout)
        .http2_keep_alive_interval(std::time::Duration::from_secs(30))
        .keep_alive_while_idle(true);
    match tls {
        Some(tls) => endpoint.tls_config(tls).context("cannot use these certificates"),
        None => Ok(endpoint),
    }
}

fn tls(args: &ServerArgs) -> anyhow::Result<Option<ClientTlsConfig>> {
    let Some(authorities) = &args.tls_ca_cert_file else { return Ok(None) };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read_pem(authorities)?));
    if let (Some(certificate), Some(key)) = (&args.tls_cert_file, &args.tls_key_file) {
        tls = tls.identity(Identity::from_pem(read_pem(certificate)?, read(key)?));
    }
    if let Some(name) = &args.tls_server_name {
        tls = tls.domain_name(name);
    }
    Ok(Some(tls))
}

/// Certificates: a file that has none would be taken for one of nobody.
fn read_pem(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = read(path)?;
    let has_one = String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----");
    ensure!(has_one, "there is no certificate (PEM) in {}", path.display());
    Ok(bytes)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Why nobody is reached, and what to do about it.
fn no_agent(address: &Address, error: &tonic::transport::Error) -> anyhow::Error {
    let kind = io_kind(error);
    let hint = "`procession agent` starts one; --server-address names another";
    match (address, kind) {
        (Address::Unix(_), Some(ErrorKind::PermissionDenied)) => anyhow!(
            "no permission to speak to the agent at {address}: that is for root and the group of the socket"
        ),
        (Address::Unix(_), Some(ErrorKind::NotFound)) => {
            anyhow!("there is no agent at {address}: {hint}")
        }
        (_, Some(ErrorKind::ConnectionRefused)) => {
            anyhow!("no agent listens at {address}: {hint}")
        }
        _ => anyhow!("{}", unreached(address, &causes(error))),
    }
}

/// The same where only the text of an error says what it is.
fn unreached(address: &Address, why: &str) -> String {
    if let Some(why) = why.strip_prefix("dns error") {
        let why = why.trim_start_matches(": ");
        return format!("the name in {address} cannot be looked up ({why}): --server-address names another");
    }
    if why.contains("InvalidContentType") {
        return format!("who listens at {address} does not speak TLS: leave out --tls-ca-cert-file");
    }
    match why.split_once("invalid peer certificate: ") {
        Some((_, why)) => format!(
            "the certificate of the agent at {address} is not trusted ({why}): --tls-ca-cert-file has to name who \
             vouches for it, and --tls-server-name what it is for if that is not the host"
        ),
        None => format!("cannot reach an agent at {address}: {why}"),
    }
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    let mut error = Some(error);
    while let Some(this) = error {
        if let Some(io) = this.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        error = this.source();
    }
    None
}

/// All that is said of an error, each only once.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut error = Some(error);
    while let Some(this) = error {
        let text = match this.downcast_ref::<Status>() {
            Some(status) => status.message().to_owned(),
            None => this.to_string(),
        };
        // What every one of them is.
        let is_news = text != "transport error" && texts.last().is_none_or(|last| !last.contains(&text));
        if is_news && !text.is_empty() {
            texts.push(text);
        }
        error = this.source();
    }
    if texts.is_empty() { "the connection broke".to_owned() } else { Sentence(&texts.join(": ")).to_string() }
}

/// What an agent's refusal means.
pub(crate) fn refusal(status: &Status) -> anyhow::Error {
    let why = causes(status);
    match status.code() {
        Code::Unimplemented => anyhow!("the agent cannot do that: it is another program, or an older one"),
        Code::Unavailable => anyhow!("the agent went away: {why}"),
        Code::PermissionDenied | Code::Unauthenticated => anyhow!("the agent does not allow it: {why}"),
        Code::DeadlineExceeded => anyhow!("the agent took too long to answer"),
        // The connection, not the agent.
        Code::Unknown | Code::Internal if std::error::Error::source(status).is_some() => {
            anyhow!("cannot speak with the agent: {why}; if it wants TLS, use --tls-ca-cert-file")
        }
        _ if status.message().is_empty() => anyhow!("the agent refuses: {}", status.code()),
        _ => anyhow!("the agent refuses: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_tls_is_told_with_its_option() {
        let address = "host:1".parse().unwrap();
        for (why, told) in [
            (
                "dns error: failed to lookup address",
                "the name in host:1 cannot be looked up (failed to lookup address): --server-address",
            ),
            ("received corrupt message of type InvalidContentType", "does not speak TLS: leave out --tls-ca"),
            ("invalid peer certificate: UnknownIssuer", "is not trusted (UnknownIssuer): --tls-ca-cert-file"),
            ("broken pipe", "cannot reach an agent at host:1: broken pipe"),
        ] {
            let text = unreached(&address, why);
            assert!(text.contains(told), "{why}: {text}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(read_pem(file.path()).unwrap_err().to_string().contains("no certificate (PEM) in /"));
    }

    #[test]
    fn addresses() {
        let path = "/run/a.sock".parse::<Address>();
        assert_eq!(path, Err("write unix:///run/a.sock for a socket".to_owned()));
        for (text, shown) in [
            ("unix:///run/p.sock", Some("unix:///run/p.sock")),
            ("unix:/run/p.sock", Some("unix:///run/p.sock")),
            ("node7", Some("node7:54321")),
            ("node7:1", Some("node7:1")),
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("::1", Some("[::1]:54321")),
            ("[::1]:7", Some("[::1]:7")),
            ("[::1]", Some("[::1]:54321")),
            ("unix:///run/p.sock,0.0.0.0:7", Some("unix:///run/p.sock")),
            ("unix://p.sock", None),
            ("http://x", None),
            ("x:y", None),
            ("x:99999", None),
            (":7", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Address>().ok().map(|it| it.to_string()).as_deref(), shown, "{text}");
        }
    }
}
