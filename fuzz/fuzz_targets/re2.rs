//! See [`procession_fuzz::re2`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::re2);
