//! The commands by which the kubelet checks a container.

/// A command that the kubelet runs in a container again and again, to see whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe(Box<[Box<str>]>);

impl Probe {
    /// A probe that runs `command`: a program and its arguments, no shell in between.
    pub fn new(command: impl IntoIterator<Item: Into<Box<str>>>) -> Self {
        Self(command.into_iter().map(Into::into).collect())
    }

    /// Whether a program with these arguments (`argv[0]` left out) may be this probe.
    ///
    /// The rule is the reference system's: the same words, except that a probe's program without
    /// a leading `/` is compared by its last component, and that a script, which the kernel gives
    /// its interpreter once more, may begin its arguments with itself.
    ///
    /// ```
    /// use procession_kube::Probe;
    ///
    /// let probe = Probe::new(["pg_isready", "-q"]);
    /// assert!(probe.matches(b"/usr/bin/pg_isready", [&b"-q"[..]].into_iter()));
    /// assert!(!probe.matches(b"/usr/bin/pg_isready", [].into_iter()));
    /// ```
    pub fn matches<'a>(&self, binary: &[u8], arguments: impl Iterator<Item = &'a [u8]>) -> bool {
        let Some((program, words)) = self.0.split_first() else { return false };
        if !is_program(program.as_bytes(), binary) {
            return false;
        }
        let mut arguments = arguments.peekable();
        if program.as_bytes() == binary {
            arguments.next_if_eq(&binary);
        }
        arguments.eq(words.iter().map(|word| word.as_bytes()))
    }
}

fn is_program(named: &[u8], binary: &[u8]) -> bool {
    if named.starts_with(b"/") { named == binary } else { base_name(named) == base_name(binary) }
}

/// The last component of a path, as `basename` gives it.
fn base_name(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let whole = &path[..end];
    let name = whole.rsplit(|byte| *byte == b'/').next().unwrap_or(whole);
    match (name, path) {
        ([], []) => b".",
        ([], _) => b"/",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::{Probe, base_name};

    fn matches(probe: &[&str], binary: &str, arguments: &[&str]) -> bool {
        Probe::new(probe.iter().copied())
            .matches(binary.as_bytes(), arguments.iter().map(|argument| argument.as_bytes()))
    }

    #[test]
    fn all_words_are_the_same() {
        assert!(matches(&["/bin/check"], "/bin/check", &[]));
        assert!(matches(&["/bin/check", "-a", "b c"], "/bin/check", &["-a", "b c"]));
        assert!(matches(&["/bin/check", ""], "/bin/check", &[""]));
        for (binary, arguments) in [
            ("/bin/check", &["-a"][..]),
            ("/bin/check", &["-a", "b", "c"]),
            ("/bin/check", &["-a", "b c", "d"]),
            ("/usr/bin/check", &["-a", "b c"]),
            ("check", &["-a", "b c"]),
        ] {
            assert!(!matches(&["/bin/check", "-a", "b c"], binary, arguments), "{binary} {arguments:?}");
        }
    }

    #[test]
    fn a_relative_program_is_compared_by_its_last_component() {
        assert!(matches(&["check"], "/bin/check", &[]));
        assert!(matches(&["bin/check"], "/usr/local/check", &[]));
        assert!(!matches(&["check"], "/bin/recheck", &[]));
        assert!(!matches(&[""], "/bin/check", &[]));
    }

    #[test]
    fn a_script_may_name_itself_once_more() {
        assert!(matches(&["/check.sh", "x"], "/check.sh", &["/check.sh", "x"]));
        assert!(!matches(&["check.sh", "x"], "/check.sh", &["/check.sh", "x"]));
        assert!(!matches(&["/check.sh", "/check.sh"], "/check.sh", &["/check.sh"]));
    }

    #[test]
    fn an_empty_command_is_no_probe() {
        assert!(!matches(&[], "/bin/check", &[]));
        assert!(!matches(&[], "", &[]));
    }

    #[test]
    fn base_names() {
        for (path, name) in [("", "."), ("/", "/"), ("//", "/"), ("a", "a"), ("/a/b", "b"), ("a/b//", "b")] {
            assert_eq!(base_name(path.as_bytes()), name.as_bytes(), "{path}");
        }
    }
}
