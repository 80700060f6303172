//! Who does not keep to the rules gets an error; nobody else notices.

use crate::Test;

pub(crate) const TESTS: [Test; 0] = [];
