//! Conditions on the capabilities of a process.

use procession_api::proto::tetragon::{CapFilter, CapFilterSet, Capabilities};

use crate::FilterError;

/// One condition for each set that is looked at. All must hold.
#[derive(Clone, Debug)]
pub(crate) struct CapabilityFilter(Vec<(Set, Rule)>);

#[derive(Clone, Copy, Debug)]
enum Set {
    Permitted,
    Effective,
    Inheritable,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Any(u64),
    All(u64),
    Exactly(u64),
    None(u64),
}

impl CapabilityFilter {
    pub(crate) fn new(filter: &CapFilter) -> Result<Self, FilterError> {
        let sets = [
            ("permitted", Set::Permitted, &filter.permitted),
            ("effective", Set::Effective, &filter.effective),
            ("inheritable", Set::Inheritable, &filter.inheritable),
        ];
        let given = sets.into_iter().filter_map(|(name, set, rules)| Some((name, set, rules.as_ref()?)));
        let rules = given.map(|(name, set, rules)| {
            Ok((set, Rule::new(rules).map_err(|error: FilterError| error.within(name))?))
        });
        Ok(Self(rules.collect::<Result<_, _>>()?))
    }

    pub(crate) fn admits(&self, capabilities: &Capabilities) -> bool {
        self.0.iter().all(|(set, rule)| {
            rule.admits(bits(match set {
                Set::Permitted => &capabilities.permitted,
                Set::Effective => &capabilities.effective,
                Set::Inheritable => &capabilities.inheritable,
            }))
        })
    }
}

/// Makes a rule of the capabilities that it is about.
type Make = fn(u64) -> Rule;

impl Rule {
    fn new(set: &CapFilterSet) -> Result<Self, FilterError> {
        let rules = [
            (Self::Any as Make, &set.any),
            (Self::All as Make, &set.all),
            (Self::Exactly as Make, &set.exactly),
            (Self::None as Make, &set.none),
        ];
        let mut given = rules.into_iter().filter(|(_, numbers)| !numbers.is_empty());
        let (Some((rule, numbers)), None) = (given.next(), given.next()) else {
            return Err(FilterError::new(
                "one of `any`, `all`, `exactly` and `none` must be given, and only one",
            ));
        };
        match numbers.iter().find(|number| bit(**number).is_none()) {
            Some(number) => Err(FilterError::new(format_args!("there is no capability {number}"))),
            None => Ok(rule(bits(numbers))),
        }
    }

    fn admits(self, held: u64) -> bool {
        match self {
            Self::Any(wanted) => held & wanted != 0,
            Self::All(wanted) => held & wanted == wanted,
            Self::Exactly(wanted) => held == wanted,
            Self::None(unwanted) => held & unwanted == 0,
        }
    }
}

fn bit(number: i32) -> Option<u64> {
    u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number))
}

fn bits(numbers: &[i32]) -> u64 {
    numbers.iter().copied().filter_map(bit).fold(0, |bits, bit| bits | bit)
}
