//! `/proc/PID/cgroup`: one line per hierarchy, `id:controllers:path`.

/// The v1 controllers whose path is most likely to be the container's, best first.
const TELLING: [fn(&[u8]) -> bool; 3] = [
    |controller| controller == b"memory",
    |controller| controller == b"pids",
    |controller| controller.starts_with(b"name="),
];

/// The path that says most about where the process belongs. `None`: the file names none.
///
/// That is the v2 path, except on hosts where v2 is mounted but not used for it: there a process is in
/// the root of v2, or in the control group of whoever started its container, and the container's is in
/// the v1 hierarchies.
pub(super) fn path(text: &[u8]) -> Option<&[u8]> {
    let unified = lines(text).find(|line| line.controllers.is_empty()).map(|line| line.path);
    let mut paths = unified.into_iter().chain(lines(text).map(|line| line.path));
    if let Some(container) = paths.find(|path| names_container(path)) {
        return Some(container);
    }
    if unified.is_some_and(|path| path.len() > 1) {
        return unified;
    }
    let telling = TELLING.iter().find_map(|wanted| {
        lines(text).find(|line| line.path.len() > 1 && line.has(wanted)).map(|line| line.path)
    });
    telling.or(unified).or_else(|| lines(text).next().map(|line| line.path))
}

/// Whether the path has an id as container runtimes make them: 64 hex digits in a row.
fn names_container(path: &[u8]) -> bool {
    path.split(|byte| !byte.is_ascii_hexdigit()).any(|digits| digits.len() == 64)
}

struct Line<'a> {
    controllers: &'a [u8],
    path: &'a [u8],
}

impl Line<'_> {
    fn has(&self, wanted: impl Fn(&[u8]) -> bool) -> bool {
        self.controllers.split(|byte| *byte == b',').any(wanted)
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        // The path is the rest of the line: it may hold colons.
        let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
        let line = Line { controllers: parts.next()?, path: parts.next()? };
        line.path.starts_with(b"/").then_some(line)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::path;

    #[test]
    fn chooses_the_path_that_tells_most() {
        for (text, expect) in [
            ("0::/system.slice/a.service\n", Some("/system.slice/a.service")),
            ("4:memory:/docker/abc\n0::/\n", Some("/docker/abc")),
            ("4:memory:/docker/abc\n0::/kubepods/x\n", Some("/kubepods/x")),
            ("5:pids:/p\n4:cpu,memory:/m\n0::/\n", Some("/m")),
            ("5:pids:/p\n4:memory:/\n0::/\n", Some("/p")),
            ("1:name=systemd:/user.slice\n2:cpu:/x\n", Some("/user.slice")),
            ("0::/\n", Some("/")),
            ("2:cpu:/x\n", Some("/x")),
            ("0::/a:b\n", Some("/a:b")),
            ("", None),
            ("garbage\n::\n", None),
        ] {
            assert_eq!(path(text.as_bytes()), expect.map(str::as_bytes), "{text:?}");
        }
    }

    #[test]
    fn a_path_that_names_a_container_tells_most() {
        let container = format!("/docker/{}", "0123456789abcdef".repeat(4));
        let inner = format!("{container}/init.scope");
        for text in [
            format!("4:memory:{inner}\n0::/system.slice/docker.service\n"),
            format!("5:cpu:{inner}\n4:memory:/\n0::/\n"),
            format!("4:memory:{container}\n0::{inner}\n"),
        ] {
            assert_eq!(path(text.as_bytes()), Some(inner.as_bytes()), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = path(&bytes);
        }
    }
}
