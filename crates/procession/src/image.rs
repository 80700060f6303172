//! What a process runs between two execs.

use std::sync::Arc;

use crate::arguments::Arguments;
use crate::credentials::{Credentials, PrivilegeChange};
use crate::event::{FileIdentity, Nature, WorkingDirectory};
use crate::namespaces::{Cgroup, Namespaces};

/// The image of a process: immutable, and shared by all processes that forked from it until they
/// exec or change their credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub(crate) nature: Nature,
    pub(crate) binary: Arc<[u8]>,
    pub(crate) executable: Arc<[u8]>,
    pub(crate) comm: Box<[u8]>,
    pub(crate) cwd: Cwd,
    pub(crate) arguments: Box<[u8]>,
    pub(crate) arguments_len: usize,
    pub(crate) file: Option<FileIdentity>,
    pub(crate) privileges: PrivilegeChange,
    pub(crate) setting: Setting,
}

/// As whom and where an image runs. Few distinct ones exist, so they are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) credentials: Option<Arc<Credentials>>,
    pub(crate) namespaces: Option<Arc<Namespaces>>,
    pub(crate) cgroup: Option<Arc<Cgroup<Box<[u8]>>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cwd {
    Unknown,
    Path(Arc<[u8]>),
    Tail(Arc<[u8]>),
}

impl Image {
    /// A program, or a thread of the kernel.
    pub fn nature(&self) -> Nature {
        self.nature
    }

    /// The file named in the exec, absolute. Empty: unknown.
    pub fn binary(&self) -> &[u8] {
        &self.binary
    }

    /// The file that the kernel loaded; the interpreter of a script. Empty: unknown.
    pub fn executable(&self) -> &[u8] {
        &self.executable
    }

    /// The command name at the time of the exec, at most 15 bytes.
    pub fn comm(&self) -> &[u8] {
        &self.comm
    }

    /// Working directory at the time of the exec.
    pub fn cwd(&self) -> WorkingDirectory<'_> {
        match &self.cwd {
            Cwd::Unknown => WorkingDirectory::Unknown,
            Cwd::Path(path) => WorkingDirectory::Path(path),
            Cwd::Tail(path) => WorkingDirectory::Tail(path),
        }
    }

    /// The arguments, `argv[0]` first.
    pub fn arguments(&self) -> Arguments<'_> {
        Arguments { bytes: &self.arguments, total_len: self.arguments_len }
    }

    /// The arguments after `argv[0]` in the reference system's text form.
    pub fn arguments_text(&self) -> Vec<u8> {
        let cwd = self.cwd().as_bytes();
        let cwd_follows_arguments = !cwd.is_empty() && cwd != b"/";
        self.arguments().joined(cwd_follows_arguments)
    }

    /// The file behind the image.
    pub fn file(&self) -> Option<FileIdentity> {
        self.file
    }

    /// How the exec raised the rights of the process.
    pub fn privileges(&self) -> PrivilegeChange {
        self.privileges
    }

    /// Ids and capabilities.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.setting.credentials.as_deref()
    }

    /// Namespaces.
    pub fn namespaces(&self) -> Option<&Namespaces> {
        self.setting.namespaces.as_deref()
    }

    /// Id of the control group; zero: unknown.
    pub fn cgroup_id(&self) -> u64 {
        self.setting.cgroup.as_ref().map_or(0, |cgroup| cgroup.id)
    }

    /// Path of the control group in its hierarchy. Empty: unknown.
    pub fn cgroup_path(&self) -> &[u8] {
        self.setting.cgroup.as_ref().map_or(b"", |cgroup| &cgroup.path)
    }
}
