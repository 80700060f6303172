//! See [`procession_fuzz::ring`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::ring);
