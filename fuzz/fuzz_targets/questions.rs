//! See [`procession_fuzz::questions`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::questions);
