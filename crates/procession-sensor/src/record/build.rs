//! Records as the kernel side writes them, for tests.

use zerocopy::{FromZeros as _, IntoBytes as _};

use super::layout::{
    ArgsRecord, ChangeRecord, ExitRecord, FileFacts, ForkRecord, Header, ImageRecord, ProcessRef, Text, kind,
    text_state,
};

/// The image of process `pid` that began at `image_start`; the process began at 5.
pub(super) fn process(pid: u32, image_start: u64) -> ProcessRef {
    ProcessRef { image_start, process_start: 5, tgid: pid, tid: pid }
}

fn header(kind: u16, len: usize) -> Header {
    let len = u32::try_from(len).unwrap();
    Header { kind, flags: 0, len, time: 1_000, seq: 1, cpu: 0, pad: 0 }
}

/// A path as the kernel side writes it: last component first.
pub(super) fn components(path: &str) -> Vec<u8> {
    path.rsplit('/')
        .filter(|name| !name.is_empty())
        .flat_map(|name| [name.as_bytes(), b"\0"].concat())
        .collect()
}

/// Strings, each with a NUL at its end.
pub(super) fn block(arguments: &[&str]) -> Vec<u8> {
    arguments.iter().flat_map(|argument| [argument.as_bytes(), b"\0"].concat()).collect()
}

pub(super) fn fork() -> ForkRecord {
    ForkRecord { header: header(kind::FORK, size_of::<ForkRecord>()), ..ForkRecord::new_zeroed() }
}

pub(super) fn change() -> ChangeRecord {
    ChangeRecord { header: header(kind::CHANGE, size_of::<ChangeRecord>()), ..ChangeRecord::new_zeroed() }
}

pub(super) fn exit() -> ExitRecord {
    ExitRecord { header: header(kind::EXIT, size_of::<ExitRecord>()), ..ExitRecord::new_zeroed() }
}

/// The part of the arguments of `subject` that begins at `offset`.
pub(super) fn part(cpu: u32, subject: ProcessRef, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let header = Header { cpu, ..header(kind::ARGS, size_of::<ArgsRecord>() + bytes.len()) };
    let len = u32::try_from(bytes.len()).unwrap();
    let record = ArgsRecord { header, subject, offset, len, pad: 0 };
    [record.as_bytes(), bytes].concat()
}

/// An exec or walk record, and the data that follows it.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) record: ImageRecord,
    data: Vec<u8>,
}

/// Chooses a text of a record.
pub(super) type Choose = fn(&mut ImageRecord) -> &mut Text;

impl Image {
    /// An exec in process 10, about which nothing is known.
    pub(super) fn exec() -> Self {
        let record = ImageRecord {
            header: header(kind::EXEC, 0),
            subject: process(10, 30),
            replaced_image_start: 5,
            old_tid: 10,
            ..ImageRecord::new_zeroed()
        };
        Self { record, data: Vec::new() }
    }

    /// Process 10, found by a walk.
    pub(super) fn walk() -> Self {
        let mut image = Self::exec();
        image.record.header.kind = kind::WALK;
        image.record.replaced_image_start = 0;
        image.record.old_tid = 0;
        image
    }

    /// An exec with something in every part of the record.
    pub(super) fn full() -> Self {
        let file = FileFacts { inode: 7, ..FileFacts::new_zeroed() };
        Self::exec()
            .with(|record| record.file = file)
            .filename("./ls")
            .text(|record| &mut record.interp, text_state::COMPLETE, b"/bin/sh\0")
            .path(|record| &mut record.exe, text_state::COMPLETE, "/usr/bin/ls")
            .path(|record| &mut record.cwd, text_state::COMPLETE, "/home/me")
            .path(|record| &mut record.cgroup, text_state::COMPLETE, "/a.slice/b.scope")
            .arguments(&block(&["ls", "-l", ""]))
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut ImageRecord)) -> Self {
        change(&mut self.record);
        self
    }

    /// Appends `bytes` to the data, as the text that `choose` chooses.
    pub(super) fn text(mut self, choose: Choose, state: u32, bytes: &[u8]) -> Self {
        let offset = u32::try_from(self.data.len()).unwrap();
        let len = u32::try_from(bytes.len()).unwrap();
        *choose(&mut self.record) = Text { offset, len, state, flags: 0 };
        self.data.extend_from_slice(bytes);
        self
    }

    pub(super) fn path(self, choose: Choose, state: u32, path: &str) -> Self {
        self.text(choose, state, &components(path))
    }

    pub(super) fn filename(self, name: &str) -> Self {
        self.text(|record| &mut record.filename, text_state::COMPLETE, &block(&[name]))
    }

    /// The inline part of the arguments, which is all of them.
    pub(super) fn arguments(mut self, bytes: &[u8]) -> Self {
        self.record.args.offset = u32::try_from(self.data.len()).unwrap();
        self.record.args.len = u32::try_from(bytes.len()).unwrap();
        self.record.args.total = bytes.len() as u64;
        self.data.extend_from_slice(bytes);
        self
    }

    /// The record as it comes out of the ring.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut record = self.record;
        record.header.len = u32::try_from(size_of::<ImageRecord>() + self.data.len()).unwrap();
        [record.as_bytes(), &self.data].concat()
    }
}
