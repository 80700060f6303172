//! See [`procession_fuzz::passwd`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::passwd);
