//! Not yet.

use crate::Test;

pub(crate) const TESTS: [Test; 0] = [];
