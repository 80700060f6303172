//! What can keep the pods from being known, told apart by what somebody would have to do.

use std::error::Error;
use std::fmt;

use kube::config::{InferConfigError, KubeconfigError};
use kube::runtime::watcher;

use crate::causes::with_causes;

/// Why the pods are not known, or not up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There is neither a kubeconfig nor the service account of a pod, or it cannot be used.
    NotConfigured,
    /// The API server does not answer.
    Unreachable,
    /// Credentials that have expired or are wrong (401), or that could not be had.
    Unauthorized,
    /// The credentials do not allow to list and watch pods (403).
    Forbidden,
    /// A watch brought nothing for too long.
    Silent,
    /// The API server answers with another error.
    Refused,
    /// An answer is not what an API server says.
    Unreadable,
}

impl Reason {
    /// What is missing, for people.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::NotConfigured => "no usable kubeconfig and not in a cluster",
            Self::Unreachable => "the Kubernetes API does not answer",
            Self::Unauthorized => "the Kubernetes API does not accept the credentials",
            Self::Forbidden => "not allowed to list and watch pods; grant both to the service account",
            Self::Silent => "the watch of pods brings nothing, not even bookmarks",
            Self::Refused => "the Kubernetes API refuses to list or watch pods",
            Self::Unreadable => "the Kubernetes API gives answers that cannot be read",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// What was said of it. Other people's text.
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn new(reason: Reason, error: &(dyn Error + 'static)) -> Self {
        Self { reason, detail: with_causes(error) }
    }

    /// An API error, which has its own code.
    pub(super) fn of_client(error: &kube::Error) -> Self {
        let reason = reason_of(error);
        match error {
            kube::Error::Api(status) => {
                Self { reason, detail: format!("{} {}", status.code, status.message) }
            }
            error => Self::new(reason, error),
        }
    }
}

impl From<KubeconfigError> for Failure {
    fn from(error: KubeconfigError) -> Self {
        Self::new(Reason::NotConfigured, &error)
    }
}

impl From<InferConfigError> for Failure {
    fn from(error: InferConfigError) -> Self {
        Self::new(Reason::NotConfigured, &error)
    }
}

/// What an error of the watch means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Setback {
    /// The stream broke off. It is resumed where it was, as after its usual end.
    Interrupted,
    /// The place to resume from is too old: everything is listed anew.
    Expired,
    /// Pods are not known until somebody or something changes.
    Failed(Failure),
}

const EXPIRED: u16 = 410;

impl From<&watcher::Error> for Setback {
    fn from(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::WatchFailed(
                kube::Error::ReadEvents(_) | kube::Error::HyperError(_) | kube::Error::Service(_),
            ) => Self::Interrupted,
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => match error {
                kube::Error::Api(status) if status.code == EXPIRED => Self::Expired,
                error => Self::Failed(Failure::of_client(error)),
            },
            watcher::Error::WatchError(status) if status.code == EXPIRED => Self::Expired,
            watcher::Error::WatchError(status) => {
                Self::Failed(Failure { reason: reason_of_code(status.code), detail: status.message.clone() })
            }
            watcher::Error::NoResourceVersion => Self::Failed(Failure::new(Reason::Unreadable, error)),
        }
    }
}

fn reason_of(error: &kube::Error) -> Reason {
    match error {
        kube::Error::Api(status) => reason_of_code(status.code),
        kube::Error::Auth(_) => Reason::Unauthorized,
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => {
            Reason::Unreachable
        }
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Reason::Unreadable,
        _ => Reason::Refused,
    }
}

fn reason_of_code(code: u16) -> Reason {
    match code {
        401 => Reason::Unauthorized,
        403 => Reason::Forbidden,
        _ => Reason::Refused,
    }
}
