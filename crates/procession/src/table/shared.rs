//! What many images have in common, kept once.

use std::sync::Arc;

use crate::event::{Context, Program};
use crate::image::{Directory, Image, ProgramFile, Setting, SettingKey, image_bytes};
use crate::intern::Interner;
use crate::namespaces::Cgroup;

#[derive(Debug, Default)]
pub(super) struct Shared {
    programs: Interner<ProgramFile>,
    directories: Interner<Directory>,
    settings: Interner<Setting>,
}

impl Shared {
    /// Bytes of memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.programs.bytes() + self.directories.bytes() + self.settings.bytes()
    }

    /// Bytes that the image of `program` may add.
    pub(super) fn growth(&self, program: &Program<'_>, context: &Context<'_>) -> usize {
        let texts = program.binary.len() + program.executable.len() + program.cwd.as_bytes().len();
        let cgroup = context.cgroup.map_or(0, |cgroup| cgroup.path.len());
        let values = size_of::<ProgramFile>() + size_of::<Directory>() + size_of::<Setting>() + 256;
        let tables = self.programs.growth() + self.directories.growth() + self.settings.growth();
        image_bytes(program.arguments.bytes.len()) + texts + cgroup + values + tables
    }

    /// Drops what no image has any more.
    pub(super) fn sweep(&mut self) {
        self.programs.sweep();
        self.directories.sweep();
        self.settings.sweep();
    }

    /// The program of an image of which nothing is known.
    pub(super) fn no_program(&mut self) -> Arc<ProgramFile> {
        ProgramFile::interned_by(&Program::default(), &mut self.programs)
    }

    pub(super) fn image(&mut self, program: &Program<'_>, context: &Context<'_>) -> Image {
        let file = ProgramFile::interned_by(program, &mut self.programs);
        let directory = Directory::interned_by(program.cwd, &mut self.directories);
        let setting = self.setting(context, &Setting::default());
        Image::new(file, directory, setting, program.arguments, program.privileges)
    }

    /// The setting that `context` describes; where it is silent, that of `base`.
    pub(super) fn setting(&mut self, context: &Context<'_>, base: &Setting) -> Arc<Setting> {
        let inherited = base.cgroup.as_ref().map(|cgroup| Cgroup { id: cgroup.id, path: &*cgroup.path });
        let key = SettingKey {
            credentials: context.credentials.or(base.credentials),
            namespaces: context.namespaces.or(base.namespaces),
            cgroup: context.cgroup.filter(|_| !base.is_in_cgroup(context)).or(inherited),
        };
        self.settings.get(&key, || Setting {
            credentials: key.credentials,
            namespaces: key.namespaces,
            cgroup: key.cgroup.map(|cgroup| Cgroup { id: cgroup.id, path: cgroup.path.into() }),
        })
    }
}

impl Setting {
    pub(super) fn agrees_with(&self, context: &Context<'_>) -> bool {
        let credentials = context.credentials.is_none() || self.credentials == context.credentials;
        let namespaces = context.namespaces.is_none() || self.namespaces == context.namespaces;
        credentials && namespaces && self.is_in_cgroup(context)
    }

    /// A context without a path names the same cgroup when the ids agree.
    fn is_in_cgroup(&self, context: &Context<'_>) -> bool {
        let Some(cgroup) = context.cgroup else { return true };
        self.cgroup
            .as_ref()
            .is_some_and(|own| own.id == cgroup.id && (cgroup.path.is_empty() || *own.path == *cgroup.path))
    }
}
