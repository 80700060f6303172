//! See [`procession_fuzz::bookmark`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::bookmark);
