//! What a process runs between two execs.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use triomphe::ThinArc;

use crate::arguments::Arguments;
use crate::credentials::{Credentials, PrivilegeChange};
use crate::event::{FileIdentity, Nature, Program, WorkingDirectory};
use crate::heap::allocation;
use crate::intern::Footprint;
use crate::namespaces::Namespaces;
use crate::setting::{Setting, Spell};

/// The image of a process: immutable, and shared by all processes that forked from it until they
/// exec or change their credentials. To clone it is to count one more user.
#[derive(Clone)]
pub struct Image(ThinArc<Head, u8>);

/// What stands before the bytes of the arguments; after those comes the environment, where there is
/// one, with a [`Trailer`].
struct Head {
    program: Arc<ProgramFile>,
    setting: Arc<Setting>,
    /// Bytes of the arguments that were not captured; the kernel's own limit is far below 2³².
    missing: u32,
    privileges: PrivilegeChange,
    /// Whether there is an environment.
    has_environment: bool,
    /// Entries of the table that have this image. Only the table's owner reads and changes it.
    entries: AtomicU32,
}

/// What stands behind the environment.
struct Trailer {
    /// Its length.
    environment: u32,
    /// Bytes of it that were not captured.
    missing: u32,
}

impl Trailer {
    fn to_bytes(&self) -> [u8; 8] {
        (u64::from(self.environment) << 32 | u64::from(self.missing)).to_be_bytes()
    }

    fn from_bytes([a, b, c, d, rest @ ..]: [u8; 8]) -> Self {
        Self { environment: u32::from_be_bytes([a, b, c, d]), missing: u32::from_be_bytes(rest) }
    }
}

fn len_of(text: &Arguments<'_>) -> u32 {
    u32::try_from(text.bytes.len()).unwrap_or(u32::MAX)
}

fn bytes_missing(text: &Arguments<'_>) -> u32 {
    u32::try_from(text.missing()).unwrap_or(u32::MAX)
}

/// A program, as it was named, found and loaded: the same for all who run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgramFile {
    pub(crate) nature: Nature,
    pub(crate) binary: Box<[u8]>,
    pub(crate) executable: Box<[u8]>,
    pub(crate) comm: Box<[u8]>,
    pub(crate) file: Option<FileIdentity>,
}

/// [`ProgramFile`], borrowed from an event: it hashes and compares alike.
#[derive(Clone, Copy)]
struct ProgramKey<'a> {
    nature: Nature,
    binary: &'a [u8],
    executable: &'a [u8],
    comm: &'a [u8],
    file: Option<FileIdentity>,
}

impl Image {
    pub(crate) fn new(
        program: Arc<ProgramFile>,
        setting: Arc<Setting>,
        [arguments, environment]: [Arguments<'_>; 2],
        privileges: PrivilegeChange,
    ) -> Self {
        let missing = bytes_missing(&arguments);
        let has_environment = environment.total_len > 0;
        let head =
            Head { program, setting, missing, privileges, has_environment, entries: AtomicU32::new(0) };
        if !has_environment {
            return Self(ThinArc::from_header_and_slice(head, arguments.bytes));
        }
        let trailer = Trailer { environment: len_of(&environment), missing: bytes_missing(&environment) };
        let bytes = [arguments.bytes, environment.bytes, &trailer.to_bytes()].concat();
        Self(ThinArc::from_header_and_slice(head, &bytes))
    }

    /// The same image in another setting.
    pub(crate) fn in_setting(&self, setting: Arc<Setting>) -> Self {
        let head = self.head();
        let texts = [self.arguments(), self.environment()];
        Self::new(Arc::clone(&head.program), setting, texts, head.privileges)
    }

    /// Where it is in memory: the same for all that share it, and no other's for as long as one of them does.
    pub fn address(&self) -> usize {
        std::ptr::from_ref(self.head()).addr()
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    /// A program, or a thread of the kernel.
    pub fn nature(&self) -> Nature {
        self.head().program.nature
    }

    /// The file named in the exec, absolute. Empty: unknown.
    pub fn binary(&self) -> &[u8] {
        &self.head().program.binary
    }

    /// The file that the kernel loaded; the interpreter of a script. Empty: unknown.
    pub fn executable(&self) -> &[u8] {
        &self.head().program.executable
    }

    /// The command name at the time of the exec, at most 15 bytes.
    pub fn comm(&self) -> &[u8] {
        &self.head().program.comm
    }

    /// Working directory at the time of the exec.
    pub fn cwd(&self) -> WorkingDirectory<'_> {
        self.setting().cwd()
    }

    /// The arguments, `argv[0]` first.
    pub fn arguments(&self) -> Arguments<'_> {
        let (bytes, ..) = self.texts();
        Arguments { bytes, total_len: bytes.len().saturating_add(self.head().missing as usize) }
    }

