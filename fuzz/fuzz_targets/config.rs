//! See [`procession_fuzz::config`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::config);
