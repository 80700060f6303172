//! The reference system's conventions that other programs depend on, as pure functions.
//!
//! The table keeps facts; these say how the reference presents them. Elsewhere are the text of an
//! `exec_id` ([`ProcessKey::exec_id`]), the choice among known parents
//! ([`Process::reference_parent`]), and the text of the flags (`procession_api::Flags`).
//! `docs/reference-map.md` has the whole list.
//!
//! [`Process::reference_parent`]: crate::Process::reference_parent

use crate::ids::{Pid, ProcessKey};
use crate::time::BootTime;

/// The process was found in `/proc`.
const PROC_FS: u32 = 0x4;
/// The kernel has no way to tell the working directory.
const NO_CWD_SUPPORT: u32 = 0x800;
/// The working directory is the root.
const ROOT_CWD: u32 = 0x1000;
/// The working directory could not be read.
const ERROR_CWD: u32 = 0x2000;

/// What the reference makes of an argument block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DecodedArguments {
    /// The arguments after `argv[0]`, as one text.
    pub arguments: Vec<u8>,
    /// The working directory.
    pub cwd: Vec<u8>,
}

/// Decodes an argument block as the reference does, byte for byte (its `ArgsDecoder`).
///
/// `block` holds the arguments after `argv[0]` and then the working directory, with NULs between
/// them. `flags` are the reference's; those about the working directory say whether it is there.
///
/// The text cannot be read back into arguments: see [`Arguments::joined`] for its oddities. Bytes
/// that are not UTF-8 are kept; [`to_valid_utf8`](crate::text::to_valid_utf8) has the reference's
/// rule for them.
///
/// ```
/// let decoded = procession::reference::decode_arguments(b"-l\0a b\0/tmp", 0);
/// assert_eq!(decoded.arguments, b"-l \"a b\"");
/// assert_eq!(decoded.cwd, b"/tmp");
/// ```
///
/// [`Arguments::joined`]: crate::Arguments::joined
pub fn decode_arguments(block: &[u8], flags: u32) -> DecodedArguments {
    let text_end = block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut arguments = block[..text_end].split(|byte| *byte == 0);
    let has = |flag| flags & flag != 0;
    let cwd = if has(NO_CWD_SUPPORT) || has(ERROR_CWD) {
        b""
    } else if has(ROOT_CWD) {
        b"/"
    } else {
        let last = arguments.next_back().unwrap_or_default();
        if has(PROC_FS) { trim(last) } else { last }
    };
    DecodedArguments { cwd: cwd.to_vec(), arguments: join_arguments(arguments, block.len()) }
}

/// Joins arguments by the reference's rule. A space separates; an argument that holds a space is
/// put in double quotes, with nothing inside it escaped. `len` is how long the text is likely to be.
pub(crate) fn join_arguments<'a>(arguments: impl Iterator<Item = &'a [u8]>, len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len);
    for argument in arguments {
        let quote: &[u8] = if argument.contains(&b' ') { b"\"" } else { b"" };
        // The reference separates a quoted argument even from nothing.
        if !text.is_empty() || !quote.is_empty() {
            text.push(b' ');
        }
        text.extend_from_slice(quote);
        text.extend_from_slice(argument);
        text.extend_from_slice(quote);
    }
    text
}

/// The name and the value of an entry of an environment, by the reference's rule: what stands before
/// and after the first `=`; an entry without one is the value of `invalid`.
///
/// ```
/// use procession::reference::environment_variable;
///
/// assert_eq!(environment_variable(b"A=b=c"), (&b"A"[..], &b"b=c"[..]));
/// assert_eq!(environment_variable(b"nonsense"), (&b"invalid"[..], &b"nonsense"[..]));
/// ```
pub fn environment_variable(entry: &[u8]) -> (&[u8], &[u8]) {
    match entry.iter().position(|byte| *byte == b'=') {
        Some(equals) => (&entry[..equals], &entry[equals + 1..]),
        None => (b"invalid", entry),
    }
}

/// Without the white space, by Unicode's definition, at its ends. Bytes that are not UTF-8 are none.
fn trim(text: &[u8]) -> &[u8] {
    let Some(first) = text.utf8_chunks().next() else { return text };
    let text = &text[first.valid().len() - first.valid().trim_start().len()..];
    let Some(last) = text.utf8_chunks().last() else { return text };
    let space =
        if last.invalid().is_empty() { last.valid().len() - last.valid().trim_end().len() } else { 0 };
    &text[..text.len() - space]
}

