//! See [`procession_fuzz::arguments`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::arguments);