    /// The environment, an entry each; [`environment_variable`](crate::reference::environment_variable)
    /// takes one apart. Empty where the source did not collect it.
    pub fn environment(&self) -> Arguments<'_> {
        let (_, bytes, missing) = self.texts();
        Arguments { bytes, total_len: bytes.len().saturating_add(missing) }
    }

    /// The bytes of the arguments and of the environment, and how many of the latter are missing.
    fn texts(&self) -> (&[u8], &[u8], usize) {
        let bytes = &self.0.slice;
        let Some((texts, trailer)) = bytes.split_last_chunk().filter(|_| self.head().has_environment) else {
            return (bytes, b"", 0);
        };
        let Trailer { environment, missing } = Trailer::from_bytes(*trailer);
        let (arguments, environment) = texts.split_at(texts.len().saturating_sub(environment as usize));
        (arguments, environment, missing as usize)
    }

    /// The arguments after `argv[0]` in the reference system's text form.
    pub fn arguments_text(&self) -> Vec<u8> {
        let cwd = self.cwd().as_bytes();
        let cwd_follows_arguments = !cwd.is_empty() && cwd != b"/";
        self.arguments().joined(cwd_follows_arguments)
    }

    /// The file behind the image.
    pub fn file(&self) -> Option<FileIdentity> {
        self.head().program.file
    }

    /// How the exec raised the rights of the process.
    pub fn privileges(&self) -> PrivilegeChange {
        self.head().privileges
    }

    /// Ids and capabilities, as they are since the last change.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.setting().credentials.as_ref()
    }

    /// Namespaces, as they are since the last change.
    pub fn namespaces(&self) -> Option<&Namespaces> {
        self.setting().namespaces.as_ref()
    }

    /// Id of the control group, as it is since the last change; zero: unknown.
    pub fn cgroup_id(&self) -> u64 {
        self.setting().cgroup().map_or(0, |cgroup| cgroup.id)
    }

    /// Path of the control group in its hierarchy, as it is since the last change. Empty: unknown.
    pub fn cgroup_path(&self) -> &[u8] {
        self.setting().cgroup().map_or(b"", |cgroup| cgroup.path)
    }

    /// As whom and where the image ran before, oldest first: empty when nothing changed since the
    /// exec. At most [`LONGEST_HISTORY`](crate::LONGEST_HISTORY) of these are kept.
    pub fn past(&self) -> &[Spell] {
        self.setting().past()
    }

    /// Changes that came before those in [`past`](Self::past).
    pub fn forgotten_changes(&self) -> u32 {
        self.setting().forgotten()
    }

    pub(crate) fn setting(&self) -> &Arc<Setting> {
        &self.head().setting
    }

    pub(crate) fn program(&self) -> &Arc<ProgramFile> {
        &self.head().program
    }

    /// Counts one more entry, and returns the bytes that the table now has to account for.
    pub(crate) fn enter(&self) -> usize {
        match self.head().entries.fetch_add(1, Ordering::Relaxed) {
            0 => self.bytes(),
            _ => 0,
        }
    }

    /// Counts one entry less, and returns the bytes that the table no longer has to account for.
    pub(crate) fn leave(&self) -> usize {
        match self.head().entries.fetch_sub(1, Ordering::Relaxed) {
            1 => self.bytes(),
            _ => 0,
        }
    }

    fn bytes(&self) -> usize {
        image_bytes(self.0.slice.len()) + self.setting().own_bytes()
    }
}

/// Bytes of an image with so many bytes of arguments.
pub(crate) fn image_bytes(arguments: usize) -> usize {
    const COUNT_AND_LENGTH: usize = 2 * size_of::<usize>();
    allocation(COUNT_AND_LENGTH + size_of::<Head>() + arguments)
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (self.head(), other.head());
        one.program == two.program
            && one.setting == two.setting
            && one.privileges == two.privileges
            && self.arguments() == other.arguments()
            && self.environment() == other.environment()
    }
}

impl Eq for Image {}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("nature", &self.nature())
            .field("binary", &self.binary().escape_ascii().to_string())
            .field("executable", &self.executable().escape_ascii().to_string())
            .field("arguments", &self.arguments().bytes.escape_ascii().to_string())
            .field("environment", &self.environment().bytes.escape_ascii().to_string())
            .field("cwd", &self.cwd().as_bytes().escape_ascii().to_string())
            .field("file", &self.file())
            .field("privileges", &self.privileges())
            .field("setting", self.setting())
            .finish()
    }
}

impl ProgramFile {
    pub(crate) fn interned_by(
        program: &Program<'_>,
        intern: &mut crate::intern::Interner<Self>,
    ) -> Arc<Self> {
        let Program { nature, binary, executable, comm, file, .. } = *program;
        intern.get(&ProgramKey { nature, binary, executable, comm, file }, || Self {
            nature,
            binary: binary.into(),
            executable: executable.into(),
            comm: comm.into(),
            file,
        })
    }
}

impl ProgramFile {
    /// The one of `programs` that is equal, made when there is none.
    pub(crate) fn shared_in(&self, programs: &mut crate::intern::Interner<Self>) -> Arc<Self> {
        programs.get(&self.key(), || self.clone())
    }

    fn key(&self) -> ProgramKey<'_> {
        let Self { nature, binary, executable, comm, file } = self;
        ProgramKey { nature: *nature, binary, executable, comm, file: *file }
    }
}

impl Hash for ProgramKey<'_> {
    /// What tells programs apart in practice: the rest is compared, but not hashed.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.binary);
        state.write(self.comm);
        state.write_u64(self.file.map_or(0, |file| file.inode));
    }
}

impl Hash for ProgramFile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialEq<ProgramKey<'_>> for ProgramFile {
    fn eq(&self, other: &ProgramKey<'_>) -> bool {
        self.nature == other.nature
            && *self.binary == *other.binary
            && *self.executable == *other.executable
            && *self.comm == *other.comm
            && self.file == other.file
    }
}

impl Footprint for ProgramFile {
    fn heap_bytes(&self) -> usize {
        [&self.binary, &self.executable, &self.comm].map(|text| allocation(text.len())).into_iter().sum()
    }
}
