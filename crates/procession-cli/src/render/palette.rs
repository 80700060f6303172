//! Colours.

use anstyle::{AnsiColor, Style};

/// The style of each part of a line. In the plain palette none has any, and no escape sequence is
/// written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Palette {
    /// What matters less: times, guides, ancestors.
    pub(super) faint: Style,
    pub(super) user: Style,
    pub(super) container: Style,
    pub(super) fork: Style,
    pub(super) exec: Style,
    pub(super) end: Style,
    pub(super) live: Style,
    pub(super) binary: Style,
    /// What deserves a second look: raised rights, deleted binaries.
    pub(super) marker: Style,
    /// An end other than `exit 0`.
    pub(super) failure: Style,
    /// The reference client's colours.
    pub(super) compact: CompactPalette,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CompactPalette {
    pub(super) event: Style,
    pub(super) source: Style,
    pub(super) binary: Style,
    pub(super) arguments: Style,
    pub(super) status: Style,
}

impl Palette {
    /// No colours.
    pub(crate) fn plain() -> Self {
        Self::default()
    }

    /// Colours from the terminal's own sixteen, so that they suit its background.
    pub(crate) fn coloured() -> Self {
        Self {
            faint: Style::new().dimmed(),
            user: AnsiColor::Cyan.on_default(),
            container: AnsiColor::Magenta.on_default(),
            fork: AnsiColor::Blue.on_default(),
            exec: AnsiColor::Green.on_default(),
            end: Style::new().dimmed(),
            live: AnsiColor::Blue.on_default(),
            binary: Style::new().bold(),
            marker: AnsiColor::Yellow.on_default().bold(),
            failure: AnsiColor::Red.on_default(),
            compact: CompactPalette {
                event: AnsiColor::Blue.on_default(),
                source: AnsiColor::Green.on_default(),
                binary: AnsiColor::Magenta.on_default(),
                arguments: AnsiColor::Cyan.on_default(),
                status: AnsiColor::Red.on_default(),
            },
        }
    }
}
