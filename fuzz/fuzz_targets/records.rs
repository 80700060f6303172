//! See [`procession_fuzz::records`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::records);
