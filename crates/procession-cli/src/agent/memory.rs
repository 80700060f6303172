//! Whether the memory that the agent may have is enough for what its options let it take.

use std::fs;
use std::path::Path;

use super::config::AgentConfig;

/// What it may need beside table, queue and ring when much happens: the program, its threads, events on their way to
/// the queue and to the journal, a checkpoint, clients, the kernel's part; docs/operators.md has a list. (The soak test
/// has the same number.)
///
/// It is no bound, but what was measured and some more. A storm of programs with long arguments on a machine that is
/// busy with other things, with the limits that are usual and no client, takes 128 to 141 MiB in all, of which 120 are
/// theirs. That nobody but the export reads leaves 48 MiB of these unused, so the rest was 69 MiB at the most. All
/// parts at their largest at once, which is a storm on a machine with a disk that hangs and four clients that list
/// everything, would be more than 300 MiB: to ask everybody for that would be to ask for what nobody uses.
const REST: u64 = 96 << 20;

/// Says so if the limit of the control group is less than the agent may need: the kernel would kill it.
pub(super) fn warn_if_short(config: &AgentConfig) {
    let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let [table, queue, ring] =
        [bytes(config.table_budget), bytes(config.queue.bytes), u64::from(config.ring_size)];
    let needed = [table, queue, ring].into_iter().fold(REST, u64::saturating_add);
    let Some(limit) = limit().filter(|limit| *limit < needed) else { return };
    tracing::warn!(
        "the control group of the agent has a limit of {} MiB of memory, and with these options it may need {}: \
         {} for `table-budget`, {} for `event-queue-bytes`, {} for `ring-size`, {} for the rest. Raise the limit, \
         or lower the options, or the kernel may kill the agent when much happens",
        limit >> 20,
        mib(needed),
        mib(table),
        mib(queue),
        mib(ring),
        mib(REST)
    );
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// The least limit of the control groups that this process is in. `None`: there is none, or it is not to be seen.
fn limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    own.lines().filter_map(|line| limit_of(line, Path::new("/sys/fs/cgroup"))).min()
}

/// `line` is as `4:memory:/a/b` (version 1) or `0::/a/b` (version 2).
pub(super) fn limit_of(line: &str, mount: &Path) -> Option<u64> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let (mounts, file): (&[_], _) = match controllers {
        "" => (&["", "unified"], "memory.max"),
        _ if controllers.split(',').any(|it| it == "memory") => (&["memory"], "memory.limit_in_bytes"),
        _ => return None,
    };
    let path = Path::new(path.trim_start_matches('/'));
    let groups =
        mounts.iter().flat_map(|root| path.ancestors().map(move |group| mount.join(root).join(group)));
    groups.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_all_groups_counts() {
        let mount = tempfile::tempdir().unwrap();
        let group = |path: &str, file: &str, limit: &str| {
            fs::create_dir_all(mount.path().join(path)).unwrap();
            fs::write(mount.path().join(path).join(file), limit).unwrap();
        };
        group("memory", "memory.limit_in_bytes", "9223372036854771712\n");
        group("memory/a", "memory.limit_in_bytes", "1000\n");
        group("memory/a/b", "memory.limit_in_bytes", "2000\n");
        group("a", "memory.max", "500\n");
        group("a/b", "memory.max", "max\n");
        assert_eq!(limit_of("4:memory:/a/b", mount.path()), Some(1000));
        assert_eq!(limit_of("0::/a/b", mount.path()), Some(500));
        assert_eq!(limit_of("0::/elsewhere", mount.path()), None);
        assert_eq!(limit_of("2:cpu:/a/b", mount.path()), None);
        assert_eq!(limit_of("nonsense", mount.path()), None);
    }
}