/// The parent that the reference gives to a new image; [`ProcessKey::NONE`] when there is none.
///
/// * `replaced`: the image that the exec replaces. `None` when the process was not known, or when
///   the new image does not come from an exec.
/// * `is_first_since_fork`: there was no exec since the process was forked.
/// * `owner`: the parent that the kernel names.
///
/// So an image is the child of what it replaced, unless that was the one shared since the fork.
pub fn parent_of_exec(
    replaced: Option<ProcessKey>,
    is_first_since_fork: bool,
    owner: ProcessKey,
) -> ProcessKey {
    let replaced = replaced.filter(|key| key.start != BootTime::ZERO && !is_first_since_fork);
    let parent = replaced.unwrap_or(owner);
    if parent.pid == Pid(0) { ProcessKey::NONE } else { parent }
}

/// The thread id that the reference writes for `pid` in an event that `thread` caused
/// (its `UpdateEventProcessTid`).
///
/// `None` is the rule for whatever becomes an entry of its table: forks, execs and processes found
/// running carry their pid, whatever the event says.
pub fn thread_id(pid: Pid, thread: Option<Pid>) -> Pid {
    thread.unwrap_or(pid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arguments::Arguments;
    use crate::event::WorkingDirectory;

    /// The table of process-cache.md section 3, row by row.
    #[test]
    fn every_quirk_of_the_argument_decoder() {
        for (quirk, block, flags, arguments, cwd) in [
            ("a first argument with a space", &b"a b\0c\0/w"[..], 0, &b" \"a b\" c"[..], &b"/w"[..]),
            ("inner quotes are not escaped", b"say \"hi\"\0/w", 0, b" \"say \"hi\"\"", b"/w"),
            ("leading empty arguments vanish", b"\0x\0/w", 0, b"x", b"/w"),
            ("an inner empty argument is a double space", b"x\0\0y\0/w", 0, b"x  y", b"/w"),
            ("a last empty argument is a trailing space", b"x\0\0/w", 0, b"x ", b"/w"),
            ("a tab needs no quotes", b"a\tb\0/w", 0, b"a\tb", b"/w"),
            ("root with trailing NULs", b"x\0y\0", 0x1000, b"x y", b"/"),
            ("an error beats the root", b"x\0y\0", 0x3000, b"x y", b""),
            ("no cwd, though there is a token", b"x\0 /w", 0x804, b"x \" /w\"", b""),
            ("the space of the walk over /proc", b"a1\0a2\0 /home", 0x4, b"a1 a2", b"/home"),
            ("a command line without its last NUL", b"a1 /home", 0x4, b"", b"a1 /home"),
            ("only a cwd", b"/tmp", 0, b"", b"/tmp"),
        ] {
            let expected = DecodedArguments { arguments: arguments.into(), cwd: cwd.into() };
            assert_eq!(decode_arguments(block, flags), expected, "{quirk}");
        }
    }

    #[test]
    fn the_decoder_follows_the_words_of_the_algorithm_where_no_row_does() {
        for (case, block, flags, arguments, cwd) in [
            ("nothing at all", &b""[..], 0, &b""[..], &b""[..]),
            ("nothing but NULs", b"\0\0\0", 0x1000, b"", b"/"),
            ("a line break needs no quotes", b"a\nb\0/w", 0, b"a\nb", b"/w"),
            ("a cwd is verbatim when it is the kernel's", b"x\0 /w ", 0, b"x", b" /w "),
            ("NULs behind the cwd do not count", b"x\0/w\0\0", 0, b"x", b"/w"),
            ("an empty cwd takes the last argument's place", b"x\0y\0", 0, b"x", b"y"),
            ("no support beats the root", b"x\0", 0x1800, b"x", b""),
            ("other flags do not count", b"x\0/w", 0x4001, b"x", b"/w"),
            ("white space is Unicode's", "x\0\u{2003}\u{85}/w\u{a0}\t".as_bytes(), 0x4, b"x", b"/w"),
            ("a byte that is not UTF-8 is no white space", b"x\0 \xff /w\xff ", 0x4, b"x", b"\xff /w\xff"),
            ("nothing but white space", b"x\0 \t ", 0x4, b"x", b""),
        ] {
            let expected = DecodedArguments { arguments: arguments.into(), cwd: cwd.into() };
            assert_eq!(decode_arguments(block, flags), expected, "{case}");
        }
    }

    #[test]
    fn a_block_of_the_kernels_largest_size_is_decoded() {
        const SIZE: usize = 6 << 20;
        for (byte, length) in [(b'\0', 0), (b' ', SIZE + 3), (b'x', SIZE)] {
            assert_eq!(decode_arguments(&vec![byte; SIZE], ROOT_CWD).arguments.len(), length);
        }
        let one_letter_each = b"x\0".repeat(SIZE / 2);
        assert_eq!(decode_arguments(&one_letter_each, ROOT_CWD).arguments.len(), SIZE - 1);
    }

    #[test]
    fn the_parent_is_what_was_replaced_unless_that_was_shared_since_the_fork() {
        let key = |pid, start| ProcessKey::new(Pid(pid), BootTime::from_nanos(start));
        let (replaced, owner, kernel) = (key(10, 5), key(1, 2), key(0, 0));
        for (case, given, is_first, owner, parent) in [
            ("first exec since the fork", Some(replaced), true, owner, owner),
            ("exec without a fork", Some(replaced), false, owner, replaced),
            ("process never heard of", None, false, owner, owner),
            ("key of a process never heard of", Some(key(10, 0)), false, owner, owner),
            ("no parent", None, false, kernel, ProcessKey::NONE),
            ("no parent, first exec", Some(replaced), true, kernel, ProcessKey::NONE),
        ] {
            assert_eq!(parent_of_exec(given, is_first, owner), parent, "{case}");
        }
    }

    #[test]
    fn a_thread_is_named_only_where_an_event_names_one() {
        assert_eq!(thread_id(Pid(10), None), Pid(10));
        assert_eq!(thread_id(Pid(10), Some(Pid(12))), Pid(12));
    }

    /// The block and the flags that the reference's sensor makes of an exec.
    fn encode(arguments: &[Vec<u8>], cwd: WorkingDirectory<'_>) -> (Vec<u8>, u32) {
        let mut block = terminated(arguments);
        let flags = match cwd {
            WorkingDirectory::Unknown => ERROR_CWD,
            WorkingDirectory::Path(b"/") => ROOT_CWD,
            WorkingDirectory::Path(path) | WorkingDirectory::Tail(path) => {
                block.extend_from_slice(path);
                0
            }
        };
        (block, flags)
    }

    fn terminated(arguments: &[Vec<u8>]) -> Vec<u8> {
        arguments.iter().flat_map(|argument| [argument, &b"\0"[..]].concat()).collect()
    }

    fn any_argument() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b"ab \t\"\\\n\xff".to_vec()), 0..4)
    }

    proptest! {
        /// Our list and working directory give the text that the reference makes of its block.
        #[test]
        fn our_list_gives_the_text_of_the_reference(
            arguments in prop::collection::vec(any_argument(), 0..6),
            cwd in prop::sample::select(vec![None, Some(&b"/"[..]), Some(b"/w"), Some(b" /a b "), Some(b"/\xff")]),
        ) {
            let cwd = cwd.map_or(WorkingDirectory::Unknown, WorkingDirectory::Path);
            let (block, flags) = encode(&arguments, cwd);
            let ours = [&b"argv0\0"[..], &terminated(&arguments)].concat();
            let is_in_block = !matches!(cwd, WorkingDirectory::Unknown | WorkingDirectory::Path(b"/"));
            let decoded = decode_arguments(&block, flags);
            prop_assert_eq!(&decoded.arguments, &Arguments::complete(&ours).joined(is_in_block));
            prop_assert_eq!(decoded.cwd, cwd.as_bytes());
        }

        #[test]
        fn any_bytes_and_flags_are_survived(block: Vec<u8>, flags: u32) {
            let decoded = decode_arguments(&block, flags);
            prop_assert!(decoded.arguments.len() + decoded.cwd.len() <= 4 * block.len() + 1);
        }

        /// Trimming bytes is trimming text, wherever they are text.
        #[test]
        fn trimming_is_that_of_text(text in "[ \t\u{85}\u{a0}\u{2003}\u{3000}/a\u{e9}]{0,8}") {
            prop_assert_eq!(trim(text.as_bytes()), text.trim().as_bytes());
        }
    }
}
