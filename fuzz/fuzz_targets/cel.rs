//! See [`procession_fuzz::cel`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::cel);
