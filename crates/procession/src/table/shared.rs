//! What many images have in common, kept once.

use std::sync::Arc;

use crate::event::{Context, Gap, Program};
use crate::image::{Image, ProgramFile, image_bytes};
use crate::intern::Interner;
use crate::setting::{Setting, SettingKey};
use crate::time::BootTime;

#[derive(Debug, Default)]
pub(super) struct Shared {
    programs: Interner<ProgramFile>,
    settings: Interner<Setting>,
}

impl Shared {
    /// Nothing yet; the hash tables have this seed.
    pub(super) fn new(seed: u64) -> Self {
        Self { programs: Interner::new(seed), settings: Interner::new(seed) }
    }

    /// Bytes of memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.programs.bytes() + self.settings.bytes()
    }

    /// Bytes that the image of `program` may add.
    pub(super) fn growth(&self, program: &Program<'_>, context: &Context<'_>) -> usize {
        let texts = program.binary.len() + program.executable.len() + program.cwd.as_bytes().len();
        let cgroup = context.cgroup.map_or(0, |cgroup| cgroup.path.len());
        let values = size_of::<ProgramFile>() + size_of::<Setting>() + 384;
        let tables = self.programs.growth() + self.settings.growth();
        image_bytes(program.arguments.bytes.len() + program.environment.bytes.len() + 8)
            + texts
            + cgroup
            + values
            + tables
    }

    /// Drops what no image has any more.
    pub(super) fn sweep(&mut self) {
        self.programs.sweep();
        self.settings.sweep();
    }

    /// The program of an image of which nothing is known.
    pub(super) fn no_program(&mut self) -> Arc<ProgramFile> {
        ProgramFile::interned_by(&Program::default(), &mut self.programs)
    }

    /// An image of `program`; `like` is one that may well have the same setting.
    pub(super) fn image(
        &mut self,
        program: &Program<'_>,
        context: &Context<'_>,
        like: Option<&Image>,
    ) -> Image {
        let file = ProgramFile::interned_by(program, &mut self.programs);
        let key = SettingKey::new(context, program.cwd);
        let setting = match like.map(Image::setting).filter(|setting| ***setting == key) {
            Some(setting) => Arc::clone(setting),
            None => intern(&mut self.settings, &key),
        };
        Image::new(file, setting, [program.arguments, program.environment], program.privileges)
    }

    /// An image equal to one of another table, but for what its arguments and its environment have beyond
    /// `most` bytes.
    pub(super) fn adopt(&mut self, image: &Image, most: usize) -> Image {
        let program = self.adopt_program(image.program());
        let mut shared = |key: &SettingKey<'_>| intern(&mut self.settings, key);
        let setting = image.setting().adopted(&mut shared);
        let texts = [image.arguments(), image.environment()].map(|text| text.cut(most));
        Image::new(program, setting, texts, image.privileges())
    }

    /// A program equal to one of another table.
    pub(super) fn adopt_program(&mut self, program: &ProgramFile) -> Arc<ProgramFile> {
        program.shared_in(&mut self.programs)
    }

    /// `image` in the setting that `context` describes; where that is silent, as it is.
    pub(super) fn image_in(&mut self, image: &Image, context: &Context<'_>) -> Image {
        let key = SettingKey::over(context, image.setting());
        image.in_setting(intern(&mut self.settings, &key))
    }

    /// `image` after a change, seen at that time or found out by then. `None`: it changed nothing.
    pub(super) fn changed(
        &mut self,
        image: &Image,
        when: (BootTime, Option<Gap>),
        context: &Context<'_>,
    ) -> Option<Image> {
        let mut shared = |key: &SettingKey<'_>| intern(&mut self.settings, key);
        let setting = image.setting().changed(when, context, &mut shared)?;
        Some(image.in_setting(Arc::new(setting)))
    }
}

fn intern(settings: &mut Interner<Setting>, key: &SettingKey<'_>) -> Arc<Setting> {
    settings.get(key, || key.to_setting())
}
