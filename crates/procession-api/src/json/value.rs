//! Values whose JSON form is not what serde would make of them.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use jiff::fmt::StdFmtWrite;
use jiff::fmt::temporal::DateTimePrinter;
use procession::{CapabilitySet, ProcessKey, text};
use procession_kube::ContainerId;
use serde::{Serialize, Serializer};

/// The kernel's bytes as text: runs that are not UTF-8 become one U+FFFD each.
#[derive(Default)]
pub(super) struct Text<'a>(pub(super) Cow<'a, [u8]>);

impl Text<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> From<&'a [u8]> for Text<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text::to_valid_utf8(&self.0))
    }
}

/// The printed id of an image.
pub(super) struct ExecId<'a> {
    pub(super) node: &'a str,
    pub(super) key: ProcessKey,
}

impl Serialize for ExecId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.key.exec_id(self.node))
    }
}

/// A container id, cut to the length that the reference has.
pub(super) struct Docker(pub(super) ContainerId);

impl Serialize for Docker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.wire())
    }
}

/// A point in time: RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second, the fewest that are exact.
pub(super) struct Timestamp(pub(super) SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A wall clock beyond the year 9999 has no RFC 3339 form.
        let time = jiff::Timestamp::try_from(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let digits = match time.subsec_nanosecond() {
            0 => 0,
            nanos if nanos % 1_000_000 == 0 => 3,
            nanos if nanos % 1_000 == 0 => 6,
            _ => 9,
        };
        let printer = DateTimePrinter::new().precision(Some(digits));
        printer.print_timestamp(&time, StdFmtWrite(f)).map_err(|_| fmt::Error)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An unsigned 64-bit number: text, because readers in JavaScript would round it.
pub(super) struct Wide(pub(super) u64);

impl Serialize for Wide {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A value of an enumeration: its name, or its number when the schema has no name for it.
#[derive(Serialize)]
#[serde(untagged)]
enum EnumValue {
    Name(&'static str),
    Number(u32),
}

/// The members of a capability set.
pub(super) struct CapabilityList(pub(super) CapabilitySet);

impl CapabilityList {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for CapabilityList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = |number| capability_name(number).map_or(EnumValue::Number(number), EnumValue::Name);
        serializer.collect_seq(self.0.iter().map(name))
    }
}

/// `SECBIT_*` flags.
pub(super) struct SecureBits(pub(super) u32);

impl SecureBits {
    pub(super) fn is_empty(&self) -> bool {
        self.named().next().is_none()
    }

    fn named(&self) -> impl Iterator<Item = &'static str> {
        let bits = self.0;
        SECURE_BITS.into_iter().enumerate().filter(move |(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| name)
    }
}

impl Serialize for SecureBits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.named())
    }
}

/// The schema's name of a capability, by the kernel's number. That of number 1 has no `CAP_`.
pub fn capability_name(number: u32) -> Option<&'static str> {
    CAPABILITIES.get(usize::try_from(number).ok()?).copied()
}

/// By number. The schema's name of number 1 has no `CAP_`.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// By bit.
const SECURE_BITS: [&str; 8] = [
    "SecBitNoRoot",
    "SecBitNoRootLocked",
    "SecBitNoSetUidFixup",
    "SecBitNoSetUidFixupLocked",
    "SecBitKeepCaps",
    "SecBitKeepCapsLocked",
    "SecBitNoCapAmbientRaise",
    "SecBitNoCapAmbientRaiseLocked",
];

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_time_has_the_fewest_groups_of_digits_that_are_exact() {
        for (nanos, text) in [
            (0, "2023-11-14T22:13:20Z"),
            (500_000_000, "2023-11-14T22:13:20.500Z"),
            (1_000, "2023-11-14T22:13:20.000001Z"),
            (1, "2023-11-14T22:13:20.000000001Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, nanos);
            assert_eq!(Timestamp(time).to_string(), text);
        }
    }

    #[test]
    fn enumerations_are_written_by_name_and_unknown_members_by_number() {
        for (bits, json) in [
            (1 << 1 | 1 << 21, r#"["DAC_OVERRIDE","CAP_SYS_ADMIN"]"#),
            (1 << 40 | 1 << 41, r#"["CAP_CHECKPOINT_RESTORE",41]"#),
        ] {
            let list = CapabilityList(CapabilitySet(bits));
            assert_eq!(serde_json::to_string(&list).unwrap(), json);
        }
        let bits = SecureBits(1 << 7 | 1 << 0 | 1 << 30);
        let json = r#"["SecBitNoRoot","SecBitNoCapAmbientRaiseLocked"]"#;
        assert_eq!(serde_json::to_string(&bits).unwrap(), json);
    }
}
