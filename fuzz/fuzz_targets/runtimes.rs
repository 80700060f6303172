//! See [`procession_fuzz::runtimes`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::runtimes);
