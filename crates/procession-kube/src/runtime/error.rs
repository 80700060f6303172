//! Why a socket did not answer.

use crate::causes::with_causes;

/// Why there is neither a container nor the answer that there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The socket does not do its work: it is better left alone for a while.
    #[error("{0}")]
    Socket(String),
    /// Who listens there serves something else.
    #[error("{0}")]
    Elsewhere(String),
    /// The runtime works, but does not tell of this container.
    #[error("{0}")]
    Container(String),
}

/// `Ok(None)`: the runtime has no such container.
pub(super) type Answered<T> = Result<Option<T>, AskError>;

impl AskError {
    pub(super) fn socket(error: impl std::error::Error + 'static) -> Self {
        Self::Socket(with_causes(&error))
    }
}

/// A gRPC call's result, with "not found" as `None`.
pub(super) fn found<T>(result: Result<tonic::Response<T>, tonic::Status>) -> Answered<T> {
    use tonic::Code;
    let status = match result {
        Ok(response) => return Ok(Some(response.into_inner())),
        Err(status) => status,
    };
    // cri-dockerd has no code for it.
    if status.code() == Code::NotFound || status.message().contains("No such container") {
        return Ok(None);
    }
    let is_ours = std::error::Error::source(&status).is_some();
    let text = with_causes(&status);
    Err(match status.code() {
        _ if is_ours => AskError::Socket(text),
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Unauthenticated
        | Code::Unavailable
        | Code::Unimplemented => AskError::Socket(text),
        _ => AskError::Container(text),
    })
}
