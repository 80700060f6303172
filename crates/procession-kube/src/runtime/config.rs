//! Which sockets are asked, and how often.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::RuntimeFamily;

/// How [`Runtimes`](crate::Runtimes) asks. No time counts as longer than a year.
#[derive(Clone, Debug)]
pub struct RuntimesConfig {
    /// Where runtimes may listen. Only sockets that exist are asked; those of the runtime that a
    /// control group points to first, and otherwise in this order.
    pub sockets: Vec<RuntimeSocket>,
    /// How long one socket may take to answer.
    pub timeout: Duration,
    /// How many questions may wait. More are refused and counted.
    pub queue: usize,
    /// How many questions a second are asked in the long run.
    pub rate: u32,
    /// How many questions may be asked at once after a quiet time.
    pub burst: u32,
    /// How many bytes of answers are kept, about.
    pub cache_bytes: usize,
    /// After how long what is known of a container is asked for anew.
    pub known_for: Duration,
    /// After how long a container that was not found may be asked for again.
    pub unknown_for: Duration,
    /// How long a socket is left alone after it failed once. It doubles with each failure.
    pub first_retry: Duration,
    /// The longest time that a socket is left alone.
    pub last_retry: Duration,
}

impl Default for RuntimesConfig {
    /// The usual sockets; 2 s for an answer; 50 questions a second, 100 at once; 16 MiB of answers.
    fn default() -> Self {
        Self {
            sockets: RuntimeSocket::usual(),
            timeout: Duration::from_secs(2),
            queue: 1024,
            rate: 50,
            burst: 100,
            cache_bytes: 16 << 20,
            known_for: Duration::from_mins(1),
            unknown_for: Duration::from_secs(5),
            first_retry: Duration::from_millis(500),
            last_retry: Duration::from_secs(15),
        }
    }
}

impl RuntimesConfig {
    /// The same with times that clocks can tell.
    pub(super) fn bounded(&self) -> Self {
        let year = Duration::from_hours(24 * 365);
        let mut config = self.clone();
        let Self { timeout, known_for, unknown_for, first_retry, last_retry, .. } = &mut config;
        for time in [timeout, known_for, unknown_for, first_retry, last_retry] {
            *time = (*time).min(year);
        }
        config
    }
}

/// A socket on which a runtime may listen: `cri:/run/containerd/containerd.sock`.
///
/// Whoever can write to its path tells us what containers are called, so it should be root's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RuntimeSocket {
    /// What is spoken on it.
    pub protocol: RuntimeProtocol,
    /// The path of the socket.
    pub path: PathBuf,
}

/// What is spoken on a socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RuntimeProtocol {
    /// Kubernetes' Container Runtime Interface: containerd, CRI-O, cri-dockerd.
    Cri,
    /// containerd's own, which has its containers outside Kubernetes too.
    Containerd,
    /// The docker engine API.
    Docker,
    /// The same, spoken by podman.
    Podman,
}

impl RuntimeProtocol {
    const ALL: [Self; 4] = [Self::Cri, Self::Containerd, Self::Docker, Self::Podman];

    /// `cri`, `containerd`, `docker` or `podman`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cri => "cri",
            Self::Containerd => "containerd",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

impl RuntimeSocket {
    /// Where the usual distributions have them. `/var/run` is the same as `/run` on all of them.
    ///
    /// Sockets of users' own runtimes are not among them: a user could make up answers.
    pub fn usual() -> Vec<Self> {
        use RuntimeProtocol::{Containerd, Cri, Docker, Podman};
        [
            (Cri, "/run/containerd/containerd.sock"),
            (Cri, "/run/k3s/containerd/containerd.sock"),
            (Cri, "/run/k0s/containerd.sock"),
            (Cri, "/var/snap/microk8s/common/run/containerd.sock"),
            (Cri, "/run/crio/crio.sock"),
            (Cri, "/run/cri-dockerd.sock"),
            (Docker, "/run/docker.sock"),
            (Podman, "/run/podman/podman.sock"),
            (Containerd, "/run/containerd/containerd.sock"),
            (Containerd, "/run/k3s/containerd/containerd.sock"),
            (Containerd, "/run/k0s/containerd.sock"),
            (Containerd, "/var/snap/microk8s/common/run/containerd.sock"),
            (Containerd, "/run/docker/containerd/containerd.sock"),
        ]
        .map(|(protocol, path)| Self { protocol, path: path.into() })
        .to_vec()
    }

    /// Whether containers of `family` are likely to be known here.
    pub(super) fn serves(&self, family: RuntimeFamily) -> bool {
        let is_named = |name: &str| self.path.to_string_lossy().contains(name);
        match (self.protocol, family) {
            (RuntimeProtocol::Cri, RuntimeFamily::Kubernetes)
            | (RuntimeProtocol::Docker, RuntimeFamily::Docker)
            | (RuntimeProtocol::Podman, RuntimeFamily::Podman) => true,
            (RuntimeProtocol::Cri, RuntimeFamily::CriO) => is_named("crio"),
            (RuntimeProtocol::Cri | RuntimeProtocol::Containerd, RuntimeFamily::Containerd) => {
                is_named("containerd")
            }
            _ => false,
        }
    }
}

impl fmt::Display for RuntimeSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol.as_str(), self.path.display())
    }
}

impl FromStr for RuntimeSocket {
    type Err = ParseSocketError;

    fn from_str(text: &str) -> Result<Self, ParseSocketError> {
        let (protocol, path) = text.split_once(':').ok_or(ParseSocketError)?;
        let mut protocols = RuntimeProtocol::ALL.into_iter();
        let protocol = protocols.find(|known| known.as_str() == protocol).ok_or(ParseSocketError)?;
        if path.starts_with('/') { Ok(Self { protocol, path: path.into() }) } else { Err(ParseSocketError) }
    }
}

/// A text does not name a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a runtime's socket is written PROTOCOL:/PATH, with PROTOCOL one of cri, containerd, docker, podman")]
pub struct ParseSocketError;

#[cfg(test)]
mod tests {
    use super::{ParseSocketError, RuntimeSocket};
    use crate::RuntimeFamily;

    #[test]
    fn a_socket_is_read_as_it_is_written() {
        for socket in RuntimeSocket::usual() {
            assert_eq!(socket.to_string().parse(), Ok(socket));
        }
        for text in ["", "/run/docker.sock", "docker:", "docker:run/docker.sock", "lxd:/run/lxd.sock"] {
            assert_eq!(text.parse::<RuntimeSocket>(), Err(ParseSocketError), "{text}");
        }
    }

    #[test]
    fn a_name_points_to_sockets() {
        for (family, expected) in [
            (RuntimeFamily::CriO, "cri:/run/crio/crio.sock"),
            (RuntimeFamily::Docker, "docker:/run/docker.sock"),
            (RuntimeFamily::Podman, "podman:/run/podman/podman.sock"),
            (RuntimeFamily::Containerd, "cri:/run/containerd/containerd.sock"),
            (RuntimeFamily::Kubernetes, "cri:/run/containerd/containerd.sock"),
        ] {
            let first = RuntimeSocket::usual().into_iter().find(|socket| socket.serves(family)).unwrap();
            assert_eq!(first.to_string(), expected);
        }
        assert!(!RuntimeSocket::usual().iter().any(|socket| socket.serves(RuntimeFamily::Unknown)));
    }
}
