//! What a change between two execs changed, in a few words.

use std::fmt::{self, Display, Formatter, Write as _};

use procession::{Capabilities, CapabilitySet, Credentials, Fact, Image, Namespaces, Origin, Spell};
use procession_api::capability_name;

/// More capabilities than these are counted rather than named.
const MOST_NAMES: u32 = 6;

/// What is different since a change, or nothing where nobody knows what was before.
pub(super) struct Change<'a>(pub(super) &'a Fact);

impl Display for Change<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let parts = self.parts();
        if parts.is_empty() { Ok(()) } else { write!(f, "  {}", parts.join(", ")) }
    }
}

impl Change<'_> {
    fn parts(&self) -> Vec<String> {
        let process = &self.0.process;
        let past = process.image.as_ref().map_or(&[][..], Image::past);
        let Some(place) = past.iter().rposition(|spell| spell.until() == self.0.time) else {
            // Nothing but the session, which has no past here. Of a process that was never heard of,
            // nobody knows what has changed.
            let session = process.session.filter(|_| process.origin != Origin::Inferred);
            return session.iter().map(|leader| format!("session {leader}")).collect();
        };
        // A change that was told late has its place among those before.
        let before = State::during(&past[place]);
        let after = past.get(place + 1).map(State::during).or(process.image.as_ref().map(State::of));
        after.map_or_else(Vec::new, |after| before.differences(&after))
    }
}

/// As whom and where a process runs for some time.
struct State<'a> {
    credentials: Option<&'a Credentials>,
    namespaces: Option<&'a Namespaces>,
    cgroup: (u64, &'a [u8]),
}

impl<'a> State<'a> {
    fn during(spell: &'a Spell) -> Self {
        Self {
            credentials: spell.credentials(),
            namespaces: spell.namespaces(),
            cgroup: (spell.cgroup_id(), spell.cgroup_path()),
        }
    }

    fn of(image: &'a Image) -> Self {
        Self {
            credentials: image.credentials(),
            namespaces: image.namespaces(),
            cgroup: (image.cgroup_id(), image.cgroup_path()),
        }
    }

    fn differences(&self, after: &Self) -> Vec<String> {
        let mut parts = Vec::new();
        if let Some((old, new)) = self.credentials.zip(after.credentials) {
            users(old, new, &mut parts);
            groups(old, new, &mut parts);
            flags(old, new, &mut parts);
            capabilities(&old.capabilities, &new.capabilities, &mut parts);
        }
        if let Some((old, new)) = self.namespaces.zip(after.namespaces) {
            namespaces(old, new, &mut parts);
        }
        if self.cgroup != after.cgroup {
            parts.push("cgroup".to_owned());
        }
        parts
    }
}

fn users(old: &Credentials, new: &Credentials, parts: &mut Vec<String>) {
    let all = |it: &Credentials| [it.uid, it.euid, it.suid, it.fsuid].map(|id| id.0);
    ids(["uid", "euid", "suid", "fsuid"], all(old), all(new), parts);
}

fn groups(old: &Credentials, new: &Credentials, parts: &mut Vec<String>) {
    let all = |it: &Credentials| [it.gid, it.egid, it.sgid, it.fsgid].map(|id| id.0);
    ids(["gid", "egid", "sgid", "fsgid"], all(old), all(new), parts);
}

/// The ids that changed: real, effective, saved and for files. One that did as the real one did goes
/// without saying, and so does the last, which follows the effective one.
fn ids(names: [&str; 4], old: [u32; 4], new: [u32; 4], parts: &mut Vec<String>) {
    let change = |at: usize| (old[at] != new[at]).then_some((old[at], new[at]));
    for (at, name) in names.into_iter().enumerate() {
        let is_said = at > 0 && change(at) == change(0) || at == 3 && change(at) == change(1);
        if let Some((old, new)) = change(at).filter(|_| !is_said) {
            parts.push(format!("{name} {old} → {new}"));
        }
    }
}

fn flags(old: &Credentials, new: &Credentials, parts: &mut Vec<String>) {
    if old.securebits != new.securebits {
        parts.push(format!("securebits {:#x} → {:#x}", old.securebits, new.securebits));
    }
    if let Some(user) = new.login_uid.filter(|_| old.login_uid != new.login_uid) {
        parts.push(format!("login uid {user}"));
    }
}

/// What is checked, and of the other sets those that changed in another way.
fn capabilities(old: &Capabilities, new: &Capabilities, parts: &mut Vec<String>) {
    let all = |it: &Capabilities| [it.effective, it.permitted, it.inheritable, it.ambient, it.bounding];
    let changes: Vec<_> = all(old).into_iter().zip(all(new)).map(SetChange::from).collect();
    for (name, change) in ["caps", "permitted", "inheritable", "ambient", "bounding"].iter().zip(&changes) {
        let is_said = *name != "caps" && *change == changes[0];
        if !is_said && !change.is_none() {
            parts.push(format!("{name}{change}"));
        }
    }
}

#[derive(PartialEq)]
struct SetChange {
    gained: CapabilitySet,
    lost: CapabilitySet,
    has_none: bool,
}

impl From<(CapabilitySet, CapabilitySet)> for SetChange {
    fn from((old, new): (CapabilitySet, CapabilitySet)) -> Self {
        let (gained, lost) = (CapabilitySet(new.0 & !old.0), CapabilitySet(old.0 & !new.0));
        Self { gained, lost, has_none: new.is_empty() }
    }
}

impl SetChange {
    fn is_none(&self) -> bool {
        self.gained.is_empty() && self.lost.is_empty()
    }
}

/// ` +sys_admin -net_raw`.
impl Display for SetChange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.has_none {
            return f.write_str(" none");
        }
        for (sign, set) in [('+', self.gained), ('-', self.lost)] {
            let count = set.0.count_ones();
            if count > MOST_NAMES {
                write!(f, " {sign}{count} of them")?;
                continue;
            }
            for number in set.iter() {
                f.write_char(' ')?;
                f.write_char(sign)?;
                match capability_name(number) {
                    Some(name) => f.write_str(&name.trim_start_matches("CAP_").to_ascii_lowercase())?,
                    None => number.fmt(f)?,
                }
            }
        }
        Ok(())
    }
}

/// A kind of namespace, and which of these it is.
type Kind = (&'static str, fn(&Namespaces) -> u32);

fn namespaces(old: &Namespaces, new: &Namespaces, parts: &mut Vec<String>) {
    let kinds: [Kind; 10] = [
        ("user", |it| it.user),
        ("mnt", |it| it.mnt),
        ("pid", |it| it.pid),
        ("pid_for_children", |it| it.pid_for_children),
        ("net", |it| it.net),
        ("ipc", |it| it.ipc),
        ("uts", |it| it.uts),
        ("cgroup", |it| it.cgroup),
        ("time", |it| it.time),
        ("time_for_children", |it| it.time_for_children),
    ];
    let changed = kinds.iter().filter(|(_, of)| of(old) != of(new));
    parts.extend(changed.map(|(kind, of)| format!("{kind} ns {} → {}", of(old), of(new))));
}
