//! See [`procession_fuzz::import`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::import);
