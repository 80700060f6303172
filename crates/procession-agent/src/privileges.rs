//! Which of root's rights this process holds.

use rustix::thread::{CapabilitySet, capabilities};

/// The capabilities that it can use, by their names, such as `CAP_SYS_PTRACE`: those of the thread that
/// asks, which all threads of an agent share.
pub fn held() -> Vec<String> {
    capabilities(None).map(|sets| names(sets.effective)).unwrap_or_default()
}

/// The names of capabilities; of those that have none here, the numbers.
fn names(capabilities: CapabilitySet) -> Vec<String> {
    let mut names = capabilities.iter_names();
    let mut known: Vec<_> = names.by_ref().map(|(name, _)| format!("CAP_{name}")).collect();
    let unnamed = names.remaining().bits();
    let numbers = (0..u64::BITS).filter(|number| unnamed & (1 << number) != 0);
    known.extend(numbers.map(|number| format!("CAP_{number}")));
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_names_or_numbers() {
        let some = CapabilitySet::SYS_PTRACE | CapabilitySet::BPF;
        assert_eq!(names(some), ["CAP_SYS_PTRACE", "CAP_BPF"]);
        assert_eq!(names(CapabilitySet::from_bits_retain(1 << 60 | 1)), ["CAP_CHOWN", "CAP_60"]);
        assert!(names(CapabilitySet::empty()).is_empty());
    }
}
